"""Removing the identity of a machine from a root."""

from __future__ import annotations

from collections.abc import Iterable

from imageprep_client.host.directory import Directory
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine import scrub
from imageprep_client.machine.scrub import Category, Scrub, ScrubbedPath


def paths(root: ReadableDirectory) -> list[ScrubbedPath]:
    """The files of a root that no other machine may have."""
    return [
        scrubbed
        for scrubbed in scrub.scan(root)
        if scrubbed.category is Category.IDENTITY
    ]


def forget(root: Directory, found: Iterable[ScrubbedPath]) -> None:
    """Remove these files from a root; some of them stay, empty."""
    for scrubbed in found:
        if root.is_directory(scrubbed.path):
            root.remove_tree(scrubbed.path)
        else:
            root.unlink(scrubbed.path)
            if scrubbed.action is Scrub.EMPTY:
                root.write(scrubbed.path, b"", 0o444)
