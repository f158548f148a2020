"""Image layouts, as skopeo reads and writes them."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from imageprep_client.oci import mediatypes
from imageprep_client.stores.layout import LayoutRoot, LayoutStore
from imageprep_client.testing import content
from imageprep_client.testing.store_suite import read, store_all
from imageprep_client.testing.streams import put


def _skopeo(*words: str) -> bytes:
    command = ["skopeo", "--insecure-policy", *words]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _image(seed: str) -> content.Image:
    """With layers that are gzip: skopeo compresses what is not."""
    data = gzip.compress(content.blob(seed).data, mtime=0)
    layer = content.piece(data, mediatypes.OCI_LAYER_GZIP)
    return content.image(seed, [layer])


def _multi() -> content.Image:
    return content.index(
        {"linux/amd64": _image("amd64"), "linux/arm64": _image("arm64")}
    )


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    """A repository that does not exist yet."""
    return LayoutRoot(tmp_path / "images").store("ns/nova-api")


@pytest.fixture(params=[False, True], ids=["image", "index"])
def image(request: pytest.FixtureRequest) -> content.Image:
    """One of each kind."""
    return _multi() if request.param else _image("single")


def test_skopeo_reads(store: LayoutStore, image: content.Image) -> None:
    """The manifest or index comes byte for byte, by its tag."""
    other = _image("other")
    store_all(store, image, other)
    store.tag(image.descriptor, "17.1")
    store.tag(other.descriptor, "other")

    raw = _skopeo("inspect", "--raw", f"oci:{store.home}:17.1")
    assert raw == image.manifest.data


def test_skopeo_copies(
    store: LayoutStore, tmp_path: Path, image: content.Image
) -> None:
    """Everything that the tag leads to is there, digests unchanged."""
    put(store, image, "17.1")

    copy = LayoutRoot(tmp_path / "copy").store("image")
    copy.home.parent.mkdir()
    _skopeo("copy", "--all", f"oci:{store.home}:17.1", f"oci:{copy.home}:t")
    assert copy.resolve("t") == image.descriptor
    assert copy.holds(image.descriptor)
    for piece in image.pieces:
        assert read(copy, piece.descriptor) == piece.data


def test_layout_of_skopeo_is_extended(
    store: LayoutStore, tmp_path: Path
) -> None:
    """An image of skopeo stays, and skopeo reads both."""
    first, second = _image("first"), _image("second")
    put(store, first, "t")
    home = LayoutRoot(tmp_path / "skopeo")
    home.path.mkdir()
    _skopeo("copy", f"oci:{store.home}:t", f"oci:{home.path}/nova-api:first")

    extended = home.store("nova-api")
    put(extended, second, "second")

    assert [*extended.tags()] == ["first", "second"]
    for tag, image in (("first", first), ("second", second)):
        raw = _skopeo("inspect", "--raw", f"oci:{extended.home}:{tag}")
        assert raw == image.manifest.data


def test_skopeo_extends(store: LayoutStore, tmp_path: Path) -> None:
    """An image that skopeo adds is read beside the earlier one."""
    first, second = _image("first"), _image("second")
    other = LayoutRoot(tmp_path / "other").store("image")
    for where, image in ((store, first), (other, second)):
        put(where, image, "t")

    _skopeo("copy", f"oci:{other.home}:t", f"oci:{store.home}:second")

    assert store.resolve("t") == first.descriptor
    assert store.resolve("second") == second.descriptor
    assert store.holds(second.descriptor)


def test_copy_to_a_directory(store: LayoutStore, tmp_path: Path) -> None:
    """skopeo unpacks the layout into files of its own."""
    image = _image("dir")
    put(store, image, "t")

    _skopeo("copy", f"oci:{store.home}:t", f"dir:{tmp_path / 'dir'}")

    assert (tmp_path / "dir" / "manifest.json").read_bytes() == (
        image.manifest.data
    )
