"""Reading the answers of an image's rpm.

The answers are those of rpm 4.18, 4.14 or 4.11; what it does for real is in
tests/integration/test_hotfix.py.
"""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.modify import imagerpm
from imageprep_client.modify.imagerpm import ImageRpm
from imageprep_client.programs.buildah import Container, Finished
from imageprep_client.rpm.evr import Evr
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import Change, Installed

OLD = Installed("nova", Evr(0, "1", "1"), "noarch")


def package(
    name: str = "nova", *provides: str, architecture: str = "noarch"
) -> RpmFile:
    """A package of the set."""
    return RpmFile(
        path=f"/rpms/{name}.rpm",
        name=name,
        evr=Evr(0, "2", "1"),
        architecture=architecture,
        provides=frozenset(provides),
    )


CHANGE = Change(package(), OLD)


def watch() -> None:
    """The watch that every call of rpm must have, like its timeout."""


class Image:
    """A container whose rpm gives prepared answers, one after the other.

    :ivar commands: what rpm was called with.
    :ivar files: what else is in the image.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.commands: list[list[str]] = []
        self.files = {"/bin/sh", "/usr/bin/rpm"}
        self.answers: list[Finished] = []
        container = mock.create_autospec(Container, instance=True)
        container.attempt.side_effect = self._attempt
        container.has.side_effect = lambda path: path in self.files
        self.rpm = ImageRpm(
            container,
            "an image",
            "/.x",
            directory / "rpms",
            directory,
            imagerpm.Bounds(60, watch=watch),
        )
        self.container = container
        self.meddle: Callable[[pathlib.Path], object] = lambda place: None

    def answer(self, status: int, stderr: str = "", stdout: str = "") -> None:
        """Give rpm its next answer."""
        self.answers.append(Finished(status, stdout, stderr))

    def _attempt(self, *words: str, **more: object) -> Finished:
        assert more["timeout"] == 60
        assert more["watch"] is watch
        self.commands.append([w.removeprefix("/.x/") for w in words[4:]])
        if "/bin/sh" not in self.files:
            return Finished(1, "", "lost")
        (place,) = (
            volume.partition(":")[0]
            for volume in more["volumes"]  # type: ignore[attr-defined] # any
            if ".out" in volume
        )
        self.place = pathlib.Path(place)
        assert not os.listdir(place)
        given = self.answers.pop(0)
        (self.place / "stdout").write_text(given.stdout)
        (self.place / "stderr").write_text(given.stderr)
        self.meddle(self.place)
        return Finished(given.status, "", "subprocess exited\n")


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Iterator[Image]:
    """An image; all its answers have to be asked for."""
    found = Image(tmp_path)
    yield found
    assert not found.answers


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize(
    "kind", ["link", "fifo", "device", "directory", "socket", "gone"]
)
def test_output_that_is_no_file(image: Image, name: str, kind: str) -> None:
    """The image cannot have anything else read than what rpm wrote."""

    def meddle(place: pathlib.Path) -> None:
        path = place / name
        path.unlink()
        if kind == "link":
            path.symlink_to("/etc/passwd")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        elif kind == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        elif kind == "directory":
            path.mkdir()

    image.meddle = meddle
    image.answer(0)
    with pytest.raises(errors.ModifyError, match="cannot run its rpm"):
        image.rpm.installed()
    assert not image.place.exists()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_endless_output(image: Image, name: str) -> None:
    """The output that is read has a limit."""
    image.meddle = lambda place: os.truncate(place / name, 1 << 40)
    image.answer(0)
    with pytest.raises(
        errors.ModifyError, match=r"an image: its rpm prints more than"
    ):
        image.rpm.installed()


class TestInstalled:
    """The packages of an image."""

    def test_rows(self, image: Image) -> None:
        """Each line is a package, with the epoch as a number."""
        image.answer(
            0, "", "nova\t0\t1\t1\tnoarch\ngpg-pubkey\t0\ta\tb\t(none)\n"
        )
        assert image.rpm.installed() == [
            OLD,
            Installed("gpg-pubkey", Evr(0, "a", "b"), "(none)"),
        ]

    def test_none(self, image: Image) -> None:
        """An image may have rpm and no packages."""
        image.answer(0)
        assert image.rpm.installed() == []

    @pytest.mark.parametrize(
        "line",
        [
            "warning: something odd",
            "nova one 1 1 noarch",
            "\n",
            f"nova {'9' * 5000} 1 1 noarch",
            "nova \u0663 1 1 noarch",
        ],
        ids=["warning", "word", "empty", "digits", "foreign-digit"],
    )
    def test_odd_words(self, image: Image, line: str) -> None:
        """A line that names no package is an error that names the image."""
        image.answer(0, "", f"{line}\n")
        with pytest.raises(errors.ModifyError, match=r"^an image: its rpm"):
            image.rpm.installed()

    def test_no_rpm(self, image: Image) -> None:
        """Where there is no such file, rpm was not found."""
        image.files.remove("/usr/bin/rpm")
        image.answer(127, "sh: 1: exec: rpm: not found\n")
        with pytest.raises(errors.ModifyError, match="an image: has no rpm"):
            image.rpm.installed()

    def test_no_shell(self, image: Image) -> None:
        """An image without a shell has no rpm, which needs one."""
        image.files.clear()
        with pytest.raises(errors.ModifyError, match="an image: has no rpm"):
            image.rpm.installed()

    def test_nothing_can_be_run(self, image: Image) -> None:
        """The message of buildah is raised where the shell did not start."""
        image.files.clear()
        image.container.has.side_effect = lambda path: True
        image.container.run.side_effect = errors.LocalStorageError("cgroup")
        with pytest.raises(errors.LocalStorageError, match="cgroup"):
            image.rpm.installed()

    def test_nothing_can_be_run_now(self, image: Image) -> None:
        """A command that failed is an error though the next one works."""
        image.files.clear()
        image.container.has.side_effect = lambda path: True
        with pytest.raises(errors.ModifyError, match="cannot run its rpm"):
            image.rpm.installed()

    def test_broken_database(self, image: Image) -> None:
        """rpm's own words are told, and nobody else's."""
        image.answer(
            1, "rpm: something\nerror: cannot open Packages database\n"
        )
        with pytest.raises(
            errors.ModifyError,
            match=r"an image: cannot list its packages: error: cannot open"
            r" Packages database$",
        ):
            image.rpm.installed()

    def test_failure_without_a_word(self, image: Image) -> None:
        """Where nothing is said there is the status."""
        image.answer(3)
        with pytest.raises(errors.ModifyError, match="exit status 3"):
            image.rpm.installed()


class TestResolve:
    """The packages that are added."""

    def test_nothing_is_needed(self, image: Image) -> None:
        """When rpm is content nothing is added."""
        image.answer(0)
        assert image.rpm.resolve([CHANGE], [package("b", "b")]) == (CHANGE,)
        assert image.commands == [["-U", "--test", "nova-2-1.noarch.rpm"]]

    @pytest.mark.parametrize(
        "need",
        ["b", "b >= 2", "b = 1:2-3.el9", "libb.so.1()(64bit)", "/usr/bin/b"],
    )
    def test_need(self, image: Image, need: str) -> None:
        """A name, with or without a version, a library or a file."""
        image.answer(
            1,
            "error: Failed dependencies:\n"
            f"\t{need} is needed by nova-2-1.noarch\n",
        )
        image.answer(0)
        more = package("b", "b", "libb.so.1()(64bit)", "/usr/bin/b")
        assert image.rpm.resolve([CHANGE], [more]) == (
            Change(more, None),
            CHANGE,
        )

    def test_needs_of_needs(self, image: Image) -> None:
        """Added packages may need more."""
        image.answer(1, "\tb is needed by nova-2-1.noarch\n")
        image.answer(1, "\tc is needed by b-2-1.noarch\n")
        image.answer(0)
        others = [package("b", "b"), package("c", "c"), package("d", "d")]
        found = image.rpm.resolve([CHANGE], others)
        assert [change.rpm.name for change in found] == ["b", "c", "nova"]

    def test_architecture_of_what_is_there(self, image: Image) -> None:
        """Of two that provide it, one of the same architecture comes."""
        image.answer(1, "\tb is needed by nova-2-1.x86_64\n")
        image.answer(0)
        others = [
            package("b", "b", architecture=each) for each in ("i686", "x86_64")
        ]
        change = Change(package(architecture="x86_64"), OLD)
        found = image.rpm.resolve([change], others)
        assert [str(each.rpm) for each in found] == [
            "b-2-1.x86_64",
            "nova-2-1.x86_64",
        ]

    def test_unmet(self, image: Image) -> None:
        """A need that no package provides is named, once it is known."""
        told = (
            "\tb >= 2 is needed by nova-2-1.noarch\n"
            "\tnova = 1 is needed by (installed) c-1-1.noarch\n"
        )
        image.answer(2, told)
        with pytest.raises(errors.ModifyError) as raised:
            image.rpm.resolve([CHANGE], [package("c", "c")])
        assert str(raised.value) == (
            "an image: packages are missing: b >= 2 is needed by"
            " nova-2-1.noarch; nova = 1 is needed by (installed)"
            " c-1-1.noarch"
        )

    def test_provider_that_is_too_old(self, image: Image) -> None:
        """A package that provides the name, but not enough, ends it."""
        image.answer(1, "\tb >= 3 is needed by nova-2-1.noarch\n")
        image.answer(1, "\tb >= 3 is needed by nova-2-1.noarch\n")
        with pytest.raises(errors.ModifyError, match="b >= 3 is needed"):
            image.rpm.resolve([CHANGE], [package("b", "b")])

    def test_refused(self, image: Image) -> None:
        """Anything else is told as rpm has it, without our places."""
        image.answer(
            1,
            "error: Failed dependencies:\n"
            "\tc conflicts with nova-2-1.noarch\n",
        )
        with pytest.raises(
            errors.ModifyError,
            match=r"an image: rpm refuses the packages: error: Failed"
            r" dependencies:; c conflicts with nova-2-1\.noarch$",
        ):
            image.rpm.resolve([CHANGE], [])


class TestUpgrade:
    """The change itself."""

    def test_warnings(self, image: Image) -> None:
        """Those of rpm are told; a scriptlet's chatter is not."""
        image.answer(
            0,
            "warning: /.x/nova-2-1.noarch.rpm: Header V4 RSA/SHA256"
            " Signature, key ID 8483c65d: NOKEY\n"
            "Created symlink /etc/x\n"
            "warning: %post(nova-2-1.noarch) scriptlet failed\n",
        )
        assert image.rpm.upgrade([CHANGE]) == [
            "nova-2-1.noarch.rpm: Header V4 RSA/SHA256 Signature, key ID"
            " 8483c65d: NOKEY",
            "%post(nova-2-1.noarch) scriptlet failed",
        ]

    def test_failure(self, image: Image) -> None:
        """The message of a failed installation is raised."""
        image.answer(1, "error: nova-2-1.noarch: install failed\n")
        with pytest.raises(
            errors.ModifyError, match=r"an image: rpm fails: .*install failed"
        ):
            image.rpm.upgrade([CHANGE])


class TestDifferences:
    """Files that are not what the packages have."""

    def test_none(self, image: Image) -> None:
        """rpm says nothing, and that all is well."""
        image.answer(0)
        assert image.rpm.differences([CHANGE]) == []
        assert image.commands[0][-1] == "nova.noarch"

    @pytest.mark.parametrize(
        "line",
        [
            ".......T.    /usr/bin/nova",
            ".M...UG..    /var/log/nova",
            "S.5....T.  c /etc/nova.conf",
            "S.5....T.  g /var/lib/x",
            "missing    c /etc/nova.conf",
            "........P    /usr/bin/ping",
        ],
    )
    def test_meant_to_be(self, image: Image, line: str) -> None:
        """Owners, modes, times, capabilities and configuration may differ."""
        image.answer(1, "", f"{line}\n")
        assert image.rpm.differences([CHANGE]) == []

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("S.5....T.    /usr/bin/nova", "/usr/bin/nova differs"),
            ("..5......  d /usr/share/doc/x", "/usr/share/doc/x differs"),
            ("....L....    /usr/lib/a", "/usr/lib/a differs"),
            ("S.5....T    /old/rpm", "/old/rpm differs"),
            ("missing     /usr/bin/nova", "/usr/bin/nova is missing"),
        ],
    )
    def test_difference(self, image: Image, line: str, told: str) -> None:
        """Content, links and files that are gone are what matters."""
        image.answer(1, "", f"{line}\n")
        assert image.rpm.differences([CHANGE]) == [told]

    def test_no_answer(self, image: Image) -> None:
        """A failure that names no file is an error."""
        image.answer(1, "", "package nova is not installed\n")
        with pytest.raises(
            errors.ModifyError,
            match="cannot verify its packages: package nova is not installed",
        ):
            image.rpm.differences([CHANGE])


def test_places_are_as_opened(tmp_path: pathlib.Path) -> None:
    """Packages come from below the directory; output goes with the end."""
    container = mock.create_autospec(Container, instance=True)
    with imagerpm.opened(
        container, "an image", str(tmp_path), imagerpm.Bounds()
    ) as rpm:
        assert rpm.packages == tmp_path / imagerpm.PACKAGES
        assert rpm.output.parent == tmp_path
    assert not rpm.output.exists()
