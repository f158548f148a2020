"""Which directories of a tree are repositories.

The name of a repository may have components such as ``blobs``, so what is in
a directory of that name is of the repository above it, of repositories below
it, or of both.
"""

from __future__ import annotations

import os
from pathlib import Path

from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references

_PARTS = frozenset({"blobs", "manifests"})
_ALL_PARTS = _PARTS | {"tags", "referrers"}


def find(root: Path) -> list[str]:
    """The repositories below ``v2`` that have any file; sorted."""
    found = []
    todo = [root]
    while todo:
        directory = todo.pop()
        name = os.path.relpath(directory, root)
        if _has_parts(directory) and references.is_repository(name):
            found.append(name)
        todo.extend(_steps(directory))
    return sorted(found)


def is_part(directory: Path) -> bool:
    """Whether a directory such as ``blobs`` is of the repository above it.

    It is when it has anything that is not below it in a name, or nothing.
    """
    empty = True
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not _is_step(entry):
                    return True
                empty = False
    except (FileNotFoundError, NotADirectoryError):
        return False
    return empty


def is_below(path: Path) -> bool:
    """Whether what is in a directory such as ``blobs`` is of repositories
    whose names have that component.
    """
    if path.is_symlink() or not path.is_dir() or digests.is_valid(path.name):
        return False
    if path.name in _ALL_PARTS and _has_parts(path.parent):
        return True
    todo = [path]
    while todo:
        directory = todo.pop()
        if _has_parts(directory):
            return True
        todo.extend(_steps(directory))
    return False


def _has_parts(directory: Path) -> bool:
    return any(is_part(directory / part) for part in _PARTS)


def _steps(directory: Path) -> list[Path]:
    """The directories in it that may be in the name of a repository."""
    try:
        with os.scandir(directory) as entries:
            return [directory / e.name for e in entries if _is_step(e)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_step(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not digests.is_valid(
        entry.name
    )
