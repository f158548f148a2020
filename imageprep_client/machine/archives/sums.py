"""SHA256SUMS: the checksums of the archives in a directory."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import files, inputs, locks
from imageprep_client.observer import Observer

NAME = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.gpg"
#: A list of some ten thousand archives.
MAX_SIZE = 4 << 20
# Two spaces, a space and an asterisk, or one space, as some servers have it.
# ``sha256sum ./*`` writes the directory as well.
_LINE = re.compile(
    r"(?P<sum>[0-9a-f]{64}) [ *]?(?:\./)?(?P<name>[^/\0]{1,255})"
)
# The name of no file, with a checksum; see systemd-sysupdate(8).
_BEST_BEFORE = re.compile(r"BEST-BEFORE-(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})")


class ChecksumList:
    """The lines of a SHA256SUMS.

    :ivar sums: the checksums, by the names of the files.
    :ivar best_before: the last day on which the list may be used.
    """

    def __init__(
        self, sums: Mapping[str, str], best_before: datetime.date | None = None
    ) -> None:
        self.sums = dict(sums)
        self.best_before = best_before

    @classmethod
    def parse(cls, content: bytes, name: str) -> ChecksumList:
        """Read a list.

        :param name: what messages call it.
        :raises InvalidContent: when it is none, or has a name twice.
        """
        sums: dict[str, str] = {}
        best_before = None
        for line in content.decode(errors="replace").splitlines():
            if not line.strip():
                continue
            match = _LINE.fullmatch(line)
            if match is None or not match["name"].isprintable():
                raise errors.InvalidContent(
                    f"{name}: no line of checksums: {line[:100]!r}"
                )
            if date := _BEST_BEFORE.fullmatch(match["name"]):
                best_before = _date(date["date"], name)
            elif sums.setdefault(match["name"], match["sum"]) != match["sum"]:
                raise errors.InvalidContent(
                    f"{name}: two checksums of {match['name']}"
                )
        return cls(sums, best_before)

    def render(self) -> bytes:
        """The list as sha256sum(1) reads it, by name."""
        lines = [f"{self.sums[name]}  {name}\n" for name in sorted(self.sums)]
        if self.best_before is not None:
            # The checksum of an empty file.
            empty = (
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852"
                "b855"
            )
            lines.append(f"{empty}  BEST-BEFORE-{self.best_before}\n")
        return "".join(lines).encode()


def _date(text: str, name: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise errors.InvalidContent(f"{name}: no date: {text}") from None


def note(path: Path, checksum: str, observer: Observer) -> None:
    """Record the checksum of an archive in the list beside it.

    :raises InvalidFile: when the list cannot be written.
    """
    with locks.locked_directory(path.parent):
        known = read(path.parent)
        if known.sums.get(path.name) == checksum:
            return
        known.sums[path.name] = checksum
        files.write(str(path.parent / NAME), known.render())
    if (path.parent / SIGNATURE).exists():
        observer.warning(
            f"{path.parent / SIGNATURE}: no longer fits {NAME}; sign it again"
            " with openstack image-prepare machine publish"
        )


def read(directory: Path) -> ChecksumList:
    """The list of a directory; empty when it has none.

    :raises InvalidContent: when it is none.
    """
    path = directory / NAME
    if not path.exists():
        return ChecksumList({})
    return ChecksumList.parse(inputs.load(str(path), MAX_SIZE), str(path))
