"""Faults of a tree around its content: in lists, tags and headers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores.imageserve import htaccess, layout
from imageprep_client.stores.imageserve.layout import TreeDirectory
from imageprep_client.stores.imageserve.referrers import Referrers
from imageprep_client.stores.imageserve.store import ImageServeStore
from imageprep_client.stores.stored_files import Defect

_MAX_LIST = 64 * 1024 * 1024

ABSENT = "listed but absent"
UNLISTED = "not listed"
STRAY = "not content"


def repository(
    tree: TreeDirectory, store: ImageServeStore
) -> Iterator[Defect]:
    """The faults of one repository; callers translate `OSError`."""
    stored = dict(_manifests(tree, store))
    yield from _headers(tree, store, stored)
    yield from _tags(tree, store, stored)
    yield from _strays(tree, store)
    yield from _referrers(tree, store, stored)


def catalog(tree: TreeDirectory, names: Iterable[str]) -> Iterator[Defect]:
    """The faults of the lists of the whole tree.

    :param names: the repositories with any file.
    """
    if tree.regular_size(f"{layout.ROOT}/{layout.MANIFEST}") is None:
        yield Defect(f"{layout.ROOT}/{layout.MANIFEST}", "missing")
    present = set()
    for name in names:
        paths = layout.RepositoryPaths(name)
        parts = (paths.manifests, paths.tags)
        if all(layout.is_part(tree, part) for part in parts):
            present.add(name)
    name = layout.CATALOG
    yield from _compare(tree, name, name, "repositories", present)


def _manifests(
    tree: TreeDirectory, store: ImageServeStore
) -> Iterator[tuple[str, Manifest | None]]:
    """All manifests by digest; None for invalid ones."""
    home = store.paths.manifests
    for name in tree.entries(home):
        if not digests.is_valid(name):
            continue
        path = store.paths.manifest(name)
        content = tree.read(path, manifests.MAX_SIZE + 1)
        try:
            yield (
                name,
                manifests.parse(content, htaccess.type_inside(content), name)
                if content is not None
                else None,
            )
        except errors.InvalidContent:
            yield name, None


def _headers(
    tree: TreeDirectory,
    store: ImageServeStore,
    stored: Mapping[str, Manifest | None],
) -> Iterator[Defect]:
    for digest, manifest in stored.items():
        if tree.regular_size(store.paths.manifest(digest)) is None:
            yield Defect(digest, "incomplete")
            continue
        content = tree.read(store.paths.htaccess(digest), htaccess.MAX_SIZE)
        if not content:
            yield Defect(digest, "no headers")
        elif manifest and not _says(content, manifest):
            yield Defect(digest, "wrong headers")


def _says(content: bytes, manifest: Manifest) -> bool:
    """Whether headers fit a manifest.

    A manifest without a type of its own has any type it can be parsed as.
    """
    return htaccess.digest(content) == manifest.descriptor.digest and _is_of(
        manifest, htaccess.media_type(content)
    )


def _is_of(manifest: Manifest, media_type: str) -> bool:
    try:
        manifests.parse(manifest.content, media_type)
    except errors.InvalidContent:
        return False
    return True


def _tags(
    tree: TreeDirectory,
    store: ImageServeStore,
    stored: Mapping[str, Manifest | None],
) -> Iterator[Defect]:
    tags = list(store.tags())
    for tag in tags:
        variants = store.variants(tag)
        if not variants:
            yield Defect(tag, "corrupt")
        for variant in variants:
            manifest = stored.get(variant.digest)
            if manifest and not _is_of(manifest, variant.media_type):
                yield Defect(tag, "wrong type")
        for variant in variants[1:]:
            if variant.digest not in stored:
                yield Defect(variant.digest, "missing")
    path = store.paths.tags_list
    if tags or (tree.status(path) and not tree.is_directory(path)):
        name = store.repository
        yield from _compare(tree, path, "tags/list", "tags", tags, name)


def _compare(
    tree: TreeDirectory,
    path: str,
    name: str,
    key: str,
    actual: Iterable[str],
    owner: str | None = None,
) -> Iterator[Defect]:
    """Compare a list in a file with the actual names."""
    content = tree.read(path, _MAX_LIST)
    if content is None:
        yield Defect(name, "missing")
        return
    try:
        document: Any = json.loads(content)
        entries = document[key] or []
        valid = isinstance(entries, list) and document.get("name") == owner
    except (ValueError, LookupError, TypeError, RecursionError):
        entries, valid = [], False
    if not valid:
        yield Defect(name, "corrupt")
        return
    listed = set(map(str, entries))
    for entry in sorted(listed - set(actual)):
        yield Defect(entry, ABSENT)
    for entry in sorted(set(actual) - listed):
        yield Defect(entry, UNLISTED)


def _strays(tree: TreeDirectory, store: ImageServeStore) -> Iterator[Defect]:
    paths = store.paths
    for name in tree.entries(paths.blobs):
        path = f"{paths.blobs}/{name}"
        digest = name.removesuffix(layout.LAYER_SUFFIX)
        regular = tree.regular_size(path) is not None
        content = digests.is_valid(digest) and regular
        own = path == paths.blob_headers and _has(
            tree, path, htaccess.EMPTY_BLOBS
        )
        if not content and not own and not layout.is_below(tree, path):
            yield Defect(f"blobs/{name}", STRAY)
    tags = set(store.tags())
    for name in tree.entries(paths.manifests):
        path = f"{paths.manifests}/{name}"
        tag = name.removesuffix(layout.TYPE_MAP_SUFFIX)
        manifest = digests.is_valid(name) or tag in tags
        own = path == paths.tag_headers and _has(
            tree, path, *htaccess.OF_TYPE_MAPS
        )
        if not manifest and not own and not layout.is_below(tree, path):
            yield Defect(f"manifests/{name}", STRAY)


def _has(tree: TreeDirectory, path: str, *contents: bytes) -> bool:
    return tree.read(path, htaccess.MAX_SIZE) in contents


def _referrers(
    tree: TreeDirectory,
    store: ImageServeStore,
    stored: Mapping[str, Manifest | None],
) -> Iterator[Defect]:
    lists = Referrers(tree, store.paths)
    listed: set[tuple[str, str]] = set()
    names = tree.entries(store.paths.referrers)
    subjects = [name for name in names if digests.is_valid(name)]
    for subject in subjects:
        try:
            listed.update((subject, r.digest) for r in lists.of(subject))
        except errors.InvalidContent:
            yield Defect(f"referrers/{subject}", "corrupt")
    actual = {
        (manifest.subject.digest, digest)
        for digest, manifest in stored.items()
        if manifest and manifest.subject
    }
    for _, digest in sorted(listed - actual):
        yield Defect(digest, ABSENT)
    for _, digest in sorted(actual - listed):
        yield Defect(digest, UNLISTED)
    headers = tree.regular_size(store.paths.referrers_headers)
    if subjects and not headers:
        yield Defect(f"referrers/{layout.HTACCESS}", "missing")
    empty = tree.regular_size(store.paths.no_referrers)
    if headers == len(htaccess.REFERRERS) and not empty:
        yield Defect(f"referrers/{layout.MANIFEST}", "missing")
