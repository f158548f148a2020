"""The paths in an image-serve tree, and how its files are written.

::

    .lock                                        one run writes at a time
    .incoming/                                   being written, never served
    v2/index.json                                {}
    v2/_catalog                                  {"repositories": [...]}
    v2/<repository>/tags/list                    {"name": ..., "tags": [...]}
    v2/<repository>/blobs/<digest>               a blob
    v2/<repository>/blobs/<digest>.gz            a layer, as tripleo wrote it
    v2/<repository>/blobs/.htaccess              headers of an empty blob
    v2/<repository>/manifests/<digest>/index.json    a manifest or an index
    v2/<repository>/manifests/<digest>/.htaccess     its response headers
    v2/<repository>/manifests/<tag>.type-map     what a tag names
    v2/<repository>/manifests/.htaccess          their media type
    v2/<repository>/manifests/<tag>              the same, older: a symlink
    v2/<repository>/referrers/<digest>           an index of its referrers
    v2/<repository>/referrers/index.json         for a manifest without any
    v2/<repository>/referrers/.htaccess          their media type
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator

from imageprep_client import errors
from imageprep_client.host.directory import Directory, join
from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references

TYPE_MAP_SUFFIX = ".type-map"
#: tripleo-common put it on every layer, compressed or not.
LAYER_SUFFIX = ".gz"
LOCK = ".lock"
INCOMING = ".incoming"
ROOT = "v2"
CATALOG = f"{ROOT}/_catalog"
MANIFEST = "index.json"
HTACCESS = ".htaccess"
_STAGED = re.compile(r"[0-9a-f]{24}")
_UNLISTED = re.compile(r"tags-[0-9a-f]{24}")
_PARTS = ("blobs", "manifests")
_ALL_PARTS = frozenset({*_PARTS, "tags", "referrers"})


def check_repository(name: object) -> str:
    """The name of a repository itself when a tree can have it.

    :raises InvalidReference: when the name breaks the grammar, or when one
        of the tree's own files is in its place.
    """
    checked = references.check_repository(name)
    parts = checked.split("/")
    pairs = list(itertools.pairwise(parts))
    if parts[0] == MANIFEST or any(
        above == "manifests" and part.endswith(TYPE_MAP_SUFFIX)
        for above, part in pairs
    ):
        raise errors.InvalidReference(
            f"invalid repository name {checked!r}: trees have files of that"
            " name"
        )
    return checked


class RepositoryPaths:
    """The paths of one repository, relative to the tree.

    Names and digests must have been checked against their grammar.
    """

    def __init__(self, repository: str) -> None:
        self.home = f"{ROOT}/{repository}"
        self.blobs = f"{self.home}/blobs"
        self.blob_headers = f"{self.blobs}/{HTACCESS}"
        self.manifests = f"{self.home}/manifests"
        self.tag_headers = f"{self.manifests}/{HTACCESS}"
        self.tags = f"{self.home}/tags"
        self.tags_list = f"{self.tags}/list"
        self.referrers = f"{self.home}/referrers"
        self.referrers_headers = f"{self.referrers}/{HTACCESS}"
        self.no_referrers = f"{self.referrers}/{MANIFEST}"

    def blob(self, digest: str) -> str:
        """The path that a blob is written to."""
        return f"{self.blobs}/{digest}"

    def blob_candidates(self, digest: str) -> tuple[str, str]:
        """The possible paths of a blob, in order of preference."""
        return self.blob(digest), self.blob(f"{digest}{LAYER_SUFFIX}")

    def manifest_directory(self, digest: str) -> str:
        """The directory of a manifest and its headers."""
        return f"{self.manifests}/{digest}"

    def manifest(self, digest: str) -> str:
        return f"{self.manifests}/{digest}/{MANIFEST}"

    def htaccess(self, digest: str) -> str:
        """The response headers of a manifest."""
        return f"{self.manifests}/{digest}/{HTACCESS}"

    def type_map(self, tag: str) -> str:
        """The file of a tag."""
        return f"{self.manifests}/{tag}{TYPE_MAP_SUFFIX}"

    def tag_link(self, tag: str) -> str:
        """The symbolic link in the older form of the tree."""
        return f"{self.manifests}/{tag}"

    def referrers_of(self, digest: str) -> str:
        """The index of a manifest's referrers."""
        return f"{self.referrers}/{digest}"


class TreeDirectory(Directory):
    """The directory that holds ``v2``.

    The user of the web server can read served files and directories,
    whatever the umask is. Incomplete files are outside of ``v2``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, public=True)

    def put(self, path: str, content: bytes) -> None:
        """Replace the content of a file atomically."""
        self.make_directory(path.rpartition("/")[0])
        self.replace(path, content, staging=INCOMING)

    @contextlib.contextmanager
    def staged_directory(self) -> Iterator[str]:
        """A fresh empty directory, removed at the end with its content."""
        path = f"{INCOMING}/{secrets.token_hex(12)}"
        self.make_directory(path)
        try:
            yield path
        finally:
            if self.status(path):
                self.remove_tree(path)

    def remove_directory(self, path: str) -> None:
        """Remove a directory with its content, atomically for readers."""
        with self.staged_directory() as temporary:
            self.rename(path, temporary)


def unlisted(repository: str) -> str:
    """The file that says that ``tags/list`` of a repository is to be written.

    It has the name of the repository in it.
    """
    digest = hashlib.sha256(repository.encode()).hexdigest()
    return f"{INCOMING}/tags-{digest[:24]}"


def is_unlisted(name: str) -> bool:
    """Whether a name is one of `unlisted`."""
    return _UNLISTED.fullmatch(name) is not None


def is_staged_directory(name: str) -> bool:
    """Whether a name is one of `TreeDirectory.staged_directory`."""
    return _STAGED.fullmatch(name) is not None


def tags_list(repository: str, tags: Iterable[str]) -> bytes:
    """The document at ``tags/list``."""
    return _json({"name": repository, "tags": sorted(tags)})


def catalog(repositories: Iterable[str]) -> bytes:
    """The document at ``v2/_catalog``."""
    return _json({"repositories": sorted(repositories)})


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def find_repositories(tree: Directory) -> list[str]:
    """The repositories below ``v2`` that have any file; sorted."""
    repositories = []
    todo = [""]
    while todo:
        name = todo.pop()
        path = f"{ROOT}/{name}" if name else ROOT
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
