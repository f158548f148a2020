"""Which directories of a tree are repositories.

The name of a repository may have components such as ``blobs``, so the content
of a directory of that name belongs to the repository above it, to
repositories below it, or to both.
"""

from __future__ import annotations

from imageprep_client.host.directory import Directory, join
from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.stores.imageserve import layout

_PARTS = ("blobs", "manifests")
_ALL_PARTS = frozenset({*_PARTS, "tags", "referrers"})


def find(tree: Directory) -> list[str]:
    """The repositories below ``v2`` that have any file; sorted."""
    repositories = []
    todo = [""]
    while todo:
        name = todo.pop()
        path = f"{layout.ROOT}/{name}" if name else layout.ROOT
        if references.is_repository(name) and _has_parts(tree, path):
            repositories.append(name)
        todo.extend(join(name, step) for step in _steps(tree, path))
    return sorted(repositories)


def is_part(tree: Directory, path: str) -> bool:
    """Whether a directory such as ``blobs`` is of the repository above it.

    It is when it has anything that is not below it in a name, or nothing.
    """
    if not tree.is_directory(path):
        return False
    empty = True
    for name, kind in tree.scan(path):
        if not _is_step(name, kind):
            return True
        empty = False
    return empty


def is_below(tree: Directory, path: str) -> bool:
    """Whether the content of a directory such as ``blobs`` belongs to
    repositories whose names have that component.
    """
    above, _, name = path.rpartition("/")
    if digests.is_valid(name) or not tree.is_directory(path):
        return False
    if name in _ALL_PARTS and _has_parts(tree, above):
        return True
    todo = [path]
    while todo:
        directory = todo.pop()
        if _has_parts(tree, directory):
            return True
        todo.extend(f"{directory}/{step}" for step in _steps(tree, directory))
    return False


def _has_parts(tree: Directory, path: str) -> bool:
    return any(is_part(tree, f"{path}/{part}") for part in _PARTS)


def _steps(tree: Directory, path: str) -> list[str]:
    """The directories in it that may be in the name of a repository."""
    return [name for name, kind in tree.scan(path) if _is_step(name, kind)]


def _is_step(name: str, kind: Kind) -> bool:
    return kind is Kind.DIRECTORY and not digests.is_valid(name)
