"""Storage of a run's own: what is removed with it, and what never is."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.workspaces import LocalWorkspace
from imageprep_client.modify.storage import private_storage
from imageprep_client.stores.containers import ContainersStorage
from tests.local_storage import LocalStorage, name_of_killed_run
from tests.recorder import Recorder

NAME = "localhost/mine:1"
KILLED = name_of_killed_run()


@pytest.fixture
def host(
    local_storage: LocalStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LocalStorage:
    """The host's storage, with an image in it.

    A buildah whose configuration names no place takes this storage: the
    test must not reach that which the real one takes then.
    """
    local_storage.build(NAME, {"/mine": b"x"})
    real = shutil.which("buildah")
    program = tmp_path / "bin" / "buildah"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'grep -q runroot "$CONTAINERS_STORAGE_CONF" || export'
        f" CONTAINERS_STORAGE_CONF={local_storage.directory}/storage.conf\n"
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return local_storage


def left(host: LocalStorage) -> Path:
    """The storage of a run that was killed."""
    home = host.directory / "images" / "imageprep"
    directory = home / KILLED
    directory.mkdir(parents=True)
    return directory


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[storage",
        '[storage]\ngraphroot = "/x',
        "storage = 1\n",
        '[storage]\ndriver = "overlay"\n',
    ],
)
def test_damaged(host: LocalStorage, text: str) -> None:
    """Without a whole configuration only the directory is removed."""
    directory = left(host)
    (directory / "storage.conf").write_text(text)
    with private_storage(host.buildah):
        assert not directory.exists()
    assert host.names() == {NAME}


def test_of_another_place(host: LocalStorage) -> None:
    """A configuration that leads elsewhere empties nothing there."""
    directory = left(host)
    shutil.copy(host.directory / "storage.conf", directory)
    with private_storage(host.buildah):
        assert not directory.exists()
    assert host.names() == {NAME}


def test_disk_is_full(
    host: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that cannot be written harms nobody."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        opened = private_storage(host.buildah)
        with pytest.raises(errors.NoSpace, match=r"storage\.conf"):
            opened.__enter__()
    assert host.names() == {NAME}
    assert not os.listdir(host.directory / "images" / "imageprep")


def test_goes_as_a_whole(host: LocalStorage) -> None:
    """Images, containers and mounts of a run go with it, no others."""
    with private_storage(host.buildah) as storage:
        own = storage.buildah
        container = own.run("from", "--pull-never", "scratch").strip()
        own.run("mount", container)
        own.run("commit", "--quiet", container, "localhost/other:1")
        assert storage.directory.exists()
    assert not storage.directory.exists()
    assert host.names() == {NAME}
    assert host.leftovers() == []


def test_name_that_is_taken(host: LocalStorage) -> None:
    """An image of the host keeps its name; a free one is given."""
    told = Recorder()
    before = host.buildah.image(NAME)
    with private_storage(host.buildah) as storage:
        own = LocalStorage(host.directory, host.temporary, {}, storage.buildah)
        own.build(NAME, {"/other": b"y"})
        own.build("localhost/free:1", {"/free": b"z"})
        containers = ContainersStorage(storage.buildah)
        workspace = LocalWorkspace(storage, containers, host.buildah, told)
        workspace.keep(NAME)
        workspace.keep("localhost/free:1")
    assert host.buildah.image(NAME) == before
    assert host.names() == {NAME, "localhost/free:1"}
    assert [text.partition(": ")[0] for text in told.warnings] == [NAME]
