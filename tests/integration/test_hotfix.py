"""``hotfix`` with real buildah and real rpm."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client.programs.buildah import LocalImage
from tests import local_storage as local_storages
from tests import programs, rpm_packages, sampling
from tests.functional.base import OpenStack, Result
from tests.local_storage import LocalStorage, name_of_killed_run
from tests.rpm_images import BASE, LABELS, USER, RpmImages
from tests.rpm_packages import FOREIGN, NEW, OLD
from tests.servers import DockerRegistry

GUIDE = Path(__file__).parents[2] / "doc/source/user/hotfix.rst"
NEW_IMAGE = "localhost/ns/keystone:1.0-fix"
#: Seconds that a command may take to end on a busy host.
_PATIENCE = 120
PROGRAM = Path(sys.executable).with_name("openstack")


@dataclasses.dataclass(frozen=True)
class Package(rpm_packages.Package):
    """A package with more to it.

    :ivar more: lines of its spec file.
    :ivar pre: a scriptlet that is run before it is installed.
    """

    more: tuple[str, ...] = ()
    pre: str = ""

    def spec(self) -> str:
        """As rpmbuild takes it."""
        lines = "".join(f"{line}\n" for line in self.more)
        text = super().spec().replace("Summary:", f"{lines}Summary:", 1)
        script = f"%pre -p /bin/sh\n{self.pre}\n" if self.pre else ""
        return text.replace("%files", f"{script}%files")


#: What packages with scriptlets need, and the images have not from rpm.
SHELL = Package(name="shell", more=("Provides: /bin/sh",))
#: The version 1.1 whose scriptlet never ends.
ENDLESS = Package(version="1.1", post="sleep 100000")
#: One with all that packages may have.
ODD = Package(
    version="0.9",
    requires=("api(demo) >= 2", "/usr/share/c/version"),
    more=("Epoch: 1",),
    post="exit 3",
)


#: An environment with parameters of a role.
ROLES = """\
# Release: stein
parameter_defaults:
  ComputeParameters:
    DockerKeystoneImage: u:8787/ns/keystone:1
    DockerNovaApiImage: u:8787/ns/nova-api:1
"""


class Site:
    """Images in local storage, packages, and the command.

    :ivar rpms: the directory of the packages.
    """

    def __init__(
        self, directory: Path, storage: LocalStorage, images: RpmImages
    ) -> None:
        self.storage = storage
        self.buildah = storage.buildah
        self.rpms = directory / "rpms"
        home = directory / "home"
        self.openstack = OpenStack(home, **storage.environment)
        self._images = images

    @functools.cached_property
    def image(self) -> str:
        """An image with the package OLD."""
        return self._images.base(self.storage)

    def build(self, *packages: rpm_packages.Package) -> Path:
        """Build packages for the command; the file of the last one."""
        return rpm_packages.build(self.rpms, *packages)

    def extend(self, name: str, *packages: rpm_packages.Package) -> str:
        """Make an image that has further packages installed; its name."""
        rpms = self.rpms.with_name("installed")
        rpm_packages.build(rpms, *packages)
        with self.buildah.container(self.image) as container:
            container.run(
                *("rpm", "-i", *(f"/mnt/{p.file_name}" for p in packages)),
                volumes=[f"{rpms}:/mnt:ro"],
                user="root",
            )
            container.commit(name)
        return name

    def words(self, *more: str, image: str = "") -> tuple[str, ...]:
        """The command line for an image."""
        return (
            *("image-prepare", "hotfix", "--image", image or self.image),
            *("--rpms-path", str(self.rpms), "--tag", "fix", *more),
        )

    def run(self, *more: str, image: str = "", status: int = 0) -> Result:
        """Run the command for an image."""
        words = self.words(*more, image=image)
        return self.openstack(*words, status=status, stderr=".*")

    def refused(self, *more: str, image: str = "") -> str:
        """The message of a hotfix that does nothing, and leaves nothing."""
        image = image or self.image
        before = self.buildah.images()
        told = self.run(*more, image=image, status=2).stderr
        assert self.buildah.images() == before
        assert self.storage.leftovers() == []
        return told

    def installed(self, image: str, *names: str) -> list[str]:
        """The packages that the rpm of an image lists."""
        words = ("rpm", "-q", *(names or [OLD.name]))
        return self.storage.told(image, *words, user="root").split()


@pytest.fixture
def site(
    tmp_path: Path, local_storage: LocalStorage, rpm_images: RpmImages
) -> Site:
    """A site of the test's own."""
    return Site(tmp_path, local_storage, rpm_images)


class Hotfixed(Site):
    """A site where an image got a hotfix.

    :ivar rows: what the command printed.
    :ivar stderr: what it told.
    :ivar result: the name of the new image.
    """

    result = NEW_IMAGE

    def hotfix(self, words: tuple[str, ...]) -> None:
        """Run the command."""
        told = self.openstack(*words, "-f", "json", stderr=".*")
        self.rows: list[dict[str, Any]] = json.loads(told.stdout)
        self.stderr = told.stderr

    def found(self, name: str) -> LocalImage:
        """An image that has to be there."""
        image = self.buildah.image(name)
        assert image is not None
        return image


@contextlib.contextmanager
def prepared(directory: Path, images: RpmImages) -> Iterator[Hotfixed]:
    """A site that several tests look at."""
    with local_storages.local_storage(directory / "storage") as storage:
        yield Hotfixed(directory, storage, images)


@pytest.fixture(scope="class")
def fixed(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Iterator[Hotfixed]:
    """An image that got a newer version of its package."""
    directory = tmp_path_factory.mktemp("fixed")
    with prepared(directory, rpm_images) as site:
        site.build(NEW)
        (site.openstack.home / "fix.yaml").write_text("# mine\n")
        (site.openstack.home / "env.yaml").write_text(ROLES)
        more = ("--output-env-file", "fix.yaml", "-e", "env.yaml")
        site.hotfix(site.words(*more, "--registry-url", "u:8787/site"))
        yield site


class TestOneImage:
    """An image and a package."""

    def test_result(self, fixed: Hotfixed) -> None:
        """A new image has the new version, and the row says so."""
        assert fixed.rows == [
            {
                "Image": BASE,
                "New image": NEW_IMAGE,
                "Packages": ["keystone-demo 1.0-1 -> 1.1-1"],
            }
        ]
        assert f"{BASE}: keystone-demo 1.0-1 -> 1.1-1" in fixed.stderr
        assert fixed.installed(NEW_IMAGE) == [str(NEW)]
        assert fixed.installed(BASE) == [str(OLD)]
        assert fixed.storage.names() == {BASE, NEW_IMAGE}

    def test_image_is_otherwise_the_same(self, fixed: Hotfixed) -> None:
        """User, labels and layers are kept; one layer and one label more."""
        old, new = fixed.found(BASE), fixed.found(NEW_IMAGE)
        assert new.user == old.user == USER
        assert LABELS.items() <= new.labels.items()
        assert new.labels["hotfix"] == str(NEW)
        assert new.diff_ids[:-1] == old.diff_ids
        configs = [json.loads(i.config)["config"] for i in (old, new)]
        for config in configs:
            del config["Labels"]
        assert configs[0] == configs[1]

    def test_layer_has_no_more_than_the_package(
        self, fixed: Hotfixed, tmp_path: Path
    ) -> None:
        """No package, cache or place where something was mounted is in it."""
        layout = tmp_path / "layout"
        fixed.buildah.run("push", "--quiet", NEW_IMAGE, f"oci:{layout}:x")
        files = {n for n in last_layer(layout) if not n.startswith("var/lib")}
        # Those in etc are buildah's, for whoever wants to mount over them.
        assert {n for n in files if not n.startswith(("etc/", "run"))} == {
            NEW.path.lstrip("/")
        }

    def test_next_steps(self, fixed: Hotfixed) -> None:
        """Every step has the commands for this image."""
        pushed = "u:8787/site/ns/keystone:1.0-fix"
        for line in (
            f"buildah inspect --type image {NEW_IMAGE}",
            f"image-prepare push --local --registry-url u:8787/site"
            f" {NEW_IMAGE}",
            f"podman ps --filter ancestor={pushed}",
            "rpm -q keystone-demo",
            "-e fix.yaml",
        ):
            assert line in fixed.stderr

    def test_parameters_of_roles(self, fixed: Hotfixed) -> None:
        """Parameters of roles that hide the new image are named."""
        assert (
            "WARNING: env.yaml: ComputeParameters.DockerKeystoneImage is"
            " u:8787/ns/keystone:1, which nodes of the role use in place of"
            " DockerKeystoneImage" in fixed.stderr
        )
        assert "DockerNovaApiImage" not in fixed.stderr

    def test_environment_file(self, fixed: Hotfixed) -> None:
        """The parameters of the release name what will be pushed."""
        home = fixed.openstack.home
        text = (home / "fix.yaml").read_text()
        pushed = "u:8787/site/ns/keystone:1.0-fix"
        assert yaml.safe_load(text) == {
            "parameter_defaults": {
                "DockerKeystoneConfigImage": pushed,
                "DockerKeystoneImage": pushed,
            }
        }
        assert text.startswith("# Generated on ")
        assert (home / "fix.yaml.backup").read_text() == "# mine\n"


@pytest.fixture(scope="class")
def odd(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Iterator[Hotfixed]:
    """An image of another name that got these packages."""
    directory = tmp_path_factory.mktemp("odd")
    with prepared(directory, rpm_images) as site:
        provider = Package(name="b", more=("Provides: api(demo) = 2",))
        others = [Package(name=name) for name in ("c", "other")]
        site.build(SHELL, ODD, provider, *others)
        site.buildah.tag(site.image, "localhost/ns/mine:1")
        words = site.words(image="localhost/ns/mine:1")[:-2]
        site.hotfix((*words, "--output-env-file", "fix.yaml"))
        (site.result,) = (
            name for name in site.storage.names() if "mine:1-" in name
        )
        yield site


class TestOddPackages:
    """An image and packages with all that packages may have."""

    def test_dependency_comes_along(self, odd: Hotfixed) -> None:
        """Of what the image has not only that is installed which it needs."""
        (row,) = odd.rows
        assert [text for text in row["Packages"] if "shell" not in text] == [
            "b new: 1.0-1",
            "c new: 1.0-1",
            "keystone-demo 1.0-1 -> 1:0.9-1",
        ]
        assert "WARNING: other-1.0-1.noarch: was installed into no image" in (
            odd.stderr
        )
        assert len(odd.installed(odd.result, OLD.name, "b", "c")) == 3
        with odd.buildah.container(odd.result) as container:
            assert container.read("/usr/share/other/version") is None

    def test_failing_scriptlet(self, odd: Hotfixed) -> None:
        """A warning of rpm is told."""
        assert re.search(
            r"WARNING: \S+: .*%post.* scriptlet failed, exit status 3",
            odd.stderr,
        )

    def test_default_tag(self, odd: Hotfixed) -> None:
        """Without --tag the new one is named for the time."""
        assert re.fullmatch(r"localhost/ns/mine:1-hotfix-\d{14}", odd.result)

    def test_image_without_parameters(self, odd: Hotfixed) -> None:
        """An image that no parameter names is told, and no file written."""
        assert (
            f"WARNING: {odd.result}: no heat parameter of the"
            " release names this image" in odd.stderr
        )
        assert not (odd.openstack.home / "fix.yaml").exists()


class TestNothingDone:
    """An impossible hotfix changes nothing: exit status 2."""

    def test_broken_package(self, site: Site) -> None:
        """A damaged file is named before anything is asked for."""
        path = rpm_packages.broken(site.rpms)
        told = site.refused(image="no/such:1")
        assert f"{path}: is damaged or cut off" in told
        assert "hint: get the file again" in told

    def test_other_architecture(self, site: Site) -> None:
        """The file, its architecture and the image's are named."""
        path = site.build(FOREIGN)
        told = site.refused()
        assert f"{BASE}: the image is of" in told
        assert f"{path} (s390x)" in told

    @pytest.mark.parametrize("shell", [True, False])
    def test_image_without_rpm(self, site: Site, shell: bool) -> None:
        """An image that has no rpm, and perhaps no shell, is named."""
        image = "localhost/bare:1"
        if shell:
            with site.buildah.container(site.storage.base()) as container:
                container.run("rm", "/bin/rpm")
                container.commit(image)
        else:
            site.storage.build(image, {"/etc/motd": b"hello"})
        site.build(NEW)
        assert f"{image}: has no rpm" in site.refused(image=image)

    def test_nothing_applies(self, site: Site) -> None:
        """Why no package changes anything is told of each."""
        newer = Package(name="b", version="2.0")
        image = site.extend("localhost/b:1", newer)
        site.build(OLD, Package(name="b"), Package(name="c"))
        assert (
            "localhost/b:1: no package applies:"
            " keystone-demo-1.0-1.noarch is installed already,"
            " b-2.0-1.noarch is newer, c is not in it"
        ) in site.refused(image=image)

    @pytest.mark.parametrize(
        ("packages", "complaint"),
        [
            (
                (
                    Package(version="1.1", requires=("b >= 2",)),
                    Package(name="b"),
                ),
                "packages are missing: b >= 2 is needed by keystone-demo",
            ),
            (
                (SHELL, Package(version="1.1", pre="exit 4")),
                f"{BASE}: rpm fails: .*%pre.*exit status 4",
            ),
            (
                (
                    SHELL,
                    Package(version="1.1", post=f"echo other > {NEW.path}"),
                ),
                f"{BASE}: the result is not what the packages have(.|\n)*"
                f"{NEW.path} differs",
            ),
        ],
        ids=["unmet dependency", "refusing package", "other content"],
    )
    def test_packages_fail(
        self, site: Site, packages: tuple[Package, ...], complaint: str
    ) -> None:
        """The message says what is missing, what failed, or what differs."""
        site.build(*packages)
        assert re.search(complaint, site.refused())

    def test_result_exists(self, site: Site) -> None:
        """An image of that name is not replaced."""
        site.storage.build(NEW_IMAGE, {"/etc/motd": b"hello"})
        site.build(NEW)
        told = site.refused()
        assert f"{NEW_IMAGE}: exists in local storage already" in told
        assert f"buildah rmi {NEW_IMAGE}" in told

    def test_image_twice(self, site: Site) -> None:
        """One image under two names is one too many."""
        site.build(NEW)
        told = site.refused("--image", "ns/keystone:1.0")
        assert f"ns/keystone:1.0: is the same image as {BASE}" in told

    def test_no_such_image(self, site: Site, registry: DockerRegistry) -> None:
        """An image that is nowhere is named as it was given."""
        site.build(NEW)
        image = f"{registry.host}/ns/keystone:1"
        assert image in site.refused(image=image)

    def test_endless_scriptlet(self, site: Site) -> None:
        """A package whose scriptlet never ends fails after the timeout."""
        site.build(SHELL, ENDLESS)
        told = site.refused("--rpm-timeout", "5")
        assert f"{BASE}: buildah run: not done after 5 seconds" in told
        assert "--rpm-timeout" in told
        assert not scriptlets(site.storage)


class TestEnds:
    """Runs that somebody ends while rpm works, or that meet another one."""

    def test_result_is_being_made(self, site: Site) -> None:
        """Of two runs for one name, the second ends at once, in one line."""
        site.build(SHELL, ENDLESS)
        with started(site) as first:
            (site.rpms / ENDLESS.file_name).unlink()
            site.build(NEW)
            told = site.run(status=2).stderr
            assert first.poll() is None
            first.terminate()
            first.communicate(timeout=_PATIENCE)
        assert told.splitlines() == [
            f"{NEW_IMAGE}: another run is making an image of this name",
            "hint: choose another --tag, or wait until that run has ended",
        ]
        assert site.storage.names() == {BASE}

    @pytest.mark.parametrize(
        "number", sampling.some([signal.SIGTERM, signal.SIGINT], 2)
    )
    def test_stopped(self, site: Site, number: signal.Signals) -> None:
        """A run that is stopped while rpm works leaves nothing."""
        site.build(SHELL, ENDLESS)
        with started(site) as process:
            process.send_signal(number)
            _, stderr = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 128 + number
        assert "stopped; what was not finished is not visible" in stderr
        assert site.storage.names() == {BASE}
        assert site.storage.leftovers() == []
        assert not scriptlets(site.storage)

    def test_killed(self, site: Site) -> None:
        """The next run removes the rest of a killed run."""
        site.build(SHELL, Package(version="1.1", post="sleep 5"))
        with started(site) as process:
            process.kill()
            process.wait()
            assert site.storage.leftovers()
            while scriptlets(site.storage):
                time.sleep(0.05)
        # As if it had been killed a moment later.
        name = f"localhost/{name_of_killed_run()}"
        site.buildah.tag(site.image, name)
        site.run()
        assert site.storage.leftovers() == []
        assert site.storage.names() == {BASE, NEW_IMAGE}
        home = site.storage.directory / "images/imageprep"
        assert list(home.iterdir()) == []


class TestSeveralImages:
    """One set of packages, and images of which each has its own."""

    def test_each_gets_what_applies(self, site: Site) -> None:
        """The set may have packages that only some of the images have."""
        nova = site.extend("localhost/ns/nova:1.0", Package(name="b"))
        site.build(NEW, Package(name="b", version="2.0"))
        url = ("--registry-url", "u:8787")
        told = site.run("--image", nova, "-f", "json", *url)
        assert [row["Packages"] for row in json.loads(told.stdout)] == [
            ["keystone-demo 1.0-1 -> 1.1-1"],
            ["b 1.0-1 -> 2.0-1", "keystone-demo 1.0-1 -> 1.1-1"],
        ]
        parameter = "ContainerKeystoneImage: u:8787/ns/keystone:1.0-fix"
        assert parameter in told.stderr

    def test_one_fails(self, site: Site) -> None:
        """The others are made, and named by the parameters; status 1."""
        site.storage.build("localhost/bare:1", {"/etc/motd": b"hello"})
        site.build(NEW)
        told = site.run(
            *("--image", "localhost/bare:1"),
            *("--output-env-file", "fix.yaml", "--registry-url", "u:8787"),
            status=1,
        )
        assert "1 of 2 images failed" in told.stderr
        assert max(map(len, told.stdout.splitlines())) <= 80
        assert "| keystone:1.0-fix |" in told.stdout
        assert "localhost/bare:1: has no rpm" in told.stderr
        assert NEW_IMAGE in site.storage.names()
        assert "localhost/bare:1-fix" not in site.storage.names()
        text = (site.openstack.home / "fix.yaml").read_text()
        written = yaml.safe_load(text)["parameter_defaults"]
        assert set(written.values()) == {"u:8787/ns/keystone:1.0-fix"}


class TestDocuments:
    """The commands that users have."""

    def test_guide(self, site: Site, registry: DockerRegistry) -> None:
        """The commands of the guide put a new image into the registry."""
        source = f"{registry.host}/tripleo/openstack-keystone:17.1"
        push = ("push", "--quiet", "--tls-verify=false")
        site.buildah.run(*push, site.image, source)
        site.build(NEW)
        (site.openstack.home / "keystone-rpms").symlink_to(site.rpms)
        before = site.storage.names()
        for command in commands_of_the_guide(registry.host):
            programs.run(
                *shlex.split(command),
                cwd=site.openstack.home,
                env={
                    **site.openstack.environment,
                    "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
                },
            )
        new = f"{source}-bz123"
        assert site.storage.names() - before == {new}
        text = (site.openstack.home / "keystone-hotfix.yaml").read_text()
        named = yaml.safe_load(text)["parameter_defaults"]
        assert named["ContainerKeystoneImage"] == new

        site.buildah.remove(new)
        site.buildah.run("pull", "--quiet", "--tls-verify=false", new)
        assert site.installed(new) == [str(NEW)]

    def test_document_example(
        self, site: Site, registry: DockerRegistry
    ) -> None:
        """The predecessor's commands hotfix an image and push it.

        They are those of "Building hotfixed containers", with the command's
        name changed.
        """
        name = "docker.io/tripleomaster/centos-binary-keystone:current"
        site.buildah.run("tag", site.image, name)
        site.build(NEW)
        site.openstack(
            *("image-prepare", "hotfix", "--image", name),
            *("--rpms-path", str(site.rpms), "--tag", "bz123"),
            stderr=".*",
        )
        assert f"{name}-bz123" in site.storage.names()
        site.openstack(
            *("image-prepare", "push", "--local"),
            *("--registry-url", registry.host, f"{name}-bz123"),
            stderr=".*",
        )
        pushed = name.replace("docker.io", registry.host) + "-bz123"
        site.buildah.run("pull", "--quiet", "--tls-verify=false", pushed)
        assert site.installed(pushed) == [str(NEW)]


def last_layer(layout: Path) -> set[str]:
    """The files in the topmost layer of the image of a layout."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_bytes())
    with tarfile.open(blob(manifest["layers"][-1]["digest"])) as archive:
        return {member.name for member in archive if member.isfile()}


@contextlib.contextmanager
def started(site: Site) -> Iterator[subprocess.Popen[str]]:
    """The command while a scriptlet runs; nothing is left of it at the end."""
    process = subprocess.Popen(
        [PROGRAM, *site.words()],
        env=site.openstack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not scriptlets(site.storage):
            assert process.poll() is None, process.communicate()
            # There is nothing to wait on: rpm tells nobody.
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
        for number in scriptlets(site.storage):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def scriptlets(storage: LocalStorage) -> list[int]:
    """The processes that are scriptlets of packages, in this storage."""
    return [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if _is_scriptlet(path, storage)
    ]


def _is_scriptlet(process: Path, storage: LocalStorage) -> bool:
    # Processes end meanwhile.
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        root = Path(os.readlink(process / "root"))
        return b"/rpm-tmp." in b" ".join(words[1:2]) and root.is_relative_to(
            storage.directory
        )
    return False


def commands_of_the_guide(host: str) -> list[str]:
    """Those that this host can do, with a registry that is there."""
    text = GUIDE.read_text().replace("undercloud.ctlplane:8787", host)
    commands = re.findall(r"^   \$ ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    joined = (re.sub(r"\\\n +>? *", "", command) for command in commands)
    found = [
        command
        for command in joined
        if command.startswith(("openstack image-prepare", "buildah"))
    ]
    assert len(found) >= 3
    return found
