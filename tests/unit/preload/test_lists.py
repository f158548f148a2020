"""Lists of images for groups of nodes."""

from __future__ import annotations

from pathlib import Path

from imageprep_client.preload import demand


def test_list_of_an_editor(tmp_path: Path) -> None:
    """A list may have a byte order mark and the line ends of Windows."""
    path = tmp_path / "images"
    path.write_bytes(
        b"\xef\xbb\xbfquay.io/ns/a:1\r\n\r\n# b\r\nquay.io/ns/c\r\n"
    )
    names = [str(reference) for reference in demand.read_list(str(path))]
    assert names == ["quay.io/ns/a:1", "quay.io/ns/c"]
