"""Archives: whole or refused, gone on with, and read by what they promise."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.layout import REF_NAME
from imageprep_client.stores.archive import Archive, NewArchive
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.testing.streams import (
    Breaking,
    Interrupted,
    assert_missing,
    push,
    put,
    read,
    store_all,
)
from imageprep_client.transfer import engine

LAYER = content.blob("shared", 5000)
ONE = content.image("one", [LAYER, content.blob("one", 3000)])
TWO = content.image("two", [LAYER, content.blob("two", 700)])


def carry(
    path: Path, images: Mapping[str, content.Image], part_size: int = 0
) -> int:
    """Make an archive of images by repository; gives its size."""
    archive = NewArchive(path, part_size=part_size)
    with contextlib.closing(archive):
        for repository, image in images.items():
            put(archive.store(repository), image, "1")
        return archive.finish()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An archive with both images."""
    path = tmp_path / "images.tar"
    carry(path, {"ns/one": ONE, "ns/two": TWO})
    return path


def opened(path: Path) -> Archive:
    archive = Archive(path)
    archive.open()
    return archive


def refused(path: Path) -> str:
    """Why an archive is not read."""
    with pytest.raises(errors.InvalidFile) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def check(path: Path) -> None:
    """See that both images are there, whole."""
    with contextlib.closing(opened(path)) as archive:
        assert archive.repositories() == ["ns/one", "ns/two"]
        for repository, image in (("ns/one", ONE), ("ns/two", TWO)):
            store = archive.store(repository)
            assert list(store.tags()) == ["1"]
            assert store.resolve("1") == image.descriptor
            for piece in image.pieces:
                assert read(store, piece.descriptor) == piece.data


# --- what is written


def test_round_trip(path: Path) -> None:
    """An archive has all images, and each blob once."""
    check(path)
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    blobs = {p.descriptor.digest for i in (ONE, TWO) for p in i.pieces}
    assert sum(name.startswith("blobs/") for name in names) == len(blobs)


@pytest.mark.parametrize("part_size", [512, 1000, 4096, 1 << 20])
def test_parts(tmp_path: Path, part_size: int) -> None:
    """An archive in parts is the archive, cut."""
    images = {"ns/one": ONE, "ns/two": TWO}
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    size = carry(whole, images)
    assert carry(cut, images, part_size) == size
    parts = sorted(tmp_path.glob("cut.tar.*"))
    assert b"".join(p.read_bytes() for p in parts) == whole.read_bytes()
    assert all(p.stat().st_size == part_size for p in parts[:-1])
    check(cut)


def test_sums(path: Path, tmp_path: Path) -> None:
    """The checksums are those that sha256sum computes."""
    with tarfile.open(path) as tar:
        members = {
            member.name: tar.extractfile(member).read() for member in tar
        }
    lines = members.pop("SHA256SUMS").decode().splitlines()
    assert {
        name: hashlib.sha256(c).hexdigest() for name, c in members.items()
    } == {line[66:]: line[:64] for line in lines}


def test_replaces_the_other_form(tmp_path: Path) -> None:
    """Of an archive and its parts only the newer ones stay."""
    path = tmp_path / "images.tar"
    carry(path, {"ns/one": ONE}, 1000)
    carry(path, {"ns/one": ONE, "ns/two": TWO})
    assert os.listdir(tmp_path) == ["images.tar"]
    check(path)
    carry(path, {"ns/one": ONE, "ns/two": TWO}, 4096)
    assert not path.exists()
    check(path)
    carry(path, {"ns/one": ONE, "ns/two": TWO}, 1 << 20)
    assert os.listdir(tmp_path) == ["images.tar.000"]
    check(path)


def test_long_digests(tmp_path: Path) -> None:
    """Names of blobs with sha512 digests do not fit into a plain header."""
    path = tmp_path / "images.tar"
    blob = content.blob("long", algorithm="sha512")
    image = content.image("long", [blob], algorithm="sha512")
    carry(path, {"ns/long": image})
    with contextlib.closing(opened(path)) as archive:
        store = archive.store("ns/long")
        assert read(store, blob.descriptor) == blob.data
        assert store.resolve(image.descriptor.digest) == image.descriptor


def test_referrers_and_untagged(tmp_path: Path) -> None:
    """Artifacts are found by their subject, and children by their digest."""
    path = tmp_path / "images.tar"
    index = content.index({"linux/amd64": ONE, "linux/arm64": TWO})
    artifact = content.artifact("sbom", index.descriptor)
    archive = NewArchive(path)
    with contextlib.closing(archive):
        store = archive.store("ns/index")
        put(store, index, "1")
        store_all(store, artifact)
        archive.finish()
    with contextlib.closing(opened(path)) as found:
        reader = found.store("ns/index")
        listed = reader.referrers(index.descriptor)
        assert [one.digest for one in listed] == [artifact.descriptor.digest]
        assert reader.resolve(TWO.descriptor.digest) == TWO.descriptor
        assert reader.referrers(ONE.descriptor) == []


def test_archive_is_read_only(path: Path) -> None:
    """Nothing is written into an archive that is whole."""
    with contextlib.closing(opened(path)) as archive:
        store = archive.store("ns/one")
        with pytest.raises(errors.AccessDenied, match="not changed"):
            push(store, content.blob("more"))
        with pytest.raises(errors.AccessDenied, match="not changed"):
            store.tag(ONE.descriptor, "2")


def test_rest_of_a_blob(path: Path) -> None:
    """A broken transfer is gone on with in the middle of a blob."""
    with contextlib.closing(opened(path)) as archive:
        store = archive.store("ns/one")
        with store.fetch_from(LAYER.descriptor, 4000) as stream:
            assert stream.read() == LAYER.data[4000:]


# --- interruptions


def begin(path: Path, *blobs: content.Piece, part_size: int = 0) -> None:
    """Have a run end after these blobs."""
    archive = NewArchive(path, part_size=part_size)
    with contextlib.closing(archive):
        for blob in blobs:
            push(archive.store("ns/one"), blob)


@pytest.mark.parametrize("part_size", [0, 2000])
def test_is_gone_on_with(tmp_path: Path, part_size: int) -> None:
    """Blobs of an interrupted run are not asked for again."""
    path = tmp_path / "images.tar"
    begin(path, LAYER, part_size=part_size)
    archive = NewArchive(path, part_size=part_size)
    with contextlib.closing(archive):
        archive.prepare()
        assert archive.store("ns/two").locate(LAYER.descriptor)
        for repository, image in (("ns/one", ONE), ("ns/two", TWO)):
            store = archive.store(repository)
            for piece in image.pieces:
                if piece != LAYER:
                    push(store, piece)
            store.tag(image.descriptor, "1")
        archive.finish()
    check(path)
    assert not list(tmp_path.glob("*.partial*"))


def test_damage_of_an_interrupted_run(tmp_path: Path) -> None:
    """Blobs of an interrupted run that are not whole are written again."""
    path = tmp_path / "images.tar"
    begin(path, LAYER, content.blob("one", 3000))
    partial = tmp_path / "images.tar.partial"
    data = bytearray(partial.read_bytes())
    data[600] ^= 1
    partial.write_bytes(data[:-1000])
    archive = NewArchive(path)
    with contextlib.closing(archive):
        archive.prepare()
        assert archive.store("ns/one").locate(LAYER.descriptor) is None
    size = carry(path, {"ns/one": ONE, "ns/two": TWO})
    check(path)
    assert size == carry(path, {"ns/one": ONE, "ns/two": TWO})


def test_cut_in_another_way(tmp_path: Path) -> None:
    """An interrupted run with parts of another size is begun again."""
    path = tmp_path / "images.tar"
    begin(path, LAYER, part_size=1000)
    carry(path, {"ns/one": ONE, "ns/two": TWO}, 2000)
    check(path)
    assert not list(tmp_path.glob("*.partial*"))


def test_leaves_no_waste(tmp_path: Path) -> None:
    """Blobs that belong to no image, or broke off, take no room."""
    path, clean = tmp_path / "images.tar", tmp_path / "clean.tar"
    images = {"ns/one": ONE, "ns/two": TWO}
    other = content.blob("other", 9000)
    archive = NewArchive(path)
    with contextlib.closing(archive):
        store = archive.store("ns/one")
        push(store, other)
        lost = content.blob("lost", 300_000)
        with pytest.raises(Interrupted):
            store.push(lost.descriptor, Breaking(lost.data[:200_000]))
        for repository, image in images.items():
            put(archive.store(repository), image, "1")
        size = archive.finish()
    assert size == carry(clean, images)
    check(path)


def test_two_runs_at_once(tmp_path: Path) -> None:
    """A second run does not write into the file of the first one."""
    path = tmp_path / "images.tar"
    first, second = NewArchive(path), NewArchive(path)
    with contextlib.closing(first), contextlib.closing(second):
        first.prepare()
        with pytest.raises(errors.InvalidArgument, match="another run"):
            second.prepare()


def test_planted_link(tmp_path: Path) -> None:
    """A link in the place of the unfinished file is not followed."""
    victim = tmp_path / "victim"
    victim.write_text("keep")
    (tmp_path / "images.tar.partial").symlink_to(victim)
    archive = NewArchive(tmp_path / "images.tar")
    with contextlib.closing(archive), pytest.raises(errors.AccessDenied):
        archive.prepare()
    assert victim.read_text() == "keep"


# --- what is left out


@pytest.mark.parametrize("part_size", [0, 1024])
def test_nothing_was_written(tmp_path: Path, part_size: int) -> None:
    """A run that is refused before it writes leaves no file."""
    archive = NewArchive(tmp_path / "images.tar", part_size=part_size)
    with contextlib.closing(archive):
        archive.prepare()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part_size", [0, 2000])
def test_what_was_never_prepared(tmp_path: Path, part_size: int) -> None:
    """A run that ends before it begins to write leaves another's files."""
    path = tmp_path / "images.tar"
    begin(path, LAYER, part_size=part_size)
    files = sorted(os.listdir(tmp_path))
    NewArchive(path, part_size=part_size).close()
    assert sorted(os.listdir(tmp_path)) == files


def test_file_of_others(tmp_path: Path) -> None:
    """A run that is refused before it writes leaves what is not its own."""
    notes = tmp_path / "images.tar.partial"
    notes.write_text("my own notes\n" * 100)
    archive = NewArchive(tmp_path / "images.tar")
    with contextlib.closing(archive):
        archive.prepare()
    assert notes.read_text() == "my own notes\n" * 100


def test_left_out(tmp_path: Path) -> None:
    """A layer that the reader has is named, and not there."""
    path = tmp_path / "images.tar"
    archive = NewArchive(path)
    with contextlib.closing(archive):
        archive.leave_out(LAYER.descriptor, "ns/one")
        archive.leave_out(content.blob("unused").descriptor, "ns/one")
        for repository, image in (("ns/one", ONE), ("ns/two", TWO)):
            put(archive.store(repository), image, "1")
        size = archive.finish()
    whole = carry(tmp_path / "whole.tar", {"ns/one": ONE, "ns/two": TWO})
    assert size < whole - LAYER.descriptor.size
    with contextlib.closing(opened(path)) as found:
        store = found.store("ns/two")
        assert_missing(store, LAYER.descriptor)
        assert store.left_out(LAYER.descriptor) == ("ns/one",)
        assert set(found.contents.left_out) == {LAYER.descriptor.digest}
        with pytest.raises(errors.NotFound, match="left out") as caught:
            store.fetch(LAYER.descriptor)
        assert "--since" in str(caught.value.hint)


@pytest.mark.parametrize("prefix", ["", "below/"])
def test_copy_of_what_is_left_out(tmp_path: Path, prefix: str) -> None:
    """The engine finds a layer in the repository that the archive names."""
    path = tmp_path / "images.tar"
    archive = NewArchive(path)
    with contextlib.closing(archive):
        archive.leave_out(LAYER.descriptor, "ns/one")
        put(archive.store("ns/two"), TWO, "1")
        archive.finish()
    registry = Probed()
    put(registry.store(f"{prefix}ns/one"), ONE, "0")
    with contextlib.closing(opened(path)) as found:
        destination = registry.store(f"{prefix}ns/two")
        engine.copy(
            found.store("ns/two"), "1", destination, "1", observer=Observer()
        )
    for piece in TWO.pieces:
        assert read(destination, piece.descriptor) == piece.data


class Probed(MemoryRegistry):
    """A registry that has to be asked for each blob."""

    def store(self, repository: str) -> MemoryStore:
        return _Probed(self, repository)


class _Probed(MemoryStore):
    locate = None  # the power is taken away

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        assert repository
        return super().mount(descriptor, repository)


# --- archives of other tools


def foreign(
    path: Path, names: Mapping[str, str], *extra: str, **others: content.Image
) -> None:
    """Make an archive of one image as other tools make them.

    :param names: the annotations of its entry.
    :param extra: names of members that only some tools write.
    :param others: further images, by name.
    """
    entries = [{**ONE.descriptor.to_json(), "annotations": dict(names)}]
    for name, image in others.items():
        entry = image.descriptor.to_json()
        entries.append({**entry, "annotations": {REF_NAME: name}})
    members = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"manifests": entries}).encode(),
        **dict.fromkeys(extra, b"[]"),
    }
    for piece in {*ONE.pieces, *TWO.pieces}:
        encoded = piece.descriptor.digest.partition(":")[2]
        members[f"blobs/sha256/{encoded}"] = piece.data
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            added_to(tar, name, data)


def added_to(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("names", "extra"),
    [
        ({REF_NAME: "ns/one:1"}, ()),
        ({REF_NAME: "localhost/ns/one:1"}, ()),
        ({REF_NAME: "127.0.0.1:8787/ns/one:1"}, ()),
        (
            {REF_NAME: "1", "io.containerd.image.name": "quay.io/ns/one:1"},
            ("manifest.json", "repositories"),
        ),
    ],
)
def test_other_tools(
    tmp_path: Path, names: Mapping[str, str], extra: tuple[str, ...]
) -> None:
    """Archives of skopeo, podman, docker and containerd are read; the registry
    in the name of the image is left out.
    """
    path = tmp_path / "images.tar"
    foreign(path, names, *extra)
    with contextlib.closing(opened(path)) as archive:
        assert archive.repositories() == ["ns/one"]
        store = archive.store("ns/one")
        assert store.resolve("1") == ONE.descriptor
        for piece in ONE.pieces:
            assert read(store, piece.descriptor) == piece.data


@pytest.mark.parametrize("name", ["redis:latest", "redis:7", "localhost:1"])
def test_names_like_registries(tmp_path: Path, name: str) -> None:
    """Only what has a slash behind it is a registry."""
    path = tmp_path / "images.tar"
    foreign(path, {REF_NAME: name})
    repository, _, tag = name.partition(":")
    with contextlib.closing(opened(path)) as archive:
        assert archive.store(repository).resolve(tag) == ONE.descriptor


@pytest.mark.parametrize("name", ["", "1", "localhost/two"])
def test_some_without_names(tmp_path: Path, name: str) -> None:
    """An image without a name is left out, which is told, and others are not.

    docker writes such images when they are saved by ID.
    """
    path = tmp_path / "images.tar"
    foreign(path, {REF_NAME: "ns/one:1"}, **{name: TWO})
    warnings: list[str] = []
    with contextlib.closing(Archive(path, warnings.append)) as archive:
        assert archive.repositories() == ["ns/one"]
    (warning,) = warnings
    assert "in their names are left out (1), such as" in warning
    assert repr(name) in warning


def test_one_image_of_two_registries(tmp_path: Path) -> None:
    """It may have the same name in both."""
    path = tmp_path / "images.tar"
    foreign(
        path, {REF_NAME: "quay.io/ns/one:1"}, **{"here:5000/ns/one:1": ONE}
    )
    with contextlib.closing(opened(path)) as archive:
        assert archive.store("ns/one").resolve("1") == ONE.descriptor


def test_two_images_of_two_registries(tmp_path: Path) -> None:
    """Two with the same name are told, and how one gets another."""
    path = tmp_path / "images.tar"
    foreign(
        path, {REF_NAME: "quay.io/ns/one:1"}, **{"here:5000/ns/one:1": TWO}
    )
    with pytest.raises(
        errors.InvalidFile, match=r"two images .* ns/one:1"
    ) as told:
        opened(path)
    assert "oci-archive:COPY:REPOSITORY:TAG" in str(told.value.hint)


@pytest.mark.parametrize(
    "name", ["", "1", "localhost/one", "NS/one:1", "ns/one:b!"]
)
def test_other_names(tmp_path: Path, name: str) -> None:
    """An image without a repository or a tag in its name is told, and how it
    gets one.
    """
    path = tmp_path / "images.tar"
    foreign(path, {REF_NAME: name} if name else {})
    with pytest.raises(errors.InvalidFile, match="not REPOSITORY:TAG") as told:
        opened(path)
    assert repr(name) in str(told.value)
    assert "oci-archive:COPY:REPOSITORY:TAG" in str(told.value.hint)


@pytest.mark.parametrize(
    "manifests", [None, 7, [None], [{"annotations": {REF_NAME: "ns/one:1"}}]]
)
def test_damaged_index_of_another_tool(
    tmp_path: Path, manifests: object
) -> None:
    """An index that is not as specified is told as such."""
    path = tmp_path / "images.tar"
    foreign(path, {REF_NAME: "ns/one:1"})
    index = json.dumps({"manifests": manifests}).encode()
    rewritten(path, replaced("index.json", index))
    assert "index.json: not as specified" in refused(path)


def test_other_tools_without_a_layout(tmp_path: Path) -> None:
    """An index alone makes no archive."""
    path = tmp_path / "images.tar"
    foreign(path, {REF_NAME: "ns/one:1"})
    rewritten(path, dropped("oci-layout"))
    assert "no oci-layout: no archive of images" in refused(path)


def test_archive_of_docker(tmp_path: Path) -> None:
    """The older format of docker is no archive here; the hint says how it
    becomes one.
    """
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as tar:
        added_to(tar, "0c36f40e1510.json", b"{}")
        added_to(tar, "manifest.json", b"[]")
    with pytest.raises(errors.InvalidFile, match="no part of") as told:
        opened(path)
    assert "skopeo copy" in str(told.value.hint)


# --- hostile archives

Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def rewritten(path: Path, change: Change) -> None:
    """Change the members of an archive."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))


def added(name: str, data: bytes = b"x", **fields: object) -> Change:
    """Add a member."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    return lambda members: members.insert(0, (member, data))


def replaced(name: str, data: bytes) -> Change:
    """Give a member another content."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for number, (member, _) in enumerate(members):
            if member.name == name:
                member.size = len(data)
                members[number] = (member, data)

    return change


def dropped(pattern: str) -> Change:
    """Take the first member with a name like this away."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        (one, *_) = [m for m in members if re.match(pattern, m[0].name)]
        members.remove(one)

    return change


def doubled(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append(members[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (added("evil", b"", type=tarfile.SYMTYPE, linkname="/etc"), "regular"),
        (added("evil", b"", type=tarfile.LNKTYPE, linkname="x"), "regular"),
        (added("evil", b"", type=tarfile.FIFOTYPE), "regular"),
        (added("evil", b"", type=tarfile.CHRTYPE), "regular"),
        (added("evil", b"x", type=tarfile.XHDTYPE), "regular"),
        (added("evil"), "no part of an archive"),
        (added("../evil"), "no part of an archive"),
        (added("/etc/passwd"), "no part of an archive"),
        (added("blobs/sha256/../../evil"), "no part of an archive"),
        (added("blobs/sha256/" + "g" * 64), "no part of an archive"),
        (added("n" * 2000), "a name of 2001 characters"),
        (doubled, "is there twice"),
        (dropped("blobs/"), "missing"),
        (dropped("index.json"), "no index.json"),
        (dropped("SHA256SUMS"), "no SHA256SUMS"),
        (dropped("carried.json"), "no carried.json"),
        (replaced("index.json", b"{}"), "index.json: its checksum is wrong"),
        (replaced("carried.json", b"[]"), "its checksum is wrong"),
        (replaced("SHA256SUMS", b""), "its checksum is wrong"),
    ],
)
def test_hostile_members(path: Path, change: Change, reason: str) -> None:
    """Whatever is not as run --carry writes it refuses the whole archive."""
    rewritten(path, change)
    assert reason in refused(path)


def test_repacked(path: Path) -> None:
    """An archive that was unpacked and packed again is read."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        folder = tarfile.TarInfo("./blobs")
        folder.type = tarfile.DIRTYPE
        for member, _ in members:
            member.name = f"./{member.name}"
        members.reverse()
        members.insert(0, (folder, b""))

    rewritten(path, change)
    check(path)


@pytest.mark.parametrize(
    "index",
    [
        b"[]",
        b'{"manifests": [{}]}',
        b'{"manifests": 1}',
        b"{",
        b'{"manifests": [{"mediaType": "x", "digest": "sha256:'
        + b"0" * 64
        + b'", "size": 1, "annotations": {}}]}',
    ],
)
def test_hostile_index(path: Path, index: bytes) -> None:
    """An index that names no images is refused although its sum is right."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        (old,) = [d for m, d in members if m.name == "index.json"]
        (sums,) = [d for m, d in members if m.name == "SHA256SUMS"]
        for name, data in (
            ("index.json", index),
            (
                "SHA256SUMS",
                sums.replace(
                    hashlib.sha256(old).hexdigest().encode(),
                    hashlib.sha256(index).hexdigest().encode(),
                ),
            ),
        ):
            replaced(name, data)(members)

    rewritten(path, change)
    assert "index.json" in refused(path)


def sizes(path: Path) -> Iterator[int]:
    """Lengths to which a file may be cut."""
    size = path.stat().st_size
    yield from (0, 1, 511, 512, 700, size // 2, size - 1025, size - 1024)
    yield from (size - 513, size - 512, size - 1)


def test_truncated(path: Path) -> None:
    """An archive without its end is refused, wherever it was cut."""
    whole = path.read_bytes()
    for size in list(sizes(path)):
        path.write_bytes(whole[:size])
        assert "truncated" in refused(path)


def test_wrong_content(path: Path) -> None:
    """A blob whose bytes have changed is refused when it is read."""
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        member = tar.getmember(
            f"blobs/sha256/{LAYER.descriptor.digest.partition(':')[2]}"
        )
    data[member.offset_data] ^= 1
    path.write_bytes(data)
    with contextlib.closing(opened(path)) as archive:
        store = archive.store("ns/one")
        with pytest.raises(errors.DigestMismatch):
            read(store, LAYER.descriptor)


@pytest.mark.parametrize("damage", ["missing", "short", "middle", "fifo"])
def test_damaged_parts(tmp_path: Path, damage: str) -> None:
    """Parts that are not all there are refused by name."""
    path = tmp_path / "images.tar"
    carry(path, {"ns/one": ONE, "ns/two": TWO}, 4096)
    part = tmp_path / "images.tar.001"
    if damage == "missing":
        part.unlink()
        assert "truncated" in refused(path)
    elif damage == "short":
        os.truncate(part, 100)
        assert "images.tar.001: 100 bytes" in refused(path)
    elif damage == "middle":
        first = tmp_path / "images.tar.000"
        os.truncate(first, 5000)
        assert "while the first part has 5000" in refused(path)
    else:
        part.unlink()
        os.mkfifo(part)
        assert "images.tar.001: not a regular file" in refused(path)


def test_no_tar(tmp_path: Path) -> None:
    """Any other file is refused in one line."""
    path = tmp_path / "images.tar"
    assert "no such file" in refused(path)
    path.write_bytes(b"no tar at all" * 100)
    assert "no tar" in refused(path)
    path.write_bytes(bytes(4096))
    assert "no archive of images" in refused(path)
    path.unlink()
    path.mkdir()
    assert "not a regular file" in refused(path)
