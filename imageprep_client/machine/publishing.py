"""Archives published in a directory that a web server serves."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk, inputs, locks
from imageprep_client.host.directory import temporary_name
from imageprep_client.machine.archives import sums
from imageprep_client.machine.archives.sums import ChecksumList
from imageprep_client.programs import gpg

#: The list and its signature are behind this link, so that one rename
#: replaces both.
_CURRENT = ".published"
_PREFIX = ".published-"
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file, and its SHA-256."""

    name: str
    size: int
    sha256: str


def publish(
    paths: Sequence[Path],
    directory: Path,
    *,
    key: str,
    best_before: datetime.date | None,
) -> list[PublishedFile]:
    """Publish files with a list of checksums, and its signature.

    The files are in place first. The list, which keeps the files that it had,
    and the signature are replaced by one rename: at every moment the
    directory has two that fit.

    :param key: signs the list; empty: there is no signature, and there was
        none.
    :param best_before: None: the date that the list has, if any.
    :raises InputError: nothing is published.
    :raises GpgError: nothing is published.
    """
    _check(paths, directory)
    with locks.locked_directory(directory):
        known = sums.read(directory)
        _check_list(directory, known, key, best_before)
        with contextlib.ExitStack() as stack:
            staged = [
                stack.enter_context(_copied(path, directory)) for path in paths
            ]
            published = [file for _, file in staged]
            listed = ChecksumList(
                {
                    **_present(known, directory),
                    **{file.name: file.sha256 for file in published},
                },
                best_before or known.best_before,
            ).render()
            signature = gpg.sign_detached(listed, key) if key else b""
            for temporary, file in staged:
                temporary.rename(directory / file.name)
            disk.synchronise_directory(directory)
        _replace(directory, listed, signature)
    return published


def _check(paths: Sequence[Path], directory: Path) -> None:
    if not directory.is_dir():
        raise errors.InvalidArgument(f"{directory}: no such directory")
    names = [path.name for path in paths]
    for path in paths:
        inputs.open_regular(path).close()
        if names.count(path.name) > 1:
            raise errors.InvalidArgument(f"{path.name}: two files of the name")
        reserved = path.name.startswith((".", sums.NAME))
        if reserved or not path.name.isprintable():
            raise errors.InvalidFile(str(path), "cannot be published as this")


def _check_list(
    directory: Path,
    known: ChecksumList,
    key: str,
    best_before: datetime.date | None,
) -> None:
    """Check that imports will accept the list as they did before."""
    date = best_before or known.best_before
    if date and date < datetime.date.today():
        given, hint = f"--best-before {date}:", "give today or a later date"
        if not best_before:
            given = f"{directory / sums.NAME}: its date BEST-BEFORE-{date}"
            hint = "give a later --best-before, or remove the line of the date"
        raise errors.InvalidArgument(
            f"{given} is in the past; every import would refuse the archives",
            hint=hint,
        )
    if not key and (directory / sums.SIGNATURE).exists():
        raise errors.InvalidArgument(
            f"{directory}: its list is signed, and would not be signed any"
            " more",
            hint=f"give --sign, or remove {sums.SIGNATURE} first",
        )


def _present(known: ChecksumList, directory: Path) -> dict[str, str]:
    """The checksums of files that are still there."""
    return {
        name: checksum
        for name, checksum in known.sums.items()
        if (directory / name).is_file()
    }


@contextlib.contextmanager
def _copied(
    path: Path, directory: Path
) -> Iterator[tuple[Path, PublishedFile]]:
    """A copy under a temporary name, which is removed unless renamed."""
    temporary = directory / temporary_name()
    digest = hashlib.sha256()
    try:
        with path.open("rb") as source, temporary.open("xb") as copy:
            while data := source.read(_CHUNK):
                digest.update(data)
                copy.write(data)
            copy.flush()
            # A web server has to read it.
            os.fchmod(copy.fileno(), 0o644)
            os.fsync(copy.fileno())
            size = copy.tell()
        yield temporary, PublishedFile(path.name, size, digest.hexdigest())
    except OSError as error:
        raise errors.InvalidFile(
            str(path),
            f"cannot be published in {directory}: {errors.reason(error)}",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _replace(directory: Path, listed: bytes, signature: bytes) -> None:
    """Put a list and its signature in place, both at once."""
    new = directory / f"{_PREFIX}{secrets.token_hex(8)}"
    new.mkdir(mode=0o755)
    for name, content in ((sums.NAME, listed), (sums.SIGNATURE, signature)):
        if content:
            with (new / name).open("xb") as file:
                file.write(content)
                os.fsync(file.fileno())
            (new / name).chmod(0o644)
    new.chmod(0o755)
    _link(directory, _CURRENT, new.name)
    for name in (sums.NAME, sums.SIGNATURE):
        target = f"{_CURRENT}/{name}"
        path = directory / name
        if not (new / name).exists():
            path.unlink(missing_ok=True)
        elif not path.is_symlink() or os.readlink(path) != target:
            _link(directory, name, target)
    disk.synchronise_directory(directory)
    for old in directory.glob(f"{_PREFIX}*"):
        if old != new:
            shutil.rmtree(old)


def _link(directory: Path, name: str, target: str) -> None:
    temporary = directory / temporary_name()
    temporary.symlink_to(target)
    temporary.rename(directory / name)
