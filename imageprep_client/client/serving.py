"""Having a tree of images served."""

from __future__ import annotations

from collections.abc import Callable

from imageprep_client.host.undercloud import TREE
from imageprep_client.serving.address import DEFAULT_LISTEN
from imageprep_client.serving.apache import virtual_host

__all__ = ["DEFAULT_LISTEN", "TREE", "serve", "virtual_host"]


def serve(directory: str, listen: str, ready: Callable[[str], None]) -> None:
    """Serve a tree until interrupted; see `serving.server.serve`."""
    # Only here: an HTTP server is slow to import.
    from imageprep_client.serving import server

    server.serve(directory, listen, ready)
