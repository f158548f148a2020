"""Reading the records of containers/storage."""

from __future__ import annotations

import json
import pathlib

import pytest

from imageprep_client.programs.buildah.records import LayerRecords

LOW, HIGH = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
IMAGES = [{"id": "i", "layer": "h"}, {"id": "empty"}]
LAYERS = [
    {
        "id": "l",
        "diff-digest": LOW,
        "compression": 2,
        "compressed-diff-digest": f"sha256:{'3' * 64}",
        "compressed-size": 30,
    },
    {"id": "h", "parent": "l", "diff-digest": HIGH, "compression": 0},
]


def records(
    home: pathlib.Path, images: object, layers: object
) -> LayerRecords:
    """Records with these files."""
    for kind, content in (("images", images), ("layers", layers)):
        directory = home / f"overlay-{kind}"
        directory.mkdir()
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / f"{kind}.json").write_text(text)
    return LayerRecords({"GraphDriverName": "overlay", "GraphRoot": str(home)})


def test_diff_ids(tmp_path: pathlib.Path) -> None:
    """The layers of an image are found from the highest to the lowest."""
    found = records(tmp_path, IMAGES, LAYERS)
    assert found.diff_ids("i") == (LOW, HIGH)
    assert found.diff_ids("empty") == ()


def test_compressed(tmp_path: pathlib.Path) -> None:
    """Only a layer that was pulled has a compressed form."""
    (pair,) = records(tmp_path, IMAGES, LAYERS).compressed().items()
    assert (pair[0], pair[1].size) == (LOW, 30)


@pytest.mark.parametrize(
    ("images", "layers"),
    [
        ([], LAYERS),
        (IMAGES, []),
        (IMAGES, LAYERS[1:]),
        (IMAGES, [{"id": "h"}]),
        (IMAGES, [{"id": "h", "diff-digest": LOW, "parent": "h"}]),
        ("{", "{"),
        ({}, {}),
        (["x"], ["x"]),
        ("5", "5"),
    ],
)
def test_nothing_is_known(
    tmp_path: pathlib.Path, images: object, layers: object
) -> None:
    """Of records with a gap nothing is concluded."""
    assert records(tmp_path, images, layers).diff_ids("i") is None


@pytest.mark.parametrize(
    "layer",
    [
        {"compression": 2, "compressed-diff-digest": "x"},
        {"compression": 4, "diff-digest": LOW},
    ],
)
def test_no_compressed_form(
    tmp_path: pathlib.Path, layer: dict[str, object]
) -> None:
    """Records without a digest, or of another compression, give nothing."""
    assert not records(tmp_path, [], [layer]).compressed()


def test_no_records(tmp_path: pathlib.Path) -> None:
    """Storage without these files is storage of which nothing is known."""
    found = LayerRecords({"GraphRoot": str(tmp_path)})
    assert found.diff_ids("i") is None
    assert not found.compressed()
