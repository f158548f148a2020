"""Machines exported from LXC, btrfs and overlays, and imported again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import images
from imageprep_client.client.machine.images import ExportedMachine
from imageprep_client.client.machine.sources import MachineSource, Verification
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.machine import exporting
from imageprep_client.machine.replacement import journal
from imageprep_client.machine.roots import MachineRoot
from imageprep_client.observer import Observer
from imageprep_client.programs import btrfs, lxc
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.transfer import engine
from tests import machines, mounts, programs, servers
from tests.functional import base
from tests.machines import NAME

pytestmark = pytest.mark.needs_root
HOSTILE = machines.hostile()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own for what the commands keep."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def openstack(tmp_path: Path, state: Path) -> base.OpenStack:
    """The ``openstack`` command, with that state."""
    return base.OpenStack(tmp_path / "home", XDG_STATE_HOME=str(state))


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.DockerRegistry]:
    directory = tmp_path_factory.mktemp("docker-registry")
    with servers.docker_registry(directory) as server:
        yield server


def export(
    store: Path,
    to: str,
    name: str = NAME,
    *,
    options: RegistryOptions | None = None,
    **changes: object,
) -> ExportedMachine:
    settings: dict[str, Any] = {
        "store": str(store),
        "compression": None,
        "as_is": False,
        "live": False,
        **changes,
    }
    prepared = images.prepare_export(name, to, **settings)
    return prepared.run(options or RegistryOptions(), Observer())


def load(
    name: str,
    source: str,
    store: Path,
    verification: Verification | None = None,
    **changes: object,
) -> images.ImportedMachine:
    settings: dict[str, Any] = {
        "store": str(store),
        "read_only": False,
        **changes,
    }
    return images.import_machine(
        name,
        MachineSource(source, verification or Verification()),
        Observer(),
        **settings,
    )


def look(root: Path) -> list[str]:
    """All that is in a root: names, modes, owners, sizes, times, content."""
    script = (
        f"cd {root} && find . -printf '%p %m %U %G %s %T@ %l %y\\n' | sort"
        " && find . -type f -exec sha256sum {} + | sort"
    )
    return programs.run("sh", "-c", script).splitlines()


def test_export_of_a_container(tmp_path: Path) -> None:
    """The archive has the root, without what is of this machine alone."""
    root = machines.container(tmp_path)
    machines.tree(root, ["etc/nova/nova.conf", "root/.ssh/id_rsa"])
    exported = export(tmp_path, f"{tmp_path}/a.tar.gz")
    path = tmp_path / "a.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert exported.reading == "stopped"
    assert exported.bind_mounts == (f"{tmp_path}/shared:/srv/shared",)
    assert (tmp_path / "SHA256SUMS").read_text() == (
        f"{exported.digest.removeprefix('sha256:')}  a.tar.gz\n"
    )
    members = machines.members_of(path.read_bytes())
    assert members["./etc/machine-id"].size == 0
    assert "./var/log/app" in members
    for path_left in (
        "./etc/nova/nova.conf",
        "./root/.ssh",
        "./var/log/app/messages",
    ):
        assert path_left not in members
    scrubbed = {entry.path for entry in exported.scrubbed}
    assert {"etc/machine-id", "etc/nova/nova.conf", "var/log"} <= scrubbed


def test_what_no_import_takes_is_not_exported(tmp_path: Path) -> None:
    """Devices outside of /dev are left out and named, a name with a line
    break is refused, and what is left can be imported.
    """
    root = machines.container(tmp_path)
    (root / "var/spool").mkdir()
    os.mknod(root / "var/spool/null", stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "var/spool/fifo")
    (root / "var/log/a\nb").touch()  # logs are in no export
    exported = export(tmp_path, f"{tmp_path}/a.tar")
    assert "var/spool/null" in {entry.path for entry in exported.scrubbed}
    pool = tmp_path / "pool"
    pool.mkdir()
    load("m1", f"{tmp_path}/a.tar", pool, Verification(none=True))
    assert os.listdir(pool / "m1/var/spool") == ["fifo"]
    (root / "srv").mkdir(exist_ok=True)
    (root / "srv/a\nb").touch()
    with pytest.raises(errors.InvalidArgument, match="control characters"):
        export(tmp_path, f"{tmp_path}/b.tar")
    assert not (tmp_path / "b.tar").exists()
    export(tmp_path, f"{tmp_path}/b.tar", as_is=True)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.zst", "tar.xz"])
def test_there_and_back(tmp_path: Path, ending: str) -> None:
    """Each kind of archive is the root again; two exports are equal."""
    root = machines.container(tmp_path)
    programs.run("setcap", "cap_net_raw+ep", root / "bin/busybox")
    pool = tmp_path / "pool"
    pool.mkdir()
    exported = [
        export(tmp_path, f"{tmp_path}/{n}.{ending}", as_is=True)
        for n in range(2)
    ]
    assert exported[0].digest == exported[1].digest
    imported = load(
        "m1",
        f"{tmp_path}/0.{ending}",
        pool,
        Verification(checksum=exported[0].digest),
    )
    assert imported.unpacked.privileged == ["bin/busybox"]
    assert os.listdir(pool) == ["m1"]
    changes = {line.partition(" ")[0] for line in look(root)}
    assert changes == {line.partition(" ")[0] for line in look(pool / "m1")}
    assert "cap_net_raw=ep" in programs.run("getcap", pool / "m1/bin/busybox")


def test_read_by_systemd(tmp_path: Path) -> None:
    """systemd-import makes a machine of an export."""
    root = machines.container(tmp_path)
    export(tmp_path, f"{tmp_path}/a.tar.gz", as_is=True)
    programs.run(
        *("/lib/systemd/systemd-import", "tar", "--sync=no"),
        *(f"--image-root={tmp_path}/pool", tmp_path / "a.tar.gz", "m1"),
    )
    assert (tmp_path / "pool/m1/bin/busybox").read_bytes() == (
        root / "bin/busybox"
    ).read_bytes()


def test_running_container_is_frozen(tmp_path: Path) -> None:
    """Its processes stand still while it is read, and go on after it."""
    machines.container(tmp_path)
    container = lxc.LxcContainer(tmp_path, NAME)
    with machines.started(tmp_path):
        with container.frozen():
            assert container.state() == "frozen"
        assert export(tmp_path, f"{tmp_path}/a.tar").reading == "frozen"
        assert container.state() == "running"
        live = export(tmp_path, f"{tmp_path}/b.tar", live=True)
        assert live.reading == "live"


def lock_in(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    function: str,
    state: Path,
    root: Path,
) -> list[Path]:
    """Have a function lock a root first, as commands that change it do.

    :returns: will have the root for each time that it was locked.
    """
    locked = []
    real = getattr(module, function)

    def lock_and_call(*words: Any, **options: Any) -> Any:
        directory = state / "image-prepare/machine"
        with journal.Journal(directory, root).locked():
            locked.append(root)
        return real(*words, **options)

    monkeypatch.setattr(journal, "_PATIENCE", 0.1)
    monkeypatch.setattr(module, function, lock_and_call)
    return locked


def test_machine_that_another_command_uses(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that is being replaced is not exported: it may be deleted."""
    monkeypatch.setattr(journal, "_PATIENCE", 0.1)
    root = machines.container(tmp_path / "lxc")
    directory = state / "image-prepare/machine"
    with (
        journal.Journal(directory, root).locked(),
        pytest.raises(errors.StoreError, match=r"process \d+\) uses it"),
    ):
        export(tmp_path / "lxc", str(tmp_path / "x.tar"))
    assert not (tmp_path / "x.tar").exists()


def test_machine_can_be_changed_during_an_upload(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow registry delays no rollback."""
    root = machines.container(tmp_path / "lxc")
    locked = lock_in(monkeypatch, engine, "copy", state, root)
    export(tmp_path / "lxc", f"oci:{tmp_path}/layouts//m/utility:1")
    assert locked == [root]


def test_export_by_another_user(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anything is made or asked."""
    machines.container(tmp_path / "lxc")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.InvalidArgument, match="only root can read"):
        export(tmp_path / "lxc", "registry.invalid/x:1")
    assert not state.exists()


def test_container_that_cannot_be_started_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without lxc-start the container runs on."""
    machines.container(tmp_path)
    container = lxc.LxcContainer(tmp_path, NAME)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("lxc-info", "lxc-stop"):
        (programs / name).symlink_to(str(shutil.which(name)))
    with machines.started(tmp_path):
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(programs))
            with pytest.raises(lxc.LxcError, match="lxc-start: no such"):
                container.stop(10)
        assert container.state() == "running"


def test_archive_of_a_killed_export_goes(tmp_path: Path) -> None:
    """The next export removes it after a day; newer files stay."""
    machines.container(tmp_path)
    old, new = (tmp_path / f".imageprep-{n}.tmp" for n in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time(), time.time() - 25 * 3600))
    export(tmp_path, f"{tmp_path}/a.tar")
    assert not old.exists()
    assert new.exists()


def test_container_goes_on_when_the_export_is_killed(tmp_path: Path) -> None:
    """It is not left frozen."""
    machines.container(tmp_path)
    container = lxc.LxcContainer(tmp_path, NAME)
    with machines.started(tmp_path):
        child = os.fork()
        if not child:
            try:
                with container.frozen():
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        programs.run(
            *("lxc-wait", "-P", tmp_path, "-n", NAME),
            *("-s", "RUNNING", "-t", "60"),
        )
        assert container.state() == "running"


def test_container_goes_on_when_freezing_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is not left frozen, even if lxc-freeze was still at
    work.
    """
    machines.container(tmp_path)
    container = lxc.LxcContainer(tmp_path, NAME)
    slow = tmp_path / "bin/lxc-freeze"
    slow.parent.mkdir()
    real = shutil.which("lxc-freeze")
    slow.write_text(
        '#!/bin/sh\n: > "$0.began"\n'
        'until [ -e "$0.go" ]; do sleep 0.01; done\n'
        f'{real} "$@"\n: > "$0.ended"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    with machines.started(tmp_path):
        child = os.fork()
        if not child:
            try:
                with container.frozen():
                    pass
            finally:
                os._exit(1)
        for suffix in ("began", "ended"):
            while not Path(f"{slow}.{suffix}").exists():
                time.sleep(0.01)
            if suffix == "began":
                os.kill(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
                Path(f"{slow}.go").touch()
                assert os.WTERMSIG(status) == signal.SIGKILL
        programs.run(
            *("lxc-wait", "-P", tmp_path, "-n", NAME),
            *("-s", "RUNNING", "-t", "10"),
        )


def test_snapshot_of_a_running_container(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On btrfs it is read from a snapshot, of which nothing is left; the
    machine can be changed meanwhile.
    """
    with machines.btrfs(tmp_path) as pool:
        store = pool / "lxc"
        root = store / NAME / "rootfs"
        root.parent.mkdir(parents=True)
        programs.run("btrfs", "subvolume", "create", root)
        machines.make_root(root)
        machines.container(store, scheme="btrfs", path=str(root))
        with machines.started(store):
            locked = lock_in(monkeypatch, exporting, "pack", state, root)
            exported = export(store, f"{tmp_path}/a.tar")
        assert exported.reading == "snapshot"
        assert locked == [root]
        assert sorted(os.listdir(store / NAME)) == ["config", "rootfs"]


def test_overlay(tmp_path: Path) -> None:
    """The upper directory hides and removes files of the lower one."""
    lower = machines.container(tmp_path, "base")
    upper = tmp_path / "c2/upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/os-release").write_text("ID=new\n")
    os.mknod(upper / "etc/inittab", stat.S_IFCHR, os.makedev(0, 0))
    programs.run("rm", "-rf", tmp_path / "c2/config")
    (tmp_path / "c2/config").write_text(
        f"lxc.rootfs.path = overlay:{lower}:{upper}\n"
    )
    os.mknod(upper / "etc/null", stat.S_IFCHR, os.makedev(1, 3))
    export(tmp_path, f"{tmp_path}/a.tar", "c2")
    members = machines.members_of((tmp_path / "a.tar").read_bytes())
    assert "./etc/inittab" not in members
    assert "./etc/null" not in members
    assert members["./etc/os-release"].size == 7
    assert "./bin/busybox" in members


def test_second_push_sends_nothing(
    tmp_path: Path, registry: servers.DockerRegistry
) -> None:
    """The same root has the same digest, and a registry has it already."""
    machines.container(tmp_path)
    image = f"{registry.host}/machines/utility:1"
    first = export(tmp_path, image)
    second = export(tmp_path, image)
    assert first.digest == second.digest
    assert first.copied > 0
    assert second.copied == 0
    pool = tmp_path / "pool"
    pool.mkdir()
    assert load("m1", f"{image}@{first.digest}", pool).digest == first.digest
    assert (pool / "m1/bin/busybox").exists()


def test_labels_of_an_image(tmp_path: Path) -> None:
    """The config says what it is, for whom, and that it was scrubbed."""
    machines.container(tmp_path)
    exported = export(tmp_path, f"oci:{tmp_path}/layouts//m/utility:1")
    blobs = (tmp_path / "layouts").rglob("blobs/sha256/*")
    configs = [
        json.loads(blob.read_bytes())
        for blob in blobs
        if b'"diff_ids"' in blob.read_bytes()[:10_000]
    ]
    (config,) = configs
    assert config["os"] == "linux"
    assert config["architecture"] in ("amd64", "arm64")
    assert config["rootfs"]["diff_ids"] == [exported.packed.diff_id]
    labels = config["config"]["Labels"]
    assert labels == {
        "distro": "bb",
        "release": "1",
        "scrubbed": "true",
        "service": "utility",
    }


def test_registry_without_tls(tmp_path: Path) -> None:
    """A root is sent to no registry that others can listen to."""
    machines.container(tmp_path)
    with pytest.raises(errors.InvalidArgument, match="without verified TLS"):
        export(
            tmp_path,
            "192.0.2.1:5000/m/utility:1",
            options=RegistryOptions(insecure_registries=("192.0.2.1:5000",)),
        )


def test_registry_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is known before the machine is read."""
    machines.container(tmp_path)
    monkeypatch.setattr(images, "SCRATCH", tmp_path / "nothing can be packed")
    with (
        servers.docker_registry(
            tmp_path / "registry", user="u", password="p"
        ) as registry,
        pytest.raises(errors.AccessDenied, match=registry.host),
    ):
        export(tmp_path, f"{registry.host}/m/utility:1")


def test_registry_that_refuses_a_look(tmp_path: Path) -> None:
    """Some registries refuse a look for a repository that is not there yet."""
    machines.container(tmp_path)
    with RegistryServer() as registry:
        for method in ("GET", "HEAD"):
            registry.fail(method, "/manifests/", status=401, times=None)
        exported = export(tmp_path, f"{registry.host}/m/utility:1")
        store = registry.content.store("m/utility")
        assert store.resolve("1").digest == exported.digest


def test_shifted_users(tmp_path: Path) -> None:
    """A root whose users are others on this host is refused."""
    root = machines.container(tmp_path)
    os.chown(root, 100000, 100000)
    with pytest.raises(errors.InvalidArgument, match=r"owners .* are shifted"):
        export(tmp_path, f"{tmp_path}/a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_as_is_into_a_registry_asks(
    openstack: base.OpenStack, registry: servers.DockerRegistry
) -> None:
    """Nobody can be asked here, and so nothing is sent."""
    machines.container(openstack.home / "lxc")
    openstack(
        *("image-prepare", "machine", "export", NAME, "--store", "lxc/"),
        *("--to", f"{registry.host}/as-is:1", "--as-is"),
        status=2,
        stderr=f"{NAME}: nothing was exported: nobody can be asked(.|\n)*",
    )


def test_import_into_lxc(tmp_path: Path) -> None:
    """A container whose root was removed starts with the imported one."""
    root = machines.container(tmp_path)
    exported = export(tmp_path, f"{tmp_path}/a.tar.gz")
    with pytest.raises(errors.InvalidArgument, match="already exists"):
        load(NAME, f"{tmp_path}/a.tar.gz", tmp_path)
    programs.run("rm", "-rf", root)
    load(
        NAME,
        f"{tmp_path}/a.tar.gz",
        tmp_path,
        Verification(checksum=exported.digest),
    )
    with machines.started(tmp_path):
        assert lxc.LxcContainer(tmp_path, NAME).state() == "running"


def test_import_onto_btrfs(tmp_path: Path) -> None:
    """The root is a subvolume there, and can be marked read-only."""
    machines.container(tmp_path)
    export(tmp_path, f"{tmp_path}/a.tar")
    with machines.btrfs(tmp_path) as pool:
        imported = load(
            "base",
            f"{tmp_path}/a.tar",
            pool,
            Verification(none=True),
            read_only=True,
        )
        assert imported.root.kind == "subvolume"
        assert imported.root.is_read_only()
        with pytest.raises(OSError, match="Read-only"):
            (pool / "base/x").touch()
        programs.run("btrfs", "property", "set", pool / "base", "ro", "false")


@pytest.mark.parametrize("case", [c for c in HOSTILE if c != "too large"])
def test_hostile_archive(
    tmp_path: Path, openstack: base.OpenStack, case: str
) -> None:
    """One line, status 2, and nothing in the pool or in quarantine."""
    content, told = HOSTILE[case]
    (openstack.home / "a.tar").write_bytes(content)
    pool = tmp_path / "pool"
    pool.mkdir()
    result = openstack(
        *("image-prepare", "machine", "import", "m1", "--no-verify"),
        *("--store", str(pool), "--from", "./a.tar"),
        status=2,
        stderr=r"\S*a\.tar: [^\n]*(\nhint: [^\n]*)?",
    )
    assert told in result.stderr
    assert os.listdir(pool) == []


@pytest.mark.parametrize(
    ("room", "told"),
    [
        ("size=64k", "[0-9]+ bytes are free, and [^\n]*/a.tar needs more"),
        ("nr_inodes=8", "no inodes are left [^\n]* bytes free"),
    ],
)
def test_no_room(
    tmp_path: Path,
    openstack: base.OpenStack,
    caplog: pytest.LogCaptureFixture,
    room: str,
    told: str,
) -> None:
    """The place that was named has no room, and not a hidden one in it."""
    files = [
        machines.member(f"etc/{n}", content=bytes(20_000)) for n in range(9)
    ]
    etc = machines.member("etc", tarfile.DIRTYPE)
    source = tmp_path / "a.tar"
    source.write_bytes(machines.archive(machines.ROOT, etc, *files))
    pool = tmp_path / "pool"
    with mounts.small_disk(pool, room, caplog):
        openstack(
            *("image-prepare", "machine", "import", "m1", "--no-verify"),
            *("--store", str(pool), "--from", str(source)),
            status=2,
            stderr=rf"{pool}/m1: {told}(\nhint: [^\n]*)?",
        )
        assert os.listdir(pool) == []


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_export_without_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    """The archive that was to be written is named, and nothing is left."""
    machines.container(tmp_path)
    place = tmp_path / "place"
    path = place / f"a.{ending}"
    with mounts.small_disk(place, "size=64k", caplog):
        with pytest.raises(errors.InvalidFile) as caught:
            export(tmp_path, str(path))
        assert str(caught.value) == (
            f"{path}: cannot be written: no space left on device"
        )
        # Its traceback has what was open.
        del caught
        assert os.listdir(place) == []


def test_clone_without_room(
    tmp_path: Path, openstack: base.OpenStack, caplog: pytest.LogCaptureFixture
) -> None:
    """The clone has no room, and not a hidden directory."""
    pool = tmp_path / "pool"
    with mounts.small_disk(pool, "nr_inodes=9", caplog):
        machines.tree(pool, [f"base/etc/{n}" for n in range(4)])
        openstack(
            *("image-prepare", "machine", "clone", "base", "new"),
            *("--store", str(pool)),
            status=2,
            stderr=rf"{pool}/new: no inodes are left [^\n]*\nhint: [^\n]*",
        )
        assert os.listdir(pool) == ["base"]


def test_interrupted_snapshot(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that was made as the command was interrupted is deleted."""
    make = btrfs.snapshot

    def interrupted(source: Path, path: Path, **words: bool) -> None:
        make(source, path, **words)
        raise KeyboardInterrupt

    monkeypatch.setattr(btrfs, "snapshot", interrupted)
    monkeypatch.setattr(MachineRoot, "state", lambda _: "running")
    with machines.btrfs(tmp_path) as pool:
        programs.run("btrfs", "-q", "subvolume", "create", pool / "www")
        machines.make_root(pool / "www")
        with pytest.raises(KeyboardInterrupt):
            export(pool, str(tmp_path / "www.tar"), "www")
        assert [path.name for path in pool.iterdir()] == ["www"]


@pytest.mark.parametrize("to", ["oci:{0}/layout//www:1", "{0}/www.tar"])
def test_killed_export_is_tidied(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """The file of its layer has no name, and the next export removes its
    directory.
    """
    machines.make_root(tmp_path / "pool/www")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(images, "SCRATCH", scratch)
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        killed = signal.SIGKILL
        patch = pytest.MonkeyPatch()
        patch.setattr(
            exporting, "pack", lambda *_, **__: os.kill(os.getpid(), killed)
        )
        export(tmp_path / "pool", to.format(tmp_path), "www")
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    export(tmp_path / "pool", to.format(tmp_path), "www")
    assert not list(scratch.iterdir())
    assert not list(tmp_path.glob(".#*"))


def test_killed_import_is_tidied(tmp_path: Path) -> None:
    """The next import removes what a killed one left in the pool."""
    left = tmp_path / "pool/.#m1.import.4194305"
    (left / "root/etc").mkdir(parents=True)
    machines.container(tmp_path)
    export(tmp_path, f"{tmp_path}/a.tar")
    load("m2", f"{tmp_path}/a.tar", left.parent, Verification(none=True))
    assert os.listdir(left.parent) == ["m2"]


def test_report_can_be_written(
    tmp_path: Path, openstack: base.OpenStack
) -> None:
    """--report names everything that was scrubbed."""
    machines.container(tmp_path)
    openstack(
        *("image-prepare", "machine", "export", NAME, "--report", "r.json"),
        *("--store", str(tmp_path), "--to", f"{tmp_path}/a.tar"),
    )
    written = json.loads((openstack.home / "r.json").read_text())
    assert {"path", "category", "action"} == set(written["scrubbed"][0])
