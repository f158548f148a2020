"""The layer over buildah, with buildah."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.programs.buildah import Buildah, Container, LocalImage
from tests.local_storage import BASE, LocalStorage

NAME = "localhost/nova:1"
#: A command that nobody else runs.
SLEEP = ("sleep", str(random.SystemRandom().randint(10**6, 10**7)))
#: Runs it in a container.
HOLD = f"""
from imageprep_client.programs.buildah import Buildah
with Buildah().container({BASE!r}) as container:
    container.run(*{SLEEP!r})
"""


@pytest.fixture
def buildah(local_storage: LocalStorage) -> Buildah:
    """Local storage with a base image."""
    local_storage.base()
    return local_storage.buildah


@pytest.fixture
def container(buildah: Buildah) -> Iterator[Container]:
    """A container of the base image."""
    with buildah.container(BASE) as found:
        yield found


def image(buildah: Buildah, name: str) -> LocalImage:
    """A local image that is there."""
    found = buildah.image(name)
    assert found is not None
    return found


# --- containers


def test_a_command_is_run(container: Container, tmp_path: Path) -> None:
    """With the volumes, the user and the variables that were named."""
    (tmp_path / "in").mkdir(mode=0o755)
    (tmp_path / "in" / "file").write_text("here")
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    # On a busy host buildah 1.28 now and then loses what is printed.
    container.run(
        *("sh", "-c", "(id -un; cat /in/file; echo; echo $WORD) >/out/told"),
        volumes=[f"{tmp_path}/in:/in:ro", f"{tmp_path}/out:/out"],
        user="nova",
        env={"WORD": "of mine"},
    )
    assert (tmp_path / "out/told").read_text() == "nova\nhere\nof mine\n"


def test_a_command_fails(container: Container) -> None:
    """The complaint of buildah is in the error."""
    # The output of the command itself may be lost, as above.
    told = "buildah run: .*exited with status 3"
    with pytest.raises(errors.LocalStorageError, match=told):
        container.run("sh", "-c", "exit 3")
    with pytest.raises(errors.LocalStorageError, match="unknown user"):
        container.run("true", user="absent")


def test_commit(container: Container, buildah: Buildah) -> None:
    """The image has one layer more, and the labels."""
    container.run("touch", "/new")
    identity = container.commit(NAME, **{"one.two": "3", "four-five": "6"})
    found, base = image(buildah, NAME), image(buildah, BASE)
    assert (found.id, found.names) == (identity, (NAME,))
    assert (
        found.labels.items()
        >= {"one.two": "3", "four-five": "6", "name": "base"}.items()
    )
    assert found.diff_ids[:-1] == base.diff_ids


def test_read(container: Container) -> None:
    """Files are read as the container sees them, links and all."""
    container.run(
        *("sh", "-c"),
        "mkdir -p /a/b; echo one > /a/file; ln -s ../file /a/b/up;"
        " ln -s /a/b/up /link; ln -s ../../../../etc/shadow /out;"
        " ln -s /loop /loop; mkfifo /fifo; truncate -s 1073741824 /endless",
    )
    assert container.read("/a/file") == b"one\n"
    assert container.read("link") == b"one\n"
    assert container.read("/a/./b/../file") == b"one\n"
    for missing in ("/none", "/out", "/loop", "/a/file/x"):
        assert container.read(missing) is None
    for special in ("/a", "/fifo"):
        assert container.read(special) is None
        assert not container.has(special)
    assert container.has("/endless")
    with pytest.raises(errors.LocalStorageError, match="/endless: has more"):
        container.read("/endless")


def test_container_goes_with_a_failure(local_storage: LocalStorage) -> None:
    """Whatever happens within, the container is removed."""
    base = local_storage.base()
    with (
        pytest.raises(ZeroDivisionError),
        local_storage.buildah.container(base) as container,
        container.mount(),
    ):
        raise ZeroDivisionError
    assert not local_storage.leftovers()


def test_no_such_image(buildah: Buildah) -> None:
    """A container of nothing is an error, and nothing is pulled."""
    with (
        pytest.raises(errors.LocalStorageError, match="not known"),
        buildah.container("localhost/none:1"),
    ):
        pass


def hold(local_storage: LocalStorage) -> subprocess.Popen[bytes]:
    """A process that has a container in which a command runs."""
    local_storage.base()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stderr=subprocess.DEVNULL
    )
    try:
        while not sleeping():
            assert process.poll() is None
            time.sleep(0.01)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def sleeping() -> bool:
    """Whether the command runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            found.append(words[:-1])
    # buildah has the two among others.
    return any(words[1:] == [SLEEP[1]] for words in found)


def test_interrupt(local_storage: LocalStorage) -> None:
    """After a Ctrl-C there is no container."""
    with hold(local_storage) as process:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=120) == -signal.SIGINT
        finally:
            process.kill()
    assert not local_storage.leftovers()
    assert not sleeping()


def when_it_sleeps(act: Callable[[], object]) -> threading.Thread:
    """Act once the command runs."""

    def wait() -> None:
        while not sleeping():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_interrupt_of_this_process(container: Container) -> None:
    """An interrupt of the caller ends the command first."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    number = os.getpid(), signal.SIGUSR1
    thread = when_it_sleeps(functools.partial(os.kill, *number))
    try:
        with pytest.raises(KeyboardInterrupt):
            container.run(*SLEEP)
        assert not sleeping()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_killed(local_storage: LocalStorage) -> None:
    """The next run ends and removes the rest of a killed run."""
    with hold(local_storage) as process:
        process.kill()
    assert local_storage.leftovers()
    with Buildah().container(BASE):
        assert not sleeping()
        assert len(local_storage.leftovers()) == 1
    assert not local_storage.leftovers()


def test_stop(local_storage: LocalStorage) -> None:
    """Another thread can end all that runs, and no more is started."""
    local_storage.base()
    buildah = Buildah()
    stopper = when_it_sleeps(buildah.stop)
    with (
        pytest.raises(errors.LocalStorageError, match="run: stopped"),
        buildah.container(BASE) as container,
    ):
        container.run(*SLEEP)
    stopper.join()
    with pytest.raises(errors.LocalStorageError, match="info: stopped"):
        buildah.info()


# --- images


def test_image(local_storage: LocalStorage) -> None:
    """An image is found by name, short name and ID."""
    identity = local_storage.build(NAME, {"/a": b"1"}, labels={"x": "y"})
    buildah = local_storage.buildah
    for name in (NAME, "nova:1", identity):
        found = image(buildah, name)
        assert (found.id, found.names, found.user) == (identity, (NAME,), "")
        assert found.labels["x"] == "y"
        assert found.os == "linux"
        assert found.architecture
    assert buildah.image("localhost/nova:2") is None
    (listed,) = buildah.images()
    assert (listed.id, listed.names) == (identity, (NAME,))
    assert listed.digest == found.digest
    assert listed.size


def test_pull(local_storage: LocalStorage) -> None:
    """From a layout an image gets the one name that was asked for."""
    buildah = local_storage.buildah
    identity = local_storage.build(NAME, {"/a": b"1"})
    layout = str(local_storage.directory / "with:colon")
    os.mkdir(layout)
    buildah.export(NAME, layout, "1")
    buildah.remove(NAME)
    assert local_storage.names() == set()
    name = "registry.example:8787/ns/nova:1-x"
    assert buildah.pull(layout, "1", name) == identity
    assert local_storage.names() == {name}


def test_pull_what_is_not_there(local_storage: LocalStorage) -> None:
    """A layout without the tag is named."""
    local_storage.build(NAME, {"/a": b"1"})
    layout = str(local_storage.directory / "layout")
    os.mkdir(layout)
    local_storage.buildah.export(NAME, layout, "1")
    with pytest.raises(errors.LocalStorageError, match="no image 2 in this"):
        local_storage.buildah.pull(layout, "2", "localhost/x:1")


def test_remove(local_storage: LocalStorage) -> None:
    """Other names of the image stay, and what is not there is fine."""
    buildah = local_storage.buildah
    local_storage.build(NAME, {"/a": b"1"})
    buildah.tag(NAME, "localhost/other:1")
    buildah.remove(NAME, "localhost/none:1")
    assert local_storage.names() == {"localhost/other:1"}
    buildah.remove("localhost/other:1")
    assert buildah.images() == []


def test_export_leaves_out_what_is_there(local_storage: LocalStorage) -> None:
    """A layer with a placeholder is not packed."""
    local_storage.build("localhost/low:1", {"/a": b"a" * 9999})
    local_storage.build(NAME, {"/b": b"b"}, base="localhost/low:1")
    low, high = image(local_storage.buildah, NAME).diff_ids
    layout = local_storage.directory / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / low.removeprefix("sha256:")).touch()
    local_storage.buildah.export(NAME, str(layout), "1")
    # The placeholder, one layer, a config and a manifest.
    assert len(list(blobs.iterdir())) == 4
    assert (blobs / low.removeprefix("sha256:")).stat().st_size == 0
    assert high


# --- the program


def script(path: Path, text: str) -> Buildah:
    """A program that does this in place of buildah."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Buildah(str(path))


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        ("crun: cgroups in hybrid mode not supported", "BUILDAH_ISOLATION"),
        ("'overlay' is not supported over overlayfs", "STORAGE_DRIVER"),
        ("open /var/lib: permission denied", "as root"),
        ("write /x: no space left on device", "make room"),
    ],
)
def test_hints(tmp_path: Path, told: str, hint: str) -> None:
    """A known failure comes with its remedy."""
    fake = script(tmp_path / "x", f'echo "Error: {told}" >&2; exit 125')
    with pytest.raises(errors.LocalStorageError, match="x images: ") as caught:
        fake.images()
    assert told in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("answer", ["nonsense", "{}"])
def test_answers_that_make_no_sense(tmp_path: Path, answer: str) -> None:
    """A buildah that answers something else is an error, no traceback."""
    fake = script(tmp_path / "x", f"echo '{answer}'")
    with pytest.raises(errors.LocalStorageError):
        fake.image("localhost/x:1")


def test_words_of_a_log(tmp_path: Path) -> None:
    """A message is one line: warnings are left out, and so are times."""
    fake = script(
        tmp_path / "x",
        """cat >&2 <<'.'
time="2026-11-21T10:08:31Z" level=warning msg="who cares"
time="2026-11-21T10:08:31Z" level=error msg="it \\"broke\\""

Error: so it ended
.
exit 1""",
    )
    with pytest.raises(errors.LocalStorageError) as caught:
        fake.images()
    assert str(caught.value).endswith('x images: it \\"broke\\"; so it ended')


def test_failure_without_a_word(tmp_path: Path) -> None:
    """A program that says nothing still fails in words."""
    fake = script(tmp_path / "x", "exit 1")
    with pytest.raises(errors.LocalStorageError, match="without a word"):
        fake.images()


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    """The reason of the system is told."""
    (tmp_path / "x").write_text("")
    with pytest.raises(errors.LocalStorageError, match="permission denied"):
        Buildah(str(tmp_path / "x")).images()


def test_buildah_is_the_one_of_the_tests() -> None:
    """The tests mean the program that tools/check installs."""
    assert shutil.which("buildah")
