"""Pushes of disk images to one tag."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.baremetal import artifact
from imageprep_client.baremetal.artifact import ArtifactFile
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing.registry import RegistryServer
from tests import disk_bytes


class _Interrupted(MemoryStore):
    """A store where something happens while the first disk is pushed."""

    happens: Callable[[], object] | None = None

    def push(self, expected: Descriptor, content: base.Content) -> None:
        super().push(expected, content)
        if not expected.is_manifest and expected.size > 2 and self.happens:
            happens, self.happens = self.happens, None
            happens()


@pytest.fixture(autouse=True)
def settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registries of the tests answer at once."""
    monkeypatch.setattr(artifact, "_SETTLED", 0.2)


@pytest.fixture
def store() -> _Interrupted:
    return _Interrupted(MemoryRegistry(), "os/base")


def disk(directory: Path, architecture: str) -> ArtifactFile:
    path = directory / f"{architecture}.raw"
    sectors = (2048, 4095 if architecture == "amd64" else 4000)
    path.write_bytes(disk_bytes.gpt(4 * 1024**2, [sectors]))
    return ArtifactFile("disk", str(path), architecture)


def architectures(store: MemoryStore) -> list[str]:
    with store.fetch(store.resolve("v1")) as content:
        entries = json.loads(content.read())["manifests"]
    return [entry["platform"]["architecture"] for entry in entries]


def test_second_architecture(store: _Interrupted, tmp_path: Path) -> None:
    """A push for another architecture adds to the index."""
    for architecture in ("arm64", "amd64"):
        artifact.push([disk(tmp_path, architecture)], store, "v1", Observer())
    assert architectures(store) == ["amd64", "arm64"]


@pytest.mark.parametrize("status", [403, 404, 501])
def test_head_is_refused(tmp_path: Path, status: int) -> None:
    """Entries stay in a registry that refuses HEAD and allows GET."""
    with RegistryServer() as server, RegistryClient() as client:
        server.fail("HEAD", status=status, times=None)
        for architecture in ("arm64", "amd64"):
            store = client.destination(server.host, "os/base")
            files = [disk(tmp_path, architecture)]
            artifact.push(files, store, "v1", Observer())
        pushed = server.content.store("os/base")
        assert architectures(pushed) == ["amd64", "arm64"]


def test_two_at_once(store: _Interrupted, tmp_path: Path) -> None:
    """A push that ends while another one sends its files is not lost."""
    files = [disk(tmp_path, "amd64")], [disk(tmp_path, "arm64")]
    store.happens = lambda: artifact.push(files[1], store, "v1", Observer())
    artifact.push(files[0], store, "v1", Observer())
    assert architectures(store) == ["amd64", "arm64"]


def test_two_that_saw_the_same_index(
    store: _Interrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push whose entry is overwritten after it was there writes it again."""
    both_have_read = threading.Barrier(2)
    make = artifact._index

    def delayed(
        pieces: Sequence[artifact._Piece], existing: Sequence[Descriptor]
    ) -> bytes:
        if not existing:
            both_have_read.wait(10)
        return make(pieces, existing)

    monkeypatch.setattr(artifact, "_index", delayed)
    with ThreadPoolExecutor() as threads:
        pushes = [
            threads.submit(
                artifact.push,
                [disk(tmp_path, architecture)],
                store,
                "v1",
                Observer(),
            )
            for architecture in ("amd64", "arm64")
        ]
        for push in pushes:
            push.result()
    assert architectures(store) == ["amd64", "arm64"]


def test_tag_of_an_image(store: _Interrupted, tmp_path: Path) -> None:
    """A tag that names an image is refused before a byte is sent."""
    image = b'{"schemaVersion": 2}'
    descriptor = Descriptor.of(
        image, "application/vnd.oci.image.manifest.v1+json"
    )
    store.push(descriptor, io.BytesIO(image))
    store.tag(descriptor, "v1")
    sent: list[bool] = []
    store.happens = lambda: sent.append(True)
    with pytest.raises(errors.InvalidArgument, match="not an index"):
        artifact.push([disk(tmp_path, "amd64")], store, "v1", Observer())
    assert not sent


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        lzma.compress,
        bz2.compress,
        lambda content: b"\x28\xb5\x2f\xfd" + content,
        lambda content: b"\x04\x22\x4d\x18" + content,
        lambda content: b"PK\x03\x04" + content,
    ],
)
def test_compressed_disk(
    store: _Interrupted, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """It is refused: Ironic would write it to a node as it is."""
    file = disk(tmp_path, "amd64")
    path = Path(file.path)
    path.write_bytes(compress(path.read_bytes()))
    with pytest.raises(errors.InvalidFile, match="is compressed") as caught:
        artifact.push([file], store, "v1", Observer())
    assert str(caught.value.hint).startswith("decompress it first: ")
