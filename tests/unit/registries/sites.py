"""Registries to look after, and what should be left of them."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from imageprep_client.heat.parameters import PrepareParameters
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes, referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.registries import pruning, verification
from imageprep_client.registries.registry import Registry
from imageprep_client.registries.verification import BlobCheck
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.memory import MemoryStore
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content

HOST = "uc.example.com:8787"


class Remote:
    """All of a registry over HTTP."""

    def __init__(self, client: RegistryClient, host: str) -> None:
        self._client, self._host = client, host

    def repositories(self) -> list[str]:
        return self._client.catalog(self._host).repositories()

    def store(self, repository: str) -> base.Store:
        return self._client.store(self._host, repository)


class Mute:
    """A repository that shows nothing but what is asked for by name."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.registry, self.repository = inner.registry, inner.repository
        self.resolve, self.exists = inner.resolve, inner.exists
        self.fetch, self.push, self.tag = inner.fetch, inner.push, inner.tag


def put(store: base.Store, pieces: Iterable[content.Piece]) -> None:
    """Push pieces; what the registry has elsewhere is linked."""
    for piece in pieces:
        blob = not piece.descriptor.is_manifest
        if not (
            blob
            and isinstance(store, base.Mounts)
            and store.mount(piece.descriptor, None)
        ):
            store.push(piece.descriptor, piece.open())


def add(store: base.Store, image: content.Image, *tags: str) -> Descriptor:
    """Push an image and tag it; its descriptor."""
    put(store, image.pieces)
    for tag in tags:
        store.tag(image.descriptor, tag)
    return image.descriptor


def made(seed: str, created: object) -> content.Image:
    """An image with this time in its config."""
    document = {"author": seed, "created": created}
    return configured(seed, json.dumps(document).encode())


def configured(seed: str, data: bytes) -> content.Image:
    """An image whose config is these bytes."""
    config = content.piece(data, mediatypes.OCI_CONFIG)
    return content.image(seed, [content.blob(seed)], config=config)


def verify(
    registry: Registry,
    *,
    blobs: BlobCheck = BlobCheck.DIGESTS,
    diff_ids: bool = False,
    observer: Observer | None = None,
) -> verification.Verdict:
    return verification.verify(
        registry,
        blobs=blobs,
        diff_ids=diff_ids,
        concurrency=3,
        observer=observer or Observer(),
    )


def found(registry: Registry, **options: Any) -> set[tuple[str, ...]]:
    """The problems that a verification names, without the tags."""
    return {
        (p.repository, p.name, p.problem)
        for p in verify(registry, **options).problems
    }


def prune(
    registry: Registry,
    path: Path,
    *names: str,
    keep_last: int = 0,
    dry_run: bool = False,
    is_here: Callable[[str], bool] = HOST.__eq__,
    observer: Observer | None = None,
) -> pruning.PruneResult:
    """Prune all but what an environment with these names says."""
    files = []
    if names:
        environment = path / "environment.yaml"
        environment.write_text(
            yaml.safe_dump(
                {
                    "parameter_defaults": {
                        f"Container{number}Image": name
                        for number, name in enumerate(names)
                    }
                }
            )
        )
        files = [str(environment)]

    def open_registry(parameters: PrepareParameters) -> Registry:
        return registry

    return pruning.prune(
        pruning.PruneRequest(
            environment_files=files,
            keep_last=keep_last,
            dry_run=dry_run,
            concurrency=3,
        ),
        open_registry=open_registry,
        is_here=lambda _, name: is_here(name),
        observer=observer or Observer(),
    )


@dataclasses.dataclass
class Item:
    """One tagged image of a random site.

    :ivar digests: everything that is kept with it.
    :ivar whole: the descriptors that must hold as long as it is kept.
    """

    repository: str
    tag: str
    digest: str
    digests: set[str]
    whole: list[Descriptor]

    def name(self, by_digest: bool) -> str:
        mark = f"@{self.digest}" if by_digest else f":{self.tag}"
        return f"{HOST}/{self.repository}{mark}"


class RandomSite:
    """A tree of images, indexes and artifacts that share blobs."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.tree = ImageServeTree(directory / "tree")
        self.items: list[Item] = []
        self._layers = [content.blob(f"{seed}/{n}", 500) for n in range(6)]
        for repository in ("ns/a", "ns/b", "c"):
            for number in range(self.random.randint(1, 4)):
                self._add(repository, f"{seed}/{repository}/{number}", number)

    def _image(self, name: str) -> content.Image:
        shared = self.random.sample(self._layers, 2)
        return content.image(
            name,
            [*shared, content.blob(name, 700)],
            algorithm=self.random.choice(["sha256", "sha512"]),
        )

    def _add(self, repository: str, name: str, number: int) -> None:
        store = self.tree.store(repository)
        kind = self.random.choice(["image", "index", "sparse"])
        if kind == "image":
            image = self._image(name)
            pieces, whole = list(image.pieces), [image.descriptor]
        else:
            platforms = ("linux/amd64", "linux/arm64")
            children = {p: self._image(f"{name}/{p}") for p in platforms}
            image = content.index(children)
            present = list(children.values())
            whole = [image.descriptor]
            if kind == "sparse":
                present = present[:1]
                whole = [child.descriptor for child in present]
            pieces = [p for child in present for p in child.pieces]
            pieces.append(image.manifest)
        put(store, pieces)
        tag = f"t{number}"
        store.tag(image.descriptor, tag)
        for depth in range(self.random.randint(0, 2)):
            subject = self.random.choice(whole)
            artifact = content.artifact(f"{name}/{depth}", subject)
            put(store, artifact.pieces)
            pieces += artifact.pieces
            whole.append(artifact.descriptor)
        if self.random.random() < 0.5:
            signature = content.image(f"{name}/signature")
            kind = self.random.choice(["sig", "att", "sbom"])
            name = referrers.tag_of(image.descriptor.digest)
            add(store, signature, f"{name}.{kind}")
            pieces += signature.pieces
            whole.append(signature.descriptor)
        self.items.append(
            Item(
                repository,
                tag,
                image.descriptor.digest,
                {p.descriptor.digest for p in pieces},
                whole,
            )
        )

    def digests(self) -> dict[str, set[str]]:
        """The content of each repository."""
        return {
            name: {h.digest for h in self.tree.stored_files(name).contents()}
            for name in self.tree.repositories_on_disk()
        }

    def size(self) -> int:
        """Bytes of blobs and manifests on the disk."""
        files = {
            stored.storage: stored.size
            for name in self.tree.repositories_on_disk()
            for stored in self.tree.stored_files(name).contents()
        }
        return sum(files.values())
