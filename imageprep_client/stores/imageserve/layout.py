"""Where things are in an image-serve tree; names and paths only.

::

    .lock                                        one run writes at a time
    .incoming/                                   being written, never served
    v2/index.json                                {}
    v2/_catalog                                  {"repositories": [...]}
    v2/<repository>/tags/list                    {"name": ..., "tags": [...]}
    v2/<repository>/blobs/<digest>               a blob
    v2/<repository>/blobs/<digest>.gz            a layer, as tripleo wrote it
    v2/<repository>/manifests/<digest>/index.json    a manifest or an index
    v2/<repository>/manifests/<digest>/.htaccess     its response headers
    v2/<repository>/manifests/<tag>.type-map     what a tag names
    v2/<repository>/manifests/<tag>              the same, older: a symlink
    v2/<repository>/referrers/<digest>           an index of its referrers
    v2/<repository>/referrers/.htaccess          their media type
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

TYPE_MAP_SUFFIX = ".type-map"
#: tripleo-common put it on every layer, compressed or not.
LAYER_SUFFIX = ".gz"
LOCK = ".lock"
INCOMING = ".incoming"
ROOT = "v2"
MANIFEST = "index.json"
HTACCESS = ".htaccess"


class RepositoryPaths:
    """The paths of one repository.

    Names and digests must have been checked against their grammar.
    """

    def __init__(self, tree: Path, repository: str) -> None:
        self.home = tree / ROOT / repository
        self.blobs = self.home / "blobs"
        self.manifests = self.home / "manifests"
        self.tags = self.home / "tags"
        self.tags_list = self.tags / "list"
        self.referrers = self.home / "referrers"

    def blob(self, digest: str) -> Path:
        """Where a blob is written."""
        return self.blobs / digest

    def blob_candidates(self, digest: str) -> tuple[Path, Path]:
        """Where a blob may be found, in order of preference."""
        return self.blob(digest), self.blobs / f"{digest}{LAYER_SUFFIX}"

    def manifest_directory(self, digest: str) -> Path:
        return self.manifests / digest

    def manifest(self, digest: str) -> Path:
        return self.manifests / digest / MANIFEST

    def htaccess(self, digest: str) -> Path:
        return self.manifests / digest / HTACCESS

    def type_map(self, tag: str) -> Path:
        return self.manifests / f"{tag}{TYPE_MAP_SUFFIX}"

    def tag_link(self, tag: str) -> Path:
        """Where the older form of the tree has a symbolic link."""
        return self.manifests / tag

    def referrers_of(self, digest: str) -> Path:
        return self.referrers / digest


def tags_list(repository: str, tags: Iterable[str]) -> bytes:
    """The document at ``tags/list``."""
    return _json({"name": repository, "tags": sorted(tags)})


def catalog(repositories: Iterable[str]) -> bytes:
    """The document at ``v2/_catalog``."""
    return _json({"repositories": sorted(repositories)})


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
