"""Image layouts, beyond what every store does."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.host import disk, locks
from imageprep_client.host.directory import Directory
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import verify
from imageprep_client.stores.layout import LayoutRoot, LayoutStore
from imageprep_client.stores.layout import store as store_module
from imageprep_client.testing import content
from imageprep_client.testing.store_suite import push, read, store_all
from imageprep_client.testing.streams import put
from tests.failing import fails

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def root(tmp_path: Path) -> LayoutRoot:
    """A root that does not exist yet."""
    return LayoutRoot(tmp_path / "images")


@pytest.fixture
def store(root: LayoutRoot) -> LayoutStore:
    """A repository that does not exist yet."""
    return root.store("ns/nova-api")


def _index(store: LayoutStore) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (store.home / "index.json").read_text()
    )
    return document


def _entries(store: LayoutStore) -> list[tuple[str, str]]:
    """Digest and tag of each entry of the index, in its order."""
    return [
        (entry["digest"], (entry.get("annotations") or {}).get(REF_NAME, ""))
        for entry in _index(store)["manifests"]
    ]


def _blob(store: LayoutStore, descriptor: Descriptor) -> Path:
    algorithm, encoded = descriptor.digest.split(":")
    return store.home / "blobs" / algorithm / encoded


def _multi() -> tuple[content.Image, content.Image, content.Image]:
    """An index and the two images in it."""
    one, two = content.image("one"), content.image("two")
    index = content.index({"linux/amd64": one, "linux/arm64": two})
    return index, one, two


# The files


def test_is_a_layout(root: LayoutRoot, store: LayoutStore) -> None:
    """The files are where the image-layout spec has them."""
    image = content.image("files")
    put(store, image, "latest")

    home = root.path / "ns" / "nova-api"
    assert json.loads((home / "oci-layout").read_text()) == {
        "imageLayoutVersion": "1.0.0"
    }
    assert _index(store) == {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {**image.descriptor.to_json(), "annotations": {REF_NAME: "latest"}}
        ],
    }
    files = {path for path in home.rglob("*") if path.is_file()}
    assert files == {home / "oci-layout", home / "index.json"} | {
        _blob(store, piece.descriptor) for piece in image.pieces
    }


def test_reading_makes_nothing(root: LayoutRoot, store: LayoutStore) -> None:
    """A read leaves no directories behind."""
    with pytest.raises(errors.NotFound):
        store.resolve("latest")
    assert not [*store.tags()]
    assert root.repositories() == []
    root.flush()
    assert not root.path.exists()


def test_names_of_files_are_no_repositories(root: LayoutRoot) -> None:
    """A repository may not be in the way of a layout's own files."""
    for name in ("ns/index.json", "oci-layout/x"):
        with pytest.raises(errors.InvalidReference, match="have files named"):
            root.store(name)


def test_repositories_within_repositories(root: LayoutRoot) -> None:
    """A layout may be below another; each has its own content."""
    names = ["ns", "ns/blobs", "ns/blobs/sha256", "ns/nova"]
    for name in names:
        image = content.image(name)
        put(root.store(name), image, "t")

    assert root.repositories() == names
    for name in names:
        store = root.store(name)
        assert store.holds(store.resolve("t"))


# Roots of the index


def test_untagged_image_is_a_root(store: LayoutStore) -> None:
    """A manifest without a tag and a parent can be found."""
    image = content.image("lonely")
    store_all(store, image)

    assert _entries(store) == [(image.descriptor.digest, "")]


def test_children_are_no_roots(store: LayoutStore) -> None:
    """An image of an index is found through it, also when pushed again."""
    index, one, _ = _multi()
    store_all(store, index)
    assert _entries(store) == [(index.descriptor.digest, "")]
    store_all(store, one)
    assert _entries(store) == [(index.descriptor.digest, "")]


def test_tagged_child_stays_a_root(store: LayoutStore) -> None:
    """An index does not take away the tag of what it names."""
    index, one, _ = _multi()
    put(store, one, "one")
    store_all(store, index)

    assert _entries(store) == [
        (one.descriptor.digest, "one"),
        (index.descriptor.digest, ""),
    ]


@pytest.mark.parametrize(
    ("tags", "left"), [(["latest"], ""), (["latest", "17.1"], "17.1")]
)
def test_moved_tag_leaves_a_root(
    store: LayoutStore, tags: list[str], left: str
) -> None:
    """The image is still found, by another tag or else by its digest."""
    old, new = content.image("old"), content.image("new")
    store_all(store, old, new)
    for tag in tags:
        store.tag(old.descriptor, tag)
    store.tag(new.descriptor, "latest")

    assert sorted(_entries(store)) == sorted(
        [(old.descriptor.digest, left), (new.descriptor.digest, "latest")]
    )


def test_same_tag_again_writes_nothing(store: LayoutStore) -> None:
    """A repeated copy leaves the index as it is."""
    image = content.image("again")
    put(store, image, "latest")
    before = (store.home / "index.json").stat().st_ino
    put(store, image, "latest")

    assert (store.home / "index.json").stat().st_ino == before


def test_deleted_index_leaves_its_children(store: LayoutStore) -> None:
    """They become roots; one that is gone does not."""
    index, one, two = _multi()
    store_all(store, index)
    store.delete(one.descriptor)
    store.delete(index.descriptor)

    assert _entries(store) == [(two.descriptor.digest, "")]


def test_referrers_within_an_index(store: LayoutStore) -> None:
    """An artifact that only an index names is a referrer, too."""
    image = content.image("subject")
    artifact = content.artifact("sbom", image.descriptor)
    index = content.index({"linux/amd64": image, "linux/arm64": artifact})
    store_all(store, index)

    (found,) = store.referrers(image.descriptor)
    assert found == artifact.descriptor


def test_resolve_of_a_child(store: LayoutStore) -> None:
    """By digest, what has no entry is found by what it says it is."""
    index, one, _ = _multi()
    store_all(store, index)

    assert store.resolve(one.descriptor.digest) == one.descriptor


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 2, "manifests": []}, mediatypes.OCI_INDEX),
        ({"schemaVersion": 2, "layers": []}, mediatypes.OCI_MANIFEST),
        ({"schemaVersion": 2}, ""),
        ({"schemaVersion": 1, "layers": []}, ""),
        ({"schemaVersion": 2, "mediaType": "text/plain"}, ""),
        ([], ""),
    ],
)
def test_resolve_of_content_without_a_type(
    store: LayoutStore, document: object, media_type: str
) -> None:
    """A manifest may leave out its type; other content is none."""
    data = json.dumps(document).encode()
    blob = content.piece(data, "application/octet-stream")
    push(store, blob)

    if media_type:
        assert store.resolve(blob.descriptor.digest).media_type == media_type
    else:
        with pytest.raises(errors.NotFound):
            store.resolve(blob.descriptor.digest)


def test_tag_of_an_image_without_an_entry(store: LayoutStore) -> None:
    """A child of an index can have a tag of its own."""
    index, one, _ = _multi()
    store_all(store, index)
    store.tag(one.descriptor, "one")

    assert _entries(store) == [
        (index.descriptor.digest, ""),
        (one.descriptor.digest, "one"),
    ]


def test_child_of_two_indexes(store: LayoutStore) -> None:
    """It is no root as long as one of them is there."""
    index, one, _ = _multi()
    other = content.index({"linux/amd64": one})
    store_all(store, index, other)
    store.delete(other.descriptor)

    assert _entries(store) == [(index.descriptor.digest, "")]


# Layouts that others wrote


def test_foreign_content_of_the_index_is_kept(store: LayoutStore) -> None:
    """An unknown field is written back as it was."""
    image = content.image("foreign")
    foreign = {
        **image.descriptor.to_json(),
        "annotations": {"io.example": "x"},
        "platform": {"os": "linux", "architecture": "amd64", "x": 1},
    }
    store_all(store, image)
    (store.home / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "x": 1, "manifests": [foreign]})
    )
    store.tag(image.descriptor, "t")

    foreign["annotations"] = {"io.example": "x", REF_NAME: "t"}
    assert _index(store) == {
        "schemaVersion": 2,
        "x": 1,
        "manifests": [foreign],
    }


def test_names_that_are_no_tags(store: LayoutStore) -> None:
    """Some tools annotate with whole references; those are not listed."""
    image = content.image("names")
    store_all(store, image)
    entry = image.descriptor.to_json()
    names = ["registry/name:tag", "good", 5]
    (store.home / "index.json").write_text(
        json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [
                    {**entry, "annotations": {REF_NAME: name}}
                    for name in names
                ]
                + [{**entry, "annotations": ["no", "mapping"]}],
            }
        )
    )

    assert [*store.tags()] == ["5", "good"]


def test_tag_of_a_manifest_that_is_gone(store: LayoutStore) -> None:
    """An entry without its content is no image."""
    image = content.image("gone")
    put(store, image, "t")
    _blob(store, image.descriptor).unlink()

    with pytest.raises(errors.NotFound):
        store.resolve("t")
    assert not store.referrers(image.descriptor)


def test_entries_that_are_no_manifests(store: LayoutStore) -> None:
    """An entry of another type is left alone."""
    blob = content.blob("blob")
    push(store, blob)
    (store.home / "index.json").write_text(
        json.dumps(
            {"schemaVersion": 2, "manifests": [blob.descriptor.to_json()]}
        )
    )

    assert not store.referrers(blob.descriptor)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"manifests": 1}',
        '{"manifests": [1]}',
        '{"manifests": [{"digest": "sha256:../../x"}]}',
        "[" * 100_000,
        " " * (17 * 1024 * 1024),
    ],
)
def test_broken_index(store: LayoutStore, text: str) -> None:
    """The error names the file, which stays as it is."""
    store_all(store, content.image("broken"))
    (store.home / "index.json").write_text(text)

    for use in (store.tags, lambda: store_all(store, content.image("new"))):
        with pytest.raises(errors.InvalidContent, match=r"index\.json: is no"):
            use()
    assert (store.home / "index.json").read_text() == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"imageLayoutVersion": "2.0.0"}', "version '2.0.0' is not supp"),
        ("{}", "does not say"),
        ("x", "does not say"),
        ("[]", "does not say"),
    ],
)
def test_other_versions(store: LayoutStore, text: str, problem: str) -> None:
    """A layout of a version to come is not touched."""
    push(store, content.blob("x"))
    (store.home / "oci-layout").write_text(text)

    with pytest.raises(errors.InvalidContent, match=problem):
        store.tags()


def test_without_a_version(store: LayoutStore) -> None:
    """A layout whose version file is missing is read."""
    image = content.image("x")
    put(store, image, "t")
    (store.home / "oci-layout").unlink()

    assert store.resolve("t") == image.descriptor


# What is not whole or not regular


def test_blob_of_another_size_is_replaced(store: LayoutStore) -> None:
    """A blob that a crash cut short does not exist, and is written anew."""
    blob = content.blob("short")
    push(store, blob)
    _blob(store, blob.descriptor).write_bytes(b"short")

    assert not store.exists(blob.descriptor)
    push(store, blob)
    assert read(store, blob.descriptor) == blob.data


def test_linked_blob_is_not_written_to(
    root: LayoutRoot, store: LayoutStore
) -> None:
    """A blob that is replaced in one layout stays in the other."""
    blob = content.blob("linked")
    other = root.store("ns/other")
    push(other, blob)
    store.mount(blob.descriptor, other.repository)
    os.truncate(_blob(store, blob.descriptor), 1)
    push(store, blob)

    assert not other.exists(blob.descriptor)
    assert read(store, blob.descriptor) == blob.data


def test_repository_that_is_a_link_outside(
    root: LayoutRoot, store: LayoutStore
) -> None:
    """Nothing is read or written through a link out of the root."""
    image = content.image("outside")
    outside = LayoutRoot(root.path.parent / "outside")
    root.path.mkdir()
    put(outside.store("nova-api"), image, "t")
    (root.path / "ns").symlink_to(outside.path)

    with pytest.raises(errors.NotFound):
        store.resolve("t")
    with pytest.raises(
        errors.AccessDenied, match="ns: a symbolic link"
    ) as caught:
        push(store, content.blob("x"))
    assert caught.value.hint
    assert root.repositories() == []


def test_locked_for_ever(
    root: LayoutRoot, store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that another process keeps is told with that process."""
    image = content.image("x")
    store_all(store, image)
    monkeypatch.setattr(store_module, "_PATIENCE", 0.2)
    descriptor = os.open(store.home, os.O_RDONLY)
    try:
        with (
            locks.locked(descriptor),
            pytest.raises(errors.StoreError, match=rf"\({os.getpid()}\)"),
        ):
            store.tag(image.descriptor, "t")
    finally:
        os.close(descriptor)


def test_what_killed_runs_left_goes(store: LayoutStore) -> None:
    """Files that nobody writes to any more are removed; others stay."""
    blob = content.blob("x")
    push(store, blob)
    names = (".imageprep-old.tmp", ".imageprep-new.tmp", "old")
    for name in names:
        (store.home / name).write_bytes(b"x")
    long_ago = time.time() - 48 * 3600
    os.utime(store.home / names[0], (long_ago, long_ago))
    os.utime(store.home / names[2], (long_ago, long_ago))

    root = LayoutRoot(store.home.parents[1])
    push(root.store(store.repository), content.blob("y"))

    left = {path.name for path in store.home.iterdir() if path.is_file()}
    assert left == {"oci-layout", *names[1:]}


# Mounting


def test_located_blob_that_is_gone(
    root: LayoutRoot, store: LayoutStore
) -> None:
    """A blob that another process deleted has no location."""
    blob = content.blob("x")
    other = root.store("ns/other")
    push(other, blob)
    assert store.locate(blob.descriptor) == "ns/other"
    _blob(other, blob.descriptor).unlink()

    assert store.locate(blob.descriptor) is None


def test_locate_passes_over_links(
    root: LayoutRoot, store: LayoutStore
) -> None:
    """Directories of blobs that are links, or files, are not looked at."""
    push(store, content.blob("x"))
    (store.home / "blobs" / "sha512").symlink_to("sha256")
    (store.home / "blobs" / "README").write_text("x")

    assert store.locate(content.blob("x").descriptor) == "ns/nova-api"


def test_root_that_is_a_layout(tmp_path: Path) -> None:
    """A layout in the root itself is nobody's repository."""
    store_all(LayoutRoot(tmp_path).store("root"), content.image("x"))
    root = LayoutRoot(tmp_path / "root")
    store_all(root.store("ns"), content.image("y"))

    assert root.repositories() == ["ns"]


# Disks and permissions


def test_full_disk(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how much is needed; nothing is left behind."""
    push(store, content.blob("x"))
    before = sorted(store.home.rglob("*"))
    monkeypatch.setattr(disk, "free_space", lambda path: 4999)
    blob = content.blob("y", 5000)

    with pytest.raises(errors.NoSpace) as caught:
        push(store, blob)
    assert caught.value.needed == 5000
    assert sorted(store.home.rglob("*")) == before


def test_a_file_grows_with_what_is_written(store: LayoutStore) -> None:
    """A file cut short by a power failure does not have the whole length."""
    blob = content.blob("x", 5000)
    lengths: list[int] = []

    class Watched(verify.VerifiedContent):
        def read(self, size: int = -1, /) -> bytes:
            staged = store.home.glob(".imageprep-*")
            lengths.extend(file.stat().st_size for file in staged)
            return super().read(size)

    stream = Watched(io.BytesIO(blob.data), blob.descriptor)
    store.push(blob.descriptor, stream)
    assert lengths == [0, 5000]


def test_no_permission(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the place, the hint says how to get in."""
    push(store, content.blob("x"))
    monkeypatch.setattr(os, "open", fails(errno.EACCES))

    with pytest.raises(errors.AccessDenied) as caught:
        push(store, content.blob("y"))
    assert "sudo" in str(caught.value.hint)


def test_manifest_that_is_too_large(store: LayoutStore) -> None:
    """It is refused before a byte of it is read."""
    image = Descriptor(
        mediatypes.OCI_MANIFEST, content.blob("x").descriptor.digest, 2**40
    )

    with pytest.raises(errors.InvalidContent, match="is over"):
        store.push(image, content.blob("x").open())


def test_check_writable(root: LayoutRoot) -> None:
    """The root is made, and nothing in it."""
    root.check_writable()

    assert [*root.path.iterdir()] == []


def test_check_writable_of_a_file(root: LayoutRoot) -> None:
    """A file is no place for layouts."""
    root.path.write_text("x")

    with pytest.raises(errors.InvalidArgument, match="not a directory"):
        root.check_writable()


def test_check_writable_far_away(root: LayoutRoot) -> None:
    """A path that is misspelt does not become a tree of directories."""
    with pytest.raises(errors.InvalidArgument, match="is no directory"):
        LayoutRoot(root.path / "a" / "b").check_writable()


def test_check_writable_without_permission(
    root: LayoutRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known before anything is done."""
    monkeypatch.setattr(Directory, "create", fails(errno.EROFS))

    with pytest.raises(errors.AccessDenied):
        root.check_writable()


def test_names(root: LayoutRoot, store: LayoutStore) -> None:
    """Errors name places as users write them."""
    assert str(root) == f"oci:{root.path}"
    assert str(store) == f"oci:{root.path}//ns/nova-api"
