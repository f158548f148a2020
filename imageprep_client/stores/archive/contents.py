"""The indexes of an archive: ``index.json`` and ``carried.json``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import document as documents
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.layout import INDEX, REF_NAME, Index

CARRIED = "carried.json"
SUMS = "SHA256SUMS"
#: The annotation with the whole name of an image that docker or containerd
#: exports; the other one has its tag only.
_WHOLE_NAME = "io.containerd.image.name"
_RENAME = (
    "skopeo copy --all oci-archive:FILE[:NAME]"
    " oci-archive:COPY:REPOSITORY:TAG names it"
)
#: The documents of no real archive are larger together.
MAX_SIZE = 64 * 1024 * 1024
_VERSION = 1
_SIGNATURE = re.compile(
    r"signatures/([^@]+)@(sha256|sha512)=([0-9a-f]+)/signature-([1-9][0-9]{0,3})"
)


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A blob that an archive does not have, since its reader has it.

    :ivar repositories: those that the reader has it in, below the place that
        it copies images to.
    """

    size: int
    repositories: tuple[str, ...]


@dataclasses.dataclass(slots=True)
class Contents:
    """The images of an archive.

    :ivar tags: by repository, and by tag.
    :ivar roots: manifests that no tag names, by repository and digest.
    :ivar left_out: by digest.
    :ivar signatures: by repository and digest of the manifest.
    :ivar unnamed: names of images that are left out, as they have no
        repository or no tag.
    """

    tags: dict[str, dict[str, Descriptor]] = dataclasses.field(
        default_factory=dict
    )
    roots: dict[str, dict[str, Descriptor]] = dataclasses.field(
        default_factory=dict
    )
    left_out: dict[str, LeftOut] = dataclasses.field(default_factory=dict)
    signatures: dict[tuple[str, str], list[bytes]] = dataclasses.field(
        default_factory=dict
    )
    unnamed: list[str] = dataclasses.field(default_factory=list)

    @property
    def repositories(self) -> list[str]:
        """Their names, sorted."""
        return sorted({*self.tags, *self.roots})

    def named(self, repository: str) -> Iterator[Descriptor]:
        """The manifests of a repository that have entries of their own."""
        yield from self.tags.get(repository, {}).values()
        yield from self.roots.get(repository, {}).values()

    def all_named(self) -> Iterator[Descriptor]:
        """The same of all repositories."""
        for repository in self.repositories:
            yield from self.named(repository)

    def index(self) -> bytes:
        entries = [
            (f"{repository}:{tag}", descriptor)
            for repository, tags in sorted(self.tags.items())
            for tag, descriptor in sorted(tags.items())
        ]
        entries += [
            (f"{repository}@{digest}", descriptor)
            for repository, roots in sorted(self.roots.items())
            for digest, descriptor in sorted(roots.items())
        ]
        index = Index.empty()
        for name, descriptor in entries:
            index.add(descriptor, name)
        return index.render()

    def carried(self) -> bytes:
        return documents.dump(
            {
                "version": _VERSION,
                "images": [
                    {
                        "repository": repository,
                        "tag": tag,
                        "digest": descriptor.digest,
                    }
                    for repository, tags in sorted(self.tags.items())
                    for tag, descriptor in sorted(tags.items())
                ],
                "left_out": {
                    digest: {
                        "size": one.size,
                        "repositories": sorted(one.repositories),
                    }
                    for digest, one in sorted(self.left_out.items())
                },
            }
        )


def signature_name(repository: str, digest: str, number: int) -> str:
    """The name of the member that has a signature, as lookasides have it."""
    algorithm, _, encoded = digest.partition(":")
    return f"signatures/{repository}@{algorithm}={encoded}/signature-{number}"


def signature_of(name: str) -> tuple[str, str] | None:
    """The repository and manifest that a member has a signature of."""
    match = _SIGNATURE.fullmatch(name)
    if match is None:
        return None
    return match[1], f"{match[2]}:{match[3]}"


def parse(index: bytes, carried: bytes) -> Contents:
    """From both documents.

    :raises InvalidContent: when one is not as `Contents` makes it.
    """
    contents = Contents()
    try:
        for entry in documents.parse(index, INDEX)["manifests"]:
            descriptor = Descriptor.from_json(entry)
            _add(contents, descriptor, descriptor.annotations[REF_NAME])
        document = documents.parse(carried, CARRIED)
        if document["version"] != _VERSION:
            raise errors.InvalidContent(
                f"{CARRIED}: version {str(document['version'])[:20]} is not"
                f" supported, only {_VERSION}",
                hint="use the release of this program that made it",
            )
        for digest, one in document["left_out"].items():
            contents.left_out[digests.check(digest)] = _left_out(one)
    except (*errors.MALFORMED, errors.InvalidReference) as error:
        raise errors.InvalidContent(
            f"{INDEX} or {CARRIED}: not as specified:"
            f" {errors.structure(error)}"
        ) from None
    return contents


def parse_foreign(index: bytes) -> Contents:
    """From the index of an archive of another tool.

    The registry in the name of an image is left out, as in a place that a
    run writes.

    :raises InvalidContent: when it is no index, no image has a name with a
        repository and a tag, or two of different registries have the same.
    """
    contents = Contents()
    try:
        for entry in documents.parse(index, INDEX)["manifests"]:
            descriptor = Descriptor.from_json(entry)
            names = descriptor.annotations
            name = names.get(_WHOLE_NAME) or names.get(REF_NAME, "")
            registry, slash, path = name.partition("/")
            if not (slash and references.is_registry(registry)):
                path = name
            repository, _, tag = path.rpartition(":")
            if not (
                references.is_repository(repository) and references.is_tag(tag)
            ):
                contents.unnamed.append(name)
                continue
            known = contents.tags.get(repository, {}).get(tag)
            if known and known.digest != descriptor.digest:
                raise errors.InvalidContent(
                    f"{INDEX}: two images are named {path}, apart from their"
                    " registries",
                    hint=_RENAME,
                )
            if not known:
                _add(contents, descriptor, path)
    except (*errors.MALFORMED, errors.InvalidReference) as error:
        raise errors.InvalidContent(
            f"{INDEX}: not as specified: {errors.structure(error)}"
        ) from None
    if contents.unnamed and not contents.tags:
        raise errors.InvalidContent(
            f"{INDEX}: an image is named {contents.unnamed[0][:300]!r}, not"
            " REPOSITORY:TAG",
            hint=_RENAME,
        )
    return contents


def _add(contents: Contents, descriptor: Descriptor, name: str) -> None:
    """Add an entry under its name.

    :raises InvalidContent, InvalidReference: when the name is none, or there
        are two of it.
    """
    descriptor = dataclasses.replace(
        descriptor,
        annotations={
            key: value
            for key, value in descriptor.annotations.items()
            if key != REF_NAME
        },
    )
    repository, at, digest = name.partition("@")
    if at:
        of = contents.roots
        key = digests.check(digest)
    else:
        repository, _, tag = name.rpartition(":")
        of = contents.tags
        key = references.check_tag(tag)
    named = of.setdefault(references.check_repository(repository), {})
    if key in named or not descriptor.is_manifest:
        raise errors.InvalidContent(
            f"{INDEX}: {name}: there twice, or no image"
        )
    named[key] = descriptor


def _left_out(document: Mapping[str, Any]) -> LeftOut:
    size, names = document["size"], document["repositories"]
    if not isinstance(size, int) or not isinstance(names, list):
        raise TypeError("left_out")
    return LeftOut(size, tuple(map(references.check_repository, names)))
