"""``run`` modifies images, with real registries, buildah, rpm and ansible."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import local_storage as local_storages
from tests import rpm_packages, sampling
from tests.integration.modifying import (
    KEYSTONE,
    NOVA,
    PARAMETERS,
    PROGRAM,
    Result,
    Site,
    publish,
)
from tests.local_storage import LocalStorage
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW, OLD
from tests.servers import docker_registry

ROLE = "tripleo-modify-image"
GUIDE = Path(__file__).parents[2] / "doc/source/user/entries.rst"


@pytest.fixture(scope="module")
def content(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Path:
    """The storage of a registry with two images that share a base."""
    directory = tmp_path_factory.mktemp("content")
    with (
        local_storages.local_storage(directory / "storage") as storage,
        docker_registry(directory) as registry,
    ):
        base = rpm_images.base(storage)
        for name in (KEYSTONE, NOVA):
            local = f"localhost/{name}:1"
            storage.build(local, {f"/{name}": b"own"}, base=base)
            names = (f"ns/{name}:1.0", f"fixes/{name}:1.0")
            publish(storage, registry, local, *names)
    return directory / "data"


@contextlib.contextmanager
def running_site(
    directory: Path,
    storage: LocalStorage,
    rpm_images: RpmImages,
    content: Path,
) -> Iterator[Site]:
    """A source with the images, and an empty destination."""
    home = directory / "home"
    home.mkdir()
    shutil.copytree(content, directory / "source" / "data")
    with (
        docker_registry(directory / "source", access_log=True) as source,
        docker_registry(directory / "destination") as destination,
    ):
        yield Site(home, source, destination, storage, rpm_images)


@pytest.fixture
def site(
    tmp_path: Path,
    local_storage: LocalStorage,
    rpm_images: RpmImages,
    content: Path,
) -> Iterator[Site]:
    """A site of the test's own."""
    with running_site(tmp_path, local_storage, rpm_images, content) as found:
        yield found


@dataclasses.dataclass
class Made:
    """A run that has modified images.

    :ivar gets: the blobs that it has asked the source for.
    """

    site: Site
    result: Result
    gets: list[str]


def hotfix(site: Site, *names: str, **keys: Any) -> dict[str, Any]:
    """An entry that installs the package NEW into images."""
    rpms = site.home / "rpms"
    if not rpms.exists():
        rpm_packages.build(rpms, NEW)
    variables = {"tasks_from": "rpm_install.yml", "rpms_path": str(rpms)}
    return site.entry(
        *names,
        modify_role=ROLE,
        modify_append_tag="-hotfix",
        modify_vars=variables,
        **keys,
    )


def role(site: Site, name: str, tasks: str, **keys: Any) -> dict[str, Any]:
    """A role of the user's, with these tasks, and an entry that has it."""
    path = site.home / "roles" / name / "tasks" / "main.yml"
    path.parent.mkdir(parents=True)
    path.write_text(tasks)
    site.environment["ANSIBLE_ROLES_PATH"] = str(site.home / "roles")
    return site.entry(
        KEYSTONE, modify_role=name, modify_append_tag="-x", **keys
    )


def documented() -> list[dict[str, Any]]:
    """The entries that the guide has for changing images."""
    text = GUIDE.read_text().partition("Changing images")[2]
    block = text.partition(".. code-block:: yaml\n\n")[2]
    lines = block.splitlines()
    end = next(i for i, x in enumerate(lines) if x and x[0] != " ")
    document = yaml.safe_load("\n".join(lines[:end]))
    found: list[dict[str, Any]] = document["parameter_defaults"][
        "ContainerImagePrepare"
    ]
    return found


def gets(site: Site) -> list[str]:
    """The blobs that the source was asked for."""
    lines = site.source.requests(r"^GET \S+/blobs/sha256:")
    return [line.split()[1].rpartition("/")[2] for line in lines]


@pytest.fixture(scope="class")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    rpm_images: RpmImages,
    content: Path,
) -> Iterator[Made]:
    """A run that installs a package into an image of docker's types."""
    directory = tmp_path_factory.mktemp("made")
    with (
        local_storages.local_storage(directory / "storage") as storage,
        running_site(directory, storage, rpm_images, content) as site,
    ):
        base, local = rpm_images.base(storage), "localhost/docker:1"
        storage.build(local, {f"/{KEYSTONE}": b"own"}, base=base)
        site.publish(local, f"ns/{KEYSTONE}:1.0", docker=True)
        storage.buildah.remove(base)
        site.configure(site.entry(KEYSTONE, NOVA), hotfix(site, KEYSTONE))
        result = site.run("--pin-digests")
        yield Made(site, result, gets(site))


class TestHotfix:
    """Images that get a package by the role of this project."""

    def test_layers(self, site: Site) -> None:
        """Everything of one namespace, and one of another, with a fix.

        The entries are those of the guide.
        """
        everything, fixed = documented()
        of_site = site.entry(KEYSTONE, NOVA)
        everything.update(of_site)
        rpm_packages.build(site.home / "rpms", NEW)
        fixed["push_destination"] = site.destination.host
        fixed["set"] = {"namespace": f"{site.source.host}/fixes", "tag": "1.0"}
        fixed["modify_vars"]["rpms_path"] = str(site.home / "rpms")
        site.configure(everything, fixed)
        result = site.run()
        host = site.destination.host
        assert result.parameters is not None
        assert result.parameters[PARAMETERS[KEYSTONE]] == (
            f"{host}/ns/{KEYSTONE}:1.0"
        )
        assert result.parameters[PARAMETERS[NOVA]] == (
            f"{host}/fixes/{NOVA}:1.0-hotfix"
        )
        assert site.leftovers() == []
        assert site.installed(f"fixes/{NOVA}:1.0-hotfix") == str(NEW)
        assert site.installed(f"ns/{KEYSTONE}:1.0") == str(OLD)

    def test_layers_travel_once(self, made: Made) -> None:
        """Each leaves the source once, and is not packed anew."""
        site = made.site
        layers = [
            layer
            for name in (KEYSTONE, NOVA)
            for layer in site.manifest(f"ns/{name}:1.0", source=True)["layers"]
        ]
        digests = {layer["digest"] for layer in layers}
        asked = [digest for digest in made.gets if digest in digests]
        assert sorted(asked) == sorted(digests)
        changed = site.manifest(f"ns/{KEYSTONE}:1.0-hotfix")
        assert changed["layers"][:-1] == layers[:2]

    def test_digest(self, made: Made) -> None:
        """Parameters can name the digest of what was made."""
        digest = made.result.row(KEYSTONE)["digest"]
        assert made.result.parameters is not None
        image = f"{made.site.destination.host}/ns/{KEYSTONE}@{digest}"
        assert made.result.parameters[PARAMETERS[KEYSTONE]] == image
        assert made.site.installed(f"ns/{KEYSTONE}@{digest}") == str(NEW)

    def test_docker_formats(self, made: Made) -> None:
        """Images of docker's types can be modified."""
        name = f"ns/{KEYSTONE}:1.0-hotfix"
        assert "docker" in made.site.manifest(name)["mediaType"]
        assert made.site.installed(name) == str(NEW)

    def test_again(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second run finds all in place, and starts nothing."""
        programs = str(PROGRAM.parent)
        monkeypatch.setitem(made.site.environment, "PATH", programs)
        second = made.site.run("--pin-digests")
        assert [row["outcome"] for row in second.rows.values()] == [
            "present",
            "present",
        ]
        assert second.parameters == made.result.parameters
        assert gets(made.site) == made.gets

    def test_tree(self, site: Site) -> None:
        """A tree takes modified images; the base is linked."""
        site.configure(site.entry(KEYSTONE, NOVA), hotfix(site, NOVA))
        site.run("--image-serve", "tree")
        source = site.manifest(f"ns/{NOVA}:1.0", source=True)
        digest = source["layers"][0]["digest"]
        paths = list((site.home / "tree").rglob(f"{digest}*"))
        assert len(paths) == 2
        assert paths[0].samefile(paths[1])
        assert site.leftovers() == []

    def test_base_in_the_destination(self, site: Site) -> None:
        """Its layers are mounted, and do not travel to where they are."""
        place = f"{site.source.host}/fixed"
        site.configure(hotfix(site, NOVA, push_destination=place))
        row = site.run().row(NOVA)
        layers = site.manifest(f"ns/{NOVA}:1.0", source=True)["layers"]
        assert row["mounted"] == sum(layer["size"] for layer in layers)
        for layer in layers:
            mount = f"mount={layer['digest'].replace(':', '%3A')}&from=ns%2F"
            assert site.source.requests(mount)

    def test_limits(self, site: Site) -> None:
        """By label, only those that have it are modified."""
        other = {"name": "other"}
        base = site.rpm_images.base(site.storage)
        local = "localhost/labelled:1"
        site.storage.build(local, base=base, labels={**other, "fix": "1"})
        site.publish(local, f"ns/{NOVA}:1.0")
        site.storage.buildah.remove(base)
        labels = ["fix"]
        wanted = hotfix(site, KEYSTONE, NOVA, modify_only_with_labels=labels)
        site.configure(wanted)
        site.run()
        assert site.pushed() == {
            f"ns/{KEYSTONE}": ["1.0"],
            f"ns/{NOVA}": ["1.0-hotfix"],
        }


class TestCleanup:
    """The images that stay in the host's local storage."""

    @pytest.mark.parametrize(
        ("cleanup", "suffixes"),
        [("partial", ["-hotfix"]), ("none", ["", "-hotfix"])],
    )
    def test_images(
        self, site: Site, cleanup: str, suffixes: list[str]
    ) -> None:
        """Results stay, or all; what was there before stays, too."""
        storage = site.storage
        there = storage.base()
        site.configure(hotfix(site, KEYSTONE))
        site.run("--cleanup", cleanup)
        hosts = {"": site.source.host, "-hotfix": site.destination.host}
        assert storage.names() == {
            there,
            *(f"{hosts[s]}/ns/{KEYSTONE}:1.0{s}" for s in suffixes),
        }
        assert storage.leftovers() == []

    def test_image_of_the_same_name(self, site: Site) -> None:
        """A local image that is called as the source stays what it is."""
        name = f"{site.source.host}/ns/{KEYSTONE}:1.0"
        identity = site.storage.build(name, {"/x": b"x"})
        site.configure(hotfix(site, KEYSTONE))
        site.run()
        found = site.storage.buildah.image(name)
        assert found is not None
        assert found.id == identity


class TestFailures:
    """Clear errors; nothing pushed, nothing left."""

    def test_broken_package(self, site: Site) -> None:
        """The digest of a package is wrong."""
        entry = hotfix(site, KEYSTONE)
        rpm_packages.broken(site.home / "rpms")
        site.configure(site.entry(NOVA), entry)
        result = site.fail()
        assert f"/ns/{KEYSTONE}:1.0: ansible role {ROLE}" in result.stderr
        assert f"package {NEW.name}-1.1-1.noarch does not" in result.stderr
        assert result.row(NOVA)["outcome"] == "left"

    def test_no_package(self, site: Site) -> None:
        """A directory without packages is named before the first fetch."""
        entry = hotfix(site, KEYSTONE)
        (site.home / "rpms" / NEW.file_name).unlink()
        site.configure(entry)
        told = site.fail(status=2).stderr
        assert "ContainerImagePrepare[0].modify_vars.rpms_path: " in told
        assert "no *.rpm in this directory" in told
        assert gets(site) == []

    @pytest.mark.parametrize(
        ("name", "tasks", "key"),
        [
            ("no-such-role", "x.yml", "modify_role: "),
            (ROLE, "no-such.yml", "modify_vars.tasks_from: "),
        ],
    )
    def test_dry_run_fails_alike(
        self, site: Site, name: str, tasks: str, key: str
    ) -> None:
        """A dry run reports a missing role or tasks in the same words, and
        neither run fetches anything.
        """
        variables = {"tasks_from": tasks}
        entry = site.entry(KEYSTONE, modify_role=name, modify_vars=variables)
        site.configure(entry)
        told = site.fail(status=2).stderr
        assert key in told
        assert site.fail("--dry-run", status=2).stderr == told
        assert gets(site) == []

    @pytest.mark.parametrize("words", [(), ("--dry-run",)])
    def test_missing_ansible(
        self,
        site: Site,
        monkeypatch: pytest.MonkeyPatch,
        words: tuple[str, ...],
    ) -> None:
        """The extra is named, before anything is fetched."""
        monkeypatch.setattr(importlib.util, "find_spec", _without_ansible)
        site.configure(hotfix(site, KEYSTONE))
        result = site.fail(*words, status=2)
        assert "ansible-runner is not installed" in result.stderr
        assert "pip install imageprep-client[modify]" in result.stderr
        assert gets(site) == []

    def test_secrets(self, site: Site) -> None:
        """A password among the variables is in no message."""
        task = """
- ansible.builtin.shell: echo "{{ the_password }}, no less" >&2; exit 1
"""
        variables = {"the_password": "hunter2"}
        site.configure(role(site, "tells", task, modify_vars=variables))
        result = site.fail()
        assert "failed: ***, no less" in result.stderr
        assert "hunter2" not in result.stderr + str(result.rows)


class TestRoles:
    """Roles of the user's own."""

    def test_wins(self, site: Site) -> None:
        """One of the same name comes before that of this project."""
        task = "- ansible.builtin.fail: {msg: this is mine}\n"
        site.configure(role(site, ROLE, task))
        assert "this is mine" in site.fail().stderr

    def test_configuration(self, site: Site) -> None:
        """Roles are found by ansible.cfg; what it has else breaks nothing."""
        task = "- ansible.builtin.fail: {msg: found}\n"
        site.configure(role(site, "mine", task))
        del site.environment["ANSIBLE_ROLES_PATH"]
        (site.home / "ansible.cfg").write_text(_CONFIGURATION)
        assert "task 'ansible.builtin.fail' failed: found" in (
            site.fail().stderr.replace("task 'fail'", "task '?'")
        )

    def test_names_are_no_templates(self, site: Site) -> None:
        """The user's variables are templates, names of images are not."""
        task = """
- ansible.builtin.fail:
    msg: "{{ source_image }} {{ mine }} {{ tasks_from | default('none') }}"
"""
        variables = {"mine": "{{ 40 + 2 }}"}
        site.configure(role(site, "mine", task, modify_vars=variables))
        source = f"{site.source.host}/ns/{KEYSTONE}:1.0"
        assert f"{source} 42 none" in site.fail().stderr


#: Seconds that a command may take to end on a busy host.
_PATIENCE = 120


class TestEnds:
    """Runs that somebody ends."""

    @pytest.mark.parametrize(
        "number", sampling.some([signal.SIGTERM, signal.SIGINT], 2)
    )
    def test_stopped(self, site: Site, number: int) -> None:
        """A stopped run ends the processes that it started, without a rest."""
        with waiting(site) as process:
            process.send_signal(number)
            _, stderr = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 128 + number, stderr
        assert "stopped" in stderr
        assert site.pushed() == {}
        assert site.leftovers() == []

    def test_killed(self, site: Site) -> None:
        """The next run removes the storage of a killed run."""
        with waiting(site) as process:
            process.kill()
            process.communicate(timeout=_PATIENCE)
        assert site.pushed() == {}
        assert site.storage.names() == set()
        assert site.processes() != []
        site.configure(hotfix(site, NOVA))
        site.run()
        assert site.leftovers() == []


@contextlib.contextmanager
def waiting(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A run with a container that never ends; killed at the end."""
    shared = site.home / "shared"
    shared.mkdir()
    os.mkfifo(shared / "started")
    os.mkfifo(shared / "never")
    site.configure(role(site, "waits", _WAITING.format(shared=shared)))
    process = site.start()
    try:
        wait_for_reader(process, shared / "started")
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_reader(process: subprocess.Popen[str], fifo: Path) -> None:
    """Read the line of a container, unless the run ends before it."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as told:
        while told.read(4) != b"yes\n":
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)


_WAITING = """
- ansible.builtin.command: buildah from --name waiting {{{{ source_image }}}}
- ansible.builtin.command:
    argv:
    - buildah
    - run
    - --volume={shared}:/mnt
    - --user=root
    - waiting
    - sh
    - -c
    - "echo yes > /mnt/started; cat /mnt/never"
"""
_find_spec = importlib.util.find_spec


def _without_ansible(name: str, package: str | None = None) -> object:
    return None if name == "ansible_runner" else _find_spec(name, package)


_CONFIGURATION = """
[defaults]
roles_path = roles
stdout_callback = minimal
callbacks_enabled = profile_tasks, no_such_callback
strategy = free
gathering = implicit
[privilege_escalation]
become = true
become_ask_pass = true
"""
