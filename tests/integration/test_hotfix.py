"""``hotfix`` with real buildah and real rpm."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imageprep_client.programs.buildah import Buildah
from tests import rpm_packages
from tests.functional.base import OpenStack
from tests.local_storage import LocalStorage, name_of_killed_run
from tests.rpm_images import BASE, LABELS, USER, RpmImages
from tests.rpm_packages import FOREIGN, NEW, OLD
from tests.servers import DockerRegistry, docker_registry

GUIDE = Path(__file__).parents[2] / "doc/source/user/hotfix.rst"
NEW_IMAGE = "localhost/ns/keystone:1.0-fix"
#: Seconds that a command may take to end on a busy host.
_PATIENCE = 120
PROGRAM = Path(sys.executable).with_name("openstack")


@dataclasses.dataclass(frozen=True)
class Package(rpm_packages.Package):
    """A package with more to it.

    :ivar more: lines of its spec file.
    """

    more: tuple[str, ...] = ()

    def spec(self) -> str:
        """As rpmbuild takes it."""
        lines = "".join(f"{line}\n" for line in self.more)
        return super().spec().replace("Summary:", f"{lines}Summary:", 1)


@dataclasses.dataclass(frozen=True)
class Refusing(rpm_packages.Package):
    """A package that will not be installed."""

    def spec(self) -> str:
        """As rpmbuild takes it."""
        script = "%pre -p /bin/sh\nexit 4\n"
        return super().spec().replace("%files", f"{script}%files")


#: What packages with scriptlets need, and the images have not from rpm.
SHELL = Package(name="shell", more=("Provides: /bin/sh",))


@pytest.fixture
def rpms(tmp_path: Path) -> Path:
    """The directory of the packages."""
    return tmp_path / "rpms"


@pytest.fixture
def openstack(tmp_path: Path, local_storage: LocalStorage) -> OpenStack:
    """The command, on the storage of the test."""
    home = tmp_path / "home"
    home.mkdir()
    found = OpenStack(home)
    found.environment.update(local_storage.environment)
    return found


@pytest.fixture
def image(local_storage: LocalStorage, rpm_images: RpmImages) -> str:
    """An image with the package OLD."""
    return rpm_images.base(local_storage)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """An empty registry."""
    with docker_registry(tmp_path / "registry") as running:
        yield running


def words(image: str, rpms: Path, *more: str) -> tuple[str, ...]:
    """The command for an image."""
    return (
        *("image-prepare", "hotfix", "--image", image),
        *("--rpms-path", str(rpms), "--tag", "fix", *more),
    )


def installed(buildah: Buildah, image: str, *names: str) -> list[str]:
    """What the rpm of an image says that it has."""
    # With isolation chroot, buildah now and then loses what is printed.
    with (
        buildah.container(image) as container,
        tempfile.TemporaryDirectory() as directory,
    ):
        container.run(
            *("sh", "-c", 'rpm -q "$@" >/mnt/told', "sh"),
            *(names or [OLD.name]),
            volumes=[f"{directory}:/mnt"],
            user="root",
        )
        return Path(directory, "told").read_text().split()


def refused(openstack: OpenStack, storage: LocalStorage, *words: str) -> str:
    """The message of a hotfix that does nothing, and leaves nothing."""
    before = storage.buildah.images()
    told = openstack(*words, status=2, stderr=".*").stderr
    assert storage.buildah.images() == before
    assert storage.leftovers() == []
    return told


class TestOneImage:
    """An image and a package."""

    def test_result(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """A new image has the new version, and the row says so."""
        rpm_packages.build(rpms, NEW)
        told = openstack(*words(image, rpms, "-f", "json"), stderr=".*")
        assert json.loads(told.stdout) == [
            {
                "Image": BASE,
                "New image": NEW_IMAGE,
                "Packages": ["keystone-demo 1.0-1 -> 1.1-1"],
            }
        ]
        assert f"{BASE}: keystone-demo 1.0-1 -> 1.1-1" in told.stderr
        buildah = local_storage.buildah
        assert installed(buildah, NEW_IMAGE) == [str(NEW)]
        assert installed(buildah, BASE) == [str(OLD)]
        assert local_storage.names() == {BASE, NEW_IMAGE}

    def test_image_is_otherwise_the_same(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """User, labels and layers are kept; one layer and one label more."""
        rpm_packages.build(rpms, NEW)
        openstack(*words(image, rpms), stderr=".*")
        old = local_storage.buildah.image(BASE)
        new = local_storage.buildah.image(NEW_IMAGE)
        assert old is not None
        assert new is not None
        assert new.user == old.user == USER
        assert LABELS.items() <= new.labels.items()
        assert new.labels["hotfix"] == str(NEW)
        assert new.diff_ids[:-1] == old.diff_ids
        configs = [json.loads(i.config)["config"] for i in (old, new)]
        for config in configs:
            del config["Labels"]
        assert configs[0] == configs[1]

    def test_layer_has_no_more_than_the_package(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
        tmp_path: Path,
    ) -> None:
        """No package, cache or place where something was mounted is in it."""
        rpm_packages.build(rpms, NEW)
        openstack(*words(image, rpms), stderr=".*")
        layout = tmp_path / "layout"
        local_storage.buildah.run(
            "push", "--quiet", NEW_IMAGE, f"oci:{layout}:x"
        )
        files = {n for n in last_layer(layout) if not n.startswith("var/lib")}
        # Those in etc are buildah's, for whoever wants to mount over them.
        assert {n for n in files if not n.startswith(("etc/", "run"))} == {
            NEW.path.lstrip("/")
        }

    def test_dependency_comes_along(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """Of what the image has not only that is installed which it needs."""
        rpm_packages.build(
            rpms,
            Package(
                version="1.1",
                requires=("api(demo) >= 2", "/usr/share/c/version"),
            ),
            Package(name="b", more=("Provides: api(demo) = 2",)),
            Package(name="c"),
            Package(name="other"),
        )
        told = openstack(*words(image, rpms, "-f", "json"), stderr=".*")
        (row,) = json.loads(told.stdout)
        assert row["Packages"] == [
            "b new: 1.0-1",
            "c new: 1.0-1",
            "keystone-demo 1.0-1 -> 1.1-1",
        ]
        assert "WARNING: other-1.0-1.noarch: was installed into no image" in (
            told.stderr
        )
        buildah = local_storage.buildah
        assert len(installed(buildah, NEW_IMAGE, OLD.name, "b", "c")) == 3
        with local_storage.buildah.container(NEW_IMAGE) as container:
            assert container.read("/usr/share/other/version") is None

    def test_epoch(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """A lower version with a higher epoch is an update."""
        package = Package(version="0.9", more=("Epoch: 1",))
        rpm_packages.build(rpms, package)
        told = openstack(*words(image, rpms), stderr=".*")
        assert "keystone-demo 1.0-1 -> 1:0.9-1" in told.stdout
        assert installed(local_storage.buildah, NEW_IMAGE) == [str(package)]

    def test_failing_scriptlet(
        self, openstack: OpenStack, image: str, rpms: Path
    ) -> None:
        """What rpm warns of, and goes on, is told."""
        package = Package(version="1.1", post="exit 3")
        rpm_packages.build(rpms, SHELL, package)
        told = openstack(*words(image, rpms), stderr=".*")
        assert re.search(
            rf"WARNING: {BASE}: .*%post.* scriptlet failed, exit status 3",
            told.stderr,
        )

    def test_default_tag(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """Without --tag the new one is named for the time."""
        rpm_packages.build(rpms, NEW)
        openstack(*words(image, rpms)[:-2], stderr=".*")
        (new,) = local_storage.names() - {BASE}
        assert re.fullmatch(rf"{BASE}-hotfix-\d{{14}}", new)


class TestNothingDone:
    """What cannot be done leaves everything as it was: exit status 2."""

    def test_broken_package(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        rpms: Path,
    ) -> None:
        """A damaged file is named before anything is asked for."""
        path = rpm_packages.broken(rpms)
        told = refused(openstack, local_storage, *words("no/such:1", rpms))
        assert f"{path}: is damaged or cut off" in told
        assert "hint: get the file again" in told

    def test_empty_directory(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        rpms: Path,
    ) -> None:
        """A directory without packages is named."""
        rpms.mkdir()
        told = refused(openstack, local_storage, *words("no/such:1", rpms))
        assert f"{rpms}: no file *.rpm in this directory" in told

    def test_other_architecture(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """The file, its architecture and the image's are named."""
        path = rpm_packages.build(rpms, FOREIGN)
        told = refused(openstack, local_storage, *words(image, rpms))
        assert f"{BASE}: the image is of" in told
        assert f"{path} (s390x)" in told

    @pytest.mark.parametrize("shell", [True, False])
    def test_image_without_rpm(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        rpms: Path,
        shell: bool,
    ) -> None:
        """An image that has no rpm, and perhaps no shell, is named."""
        image = "localhost/bare:1"
        if shell:
            with local_storage.buildah.container(local_storage.base()) as made:
                made.run("rm", "/bin/rpm")
                made.commit(image)
        else:
            local_storage.build(image, {"/etc/motd": b"hello"})
        rpm_packages.build(rpms, NEW)
        told = refused(openstack, local_storage, *words(image, rpms))
        assert f"{image}: has no rpm" in told

    def test_nothing_applies(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
        tmp_path: Path,
    ) -> None:
        """Why no package changes anything is told of each."""
        newer = Package(name="b", version="2.0")
        with local_storage.buildah.container(image) as container:
            rpm_packages.build(tmp_path / "newer", newer)
            container.run(
                *("rpm", "-i", f"/mnt/{newer.file_name}"),
                volumes=[f"{tmp_path}/newer:/mnt:ro"],
                user="root",
            )
            container.commit("localhost/b:1")
        rpm_packages.build(rpms, OLD, Package(name="b"), Package(name="c"))
        told = refused(openstack, local_storage, *words("localhost/b:1", rpms))
        assert (
            "localhost/b:1: no package applies:"
            " keystone-demo-1.0-1.noarch is installed already,"
            " b-2.0-1.noarch is newer, c is not in it"
        ) in told

    def test_unmet_dependency(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """What is missing, and who needs it, is named."""
        rpm_packages.build(
            rpms,
            Package(version="1.1", requires=("b >= 2",)),
            Package(name="b"),
        )
        told = refused(openstack, local_storage, *words(image, rpms))
        assert "packages are missing: b >= 2 is needed by keystone-demo" in (
            told
        )

    def test_failing_package(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """A package that refuses to be installed fails the image."""
        package = Refusing(version="1.1")
        rpm_packages.build(rpms, SHELL, package)
        told = refused(openstack, local_storage, *words(image, rpms))
        assert re.search(rf"{BASE}: rpm fails: .*%pre.*exit status 4", told)

    def test_mismatch(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """A result that is not what the package has is no result."""
        post = f"echo other > {NEW.path}"
        rpm_packages.build(rpms, SHELL, Package(version="1.1", post=post))
        told = refused(openstack, local_storage, *words(image, rpms))
        assert f"{BASE}: the result is not what the packages have" in told
        assert f"{NEW.path} differs" in told

    def test_result_exists(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """An image of that name is not replaced."""
        local_storage.build(NEW_IMAGE, {"/etc/motd": b"hello"})
        rpm_packages.build(rpms, NEW)
        told = refused(openstack, local_storage, *words(image, rpms))
        assert f"{NEW_IMAGE}: exists in local storage already" in told
        assert f"buildah rmi {NEW_IMAGE}" in told

    def test_result_is_being_made(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """Of two runs for one name, the second ends at once, in one line."""
        loop = "while true; do :; done"
        endless = rpms.with_name("endless")
        rpm_packages.build(endless, SHELL, Package(version="1.1", post=loop))
        rpm_packages.build(rpms, NEW)
        with started(
            openstack, local_storage, *words(image, endless)
        ) as first:
            wait_for_scriptlet(first, local_storage)
            told = openstack(*words(image, rpms), status=2, stderr=".*").stderr
            assert first.poll() is None
            first.terminate()
            first.communicate(timeout=_PATIENCE)
        assert told.splitlines() == [
            f"{NEW_IMAGE}: another run is making an image of this name",
            "hint: choose another --tag, or wait until that run has ended",
        ]
        assert local_storage.names() == {BASE}

    def test_image_twice(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """One image under two names is one too many."""
        rpm_packages.build(rpms, NEW)
        told = refused(
            openstack,
            local_storage,
            *words(image, rpms, "--image", "ns/keystone:1.0"),
        )
        assert f"ns/keystone:1.0: is the same image as {BASE}" in told

    def test_endless_scriptlet(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """A package whose scriptlet never ends fails after the timeout."""
        loop = "while true; do :; done"
        rpm_packages.build(rpms, SHELL, Package(version="1.1", post=loop))
        told = refused(
            openstack,
            local_storage,
            *words(image, rpms, "--rpm-timeout", "8"),
        )
        assert f"{BASE}: buildah run: not done after 8 seconds" in told
        assert "--rpm-timeout" in told
        assert not scriptlets(local_storage)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stopped(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
        number: signal.Signals,
    ) -> None:
        """A run that is stopped while rpm works leaves nothing."""
        loop = "while true; do :; done"
        rpm_packages.build(rpms, SHELL, Package(version="1.1", post=loop))
        before = local_storage.buildah.images()
        with started(openstack, local_storage, *words(image, rpms)) as process:
            wait_for_scriptlet(process, local_storage)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 128 + number
        assert "stopped; what was not finished is not visible" in stderr
        assert local_storage.buildah.images() == before
        assert local_storage.leftovers() == []
        assert not scriptlets(local_storage)

    def test_killed(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """What a killed run could not remove is removed by the next one."""
        count = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
        rpm_packages.build(rpms, SHELL, Package(version="1.1", post=count))
        with started(openstack, local_storage, *words(image, rpms)) as process:
            wait_for_scriptlet(process, local_storage)
            process.kill()
            process.wait()
            assert local_storage.leftovers()
            while scriptlets(local_storage):
                time.sleep(0.05)
        # As if it had been killed a moment later.
        local_storage.buildah.tag(image, f"localhost/{name_of_killed_run()}")
        openstack(*words(image, rpms), stderr=".*")
        assert local_storage.leftovers() == []
        assert local_storage.names() == {BASE, NEW_IMAGE}
        home = local_storage.directory / "images/imageprep"
        assert list(home.iterdir()) == []


class TestSeveralImages:
    """One set of packages, and images of which each has its own."""

    def test_each_gets_what_applies(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
        tmp_path: Path,
    ) -> None:
        """The set may have packages that only some of the images have."""
        extra = tmp_path / "extra"
        rpm_packages.build(extra, Package(name="b"))
        with local_storage.buildah.container(image) as container:
            container.run(
                *("rpm", "-i", f"/mnt/{Package(name='b').file_name}"),
                volumes=[f"{extra}:/mnt:ro"],
                user="root",
            )
            container.commit("localhost/ns/nova:1.0")
        rpm_packages.build(rpms, NEW, Package(name="b", version="2.0"))
        told = openstack(
            *words(image, rpms, "--image", "localhost/ns/nova:1.0"),
            *("-f", "json"),
            stderr=".*",
        )
        assert [row["Packages"] for row in json.loads(told.stdout)] == [
            ["keystone-demo 1.0-1 -> 1.1-1"],
            ["b 1.0-1 -> 2.0-1", "keystone-demo 1.0-1 -> 1.1-1"],
        ]

    def test_one_fails(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """The others are made, and named by the parameters; status 1."""
        local_storage.build("localhost/bare:1", {"/etc/motd": b"hello"})
        rpm_packages.build(rpms, NEW)
        told = openstack(
            *words(image, rpms, "--image", "localhost/bare:1"),
            *("--output-env-file", "fix.yaml", "--registry-url", "u:8787"),
            status=1,
            stderr=".*",
        )
        assert "1 of 2 images failed" in told.stderr
        assert "localhost/bare:1: has no rpm" in told.stderr
        assert NEW_IMAGE in local_storage.names()
        assert "localhost/bare:1-fix" not in local_storage.names()
        written = yaml.safe_load((openstack.home / "fix.yaml").read_text())
        assert set(written["parameter_defaults"].values()) == {
            "u:8787/ns/keystone:1.0-fix"
        }


class TestNextSteps:
    """What is to be done with the new image."""

    def test_names_are_filled_in(
        self, openstack: OpenStack, image: str, rpms: Path
    ) -> None:
        """Every step has the commands for this image."""
        rpm_packages.build(rpms, NEW)
        stderr = openstack(
            *words(image, rpms, "--registry-url", "u:8787"), stderr=".*"
        ).stderr
        for line in (
            f"buildah inspect --type image {NEW_IMAGE}",
            f"image-prepare push --local --registry-url u:8787 {NEW_IMAGE}",
            "ContainerKeystoneImage: u:8787/ns/keystone:1.0-fix",
            "podman ps --filter ancestor=u:8787/ns/keystone:1.0-fix",
            "rpm -q keystone-demo",
        ):
            assert line in stderr

    def test_environment_file(
        self, openstack: OpenStack, image: str, rpms: Path
    ) -> None:
        """The parameters of the release name what will be pushed."""
        rpm_packages.build(rpms, NEW)
        (openstack.home / "fix.yaml").write_text("# mine\n")
        told = openstack(
            *words(image, rpms, "--registry-url", "u:8787/site"),
            *("--release", "stein", "--output-env-file", "fix.yaml"),
            stderr=".*",
        )
        text = (openstack.home / "fix.yaml").read_text()
        assert yaml.safe_load(text) == {
            "parameter_defaults": {
                "DockerKeystoneConfigImage": "u:8787/site/ns/keystone:1.0-fix",
                "DockerKeystoneImage": "u:8787/site/ns/keystone:1.0-fix",
            }
        }
        assert text.startswith("# Generated on ")
        backup = openstack.home / "fix.yaml.backup"
        assert backup.read_text() == "# mine\n"
        assert "-e fix.yaml" in told.stderr

    def test_image_without_parameters(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        rpms: Path,
    ) -> None:
        """An image that no parameter names is told, and no file written."""
        local_storage.buildah.tag(image, "localhost/ns/mine:1")
        rpm_packages.build(rpms, NEW)
        told = openstack(
            *words("localhost/ns/mine:1", rpms),
            *("--output-env-file", "fix.yaml"),
            stderr=".*",
        )
        assert (
            "WARNING: localhost/ns/mine:1-fix: no heat parameter of the"
            " release names this image" in told.stderr
        )
        assert not (openstack.home / "fix.yaml").exists()


class TestFromRegistry:
    """An image that is not in local storage."""

    def test_guide(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        registry: DockerRegistry,
        rpms: Path,
    ) -> None:
        """The commands of the guide put a new image into the registry."""
        buildah = local_storage.buildah
        source = f"{registry.host}/tripleo/openstack-keystone:17.1"
        buildah.run("push", "--quiet", "--tls-verify=false", BASE, source)
        rpm_packages.build(rpms, NEW)
        (openstack.home / "keystone-rpms").symlink_to(rpms)
        before = local_storage.names()
        for command in commands_of_the_guide(registry.host):
            subprocess.run(
                shlex.split(command),
                env={
                    **openstack.environment,
                    "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
                },
                cwd=openstack.home,
                check=True,
                capture_output=True,
            )
        new = f"{source}-bz123"
        assert local_storage.names() - before == {new}
        text = (openstack.home / "keystone-hotfix.yaml").read_text()
        named = yaml.safe_load(text)["parameter_defaults"]
        assert named["ContainerKeystoneImage"] == new

        buildah.remove(new)
        buildah.run("pull", "--quiet", "--tls-verify=false", new)
        assert installed(buildah, new) == [str(NEW)]

    def test_document_example(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        image: str,
        registry: DockerRegistry,
        rpms: Path,
    ) -> None:
        """The predecessor's commands hotfix an image and push it.

        They are those of "Building hotfixed containers", with the command's
        name changed.
        """
        name = "docker.io/tripleomaster/centos-binary-keystone:current"
        buildah = local_storage.buildah
        buildah.run("tag", BASE, name)
        rpm_packages.build(rpms, NEW)
        openstack(
            *("image-prepare", "hotfix", "--image", name),
            *("--rpms-path", str(rpms), "--tag", "bz123"),
            stderr=".*",
        )
        assert f"{name}-bz123" in local_storage.names()
        openstack(
            *("image-prepare", "push", "--local"),
            *("--registry-url", registry.host, f"{name}-bz123"),
            stderr=".*",
        )
        pushed = name.replace("docker.io", registry.host) + "-bz123"
        buildah.run("pull", "--quiet", "--tls-verify=false", pushed)
        assert installed(buildah, pushed) == [str(NEW)]

    def test_no_such_image(
        self,
        openstack: OpenStack,
        local_storage: LocalStorage,
        registry: DockerRegistry,
        rpms: Path,
    ) -> None:
        """An image that is nowhere is named as it was given."""
        rpm_packages.build(rpms, NEW)
        image = f"{registry.host}/ns/keystone:1"
        told = refused(openstack, local_storage, *words(image, rpms))
        assert image in told


def last_layer(layout: Path) -> set[str]:
    """The files in the topmost layer of the image of a layout."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_bytes())
    with tarfile.open(blob(manifest["layers"][-1]["digest"])) as archive:
        return {member.name for member in archive if member.isfile()}


@contextlib.contextmanager
def started(
    openstack: OpenStack, local_storage: LocalStorage, *words: str
) -> Iterator[subprocess.Popen[str]]:
    """A command in the background, and no process of it left at the end."""
    process = subprocess.Popen(
        [PROGRAM, *words],
        env=openstack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
        for number in scriptlets(local_storage):
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


def wait_for_scriptlet(
    process: subprocess.Popen[str], storage: LocalStorage
) -> None:
    """Return when a command runs a scriptlet."""
    while not scriptlets(storage):
        assert process.poll() is None, process.communicate()
        # There is nothing to wait on: rpm tells nobody.
        time.sleep(0.05)


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
