"""Is what a server or a tree shows whole and right?"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing.images import Blob, GeneratedImage
from tests.http_client import ask

ACCEPT = {"Accept": ", ".join(mediatypes.ACCEPT)}


def served(
    url: str,
    images: Iterable[GeneratedImage],
    tag: str,
    *,
    read: int | None = None,
) -> tuple[set[str], list[str]]:
    """The repositories that have the tag, and what is wrong with them.

    An image whose tag is not there is not wrong; one that lacks a part is.
    Of all blobs the size is asked for; some are read.

    :param read: of how many images the blobs are read; None: of all.
    """
    tagged: set[str] = set()
    wrong: list[str] = []
    unread = list(images)
    random.Random(url).shuffle(unread)  # noqa: S311 - no secret
    for image in unread:
        home = f"/v2/{image.repository}"
        answer = ask(url, f"{home}/manifests/{tag}", ACCEPT)
        if answer.status == 404:
            if _is_listed(url, home, tag):
                wrong.append(f"{image.repository}: tag listed, not served")
            continue
        tagged.add(image.repository)
        if digests.of(answer.body) != image.descriptor.digest:
            wrong.append(f"{image.repository}: {answer}")
            continue
        whole = read is None or len(tagged) <= read
        for blob in (each.descriptor for each in image.blobs):
            path = f"{home}/blobs/{blob.digest}"
            answer = ask(url, path, method="GET" if whole else "HEAD")
            length = int(answer.headers["Content-Length"] or -1)
            if answer.status != 200 or length != blob.size:
                wrong.append(f"{path}: {answer.status} {length}")
            elif whole and digests.of(answer.body) != blob.digest:
                wrong.append(f"{path}: wrong bytes")
    return tagged, wrong


def _is_listed(url: str, home: str, tag: str) -> bool:
    answer = ask(url, f"{home}/tags/list")
    return answer.status == 200 and tag in (
        json.loads(answer.body)["tags"] or ()
    )


def in_tree(
    tree: Path, images: Iterable[GeneratedImage], tag: str
) -> list[str]:
    """The faults of images whose tag is in a tree; all is read."""
    wrong = []
    for image in images:
        store = ImageServeTree(tree).store(image.repository)
        try:
            root = store.resolve(tag)
        except errors.NotFound:
            continue
        if root.digest != image.descriptor.digest or not store.holds(root):
            wrong.append(f"{image.repository}: not whole")
            continue
        parts: list[Blob | Manifest] = [*image.blobs, *image.manifests]
        for part in parts:
            try:
                with store.fetch(part.descriptor) as content:
                    while content.read(base.CHUNK):
                        pass
            except errors.StoreError as error:
                wrong.append(str(error))
    return wrong


def blobs(tree: Path) -> set[str]:
    """The digests of the blobs that are in a tree."""
    return {
        path.name.removesuffix(".gz")
        for path in tree.glob("v2/**/blobs/sha256:*")
    }
