"""An image of a machine: an OCI image of one layer, which is a file."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine.archives.packing import PackedRoot
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform, architecture
from imageprep_client.stores import base, verify

#: Media types of layers by their compression; OCI knows no other.
LAYERS = {
    "none": mediatypes.OCI_LAYER,
    "gz": mediatypes.OCI_LAYER_GZIP,
    "zst": mediatypes.OCI_LAYER_ZSTD,
}
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_FIELD = re.compile(r"(?P<key>[A-Z_]+)=[\"']?(?P<value>[^\"']*)[\"']?\s*")
#: Files that change when packages are installed or updated.
_PACKAGES = (
    "var/lib/dpkg/status",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    *_OS_RELEASE,
)
#: Programs that most roots have, which show the processor they are for.
_PROGRAMS = (
    "usr/bin/env",
    "usr/bin/busybox",
    "bin/busybox",
    "usr/bin/dpkg",
    "usr/bin/rpm",
    "bin/bash",
)
_MACHINES = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64"}
_MACHINES |= {183: "arm64", 243: "riscv64"}


@dataclasses.dataclass(frozen=True, slots=True)
class MachineFacts:
    """The description of a root by its own files.

    :ivar created: when its packages changed last, RFC 3339; it is the same
        at each export of the same root.
    """

    architecture: str
    created: str
    distro: str
    release: str

    @classmethod
    def of(cls, root: ReadableDirectory) -> MachineFacts:
        """Read the facts of a root; no symbolic link is followed."""
        fields: dict[str, str] = {}
        for path in _OS_RELEASE:
            text = (root.read(path, 65536) or b"").decode(errors="replace")
            for line in text.splitlines():
                if match := _FIELD.fullmatch(line):
                    fields.setdefault(match["key"], match["value"])
        return cls(
            _architecture(root),
            _created(root),
            fields.get("ID", ""),
            fields.get("VERSION_ID", ""),
        )


def _architecture(root: ReadableDirectory) -> str:
    for path in _PROGRAMS:
        head = root.read(path, 20) or b""
        if head.startswith(b"\x7fELF") and len(head) == 20:
            number = int.from_bytes(
                head[18:20], "big" if head[5] == 2 else "little"
            )
            if number in _MACHINES:
                return _MACHINES[number]
    return architecture(platform.machine())


def _created(root: ReadableDirectory) -> str:
    statuses = [root.status(path) for path in _PACKAGES]
    times = [status.st_mtime for status in statuses if status is not None]
    moment = datetime.datetime.fromtimestamp(
        int(max(times, default=0)), datetime.UTC
    )
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class MachineImage:
    """A store whose only content is the image.

    :param layer: the file with the packed root.
    :param labels: those of the config, beside what the root says of itself.
    :ivar manifest: its descriptor.
    """

    registry = "machine:"

    def __init__(
        self,
        layer: Path,
        packed: PackedRoot,
        media_type: str,
        facts: MachineFacts,
        labels: Mapping[str, str],
        repository: str,
    ) -> None:
        self.repository = repository
        self.layer = Descriptor(media_type, packed.digest, packed.size)
        self._path = layer
        known = {"distro": facts.distro, "release": facts.release, **labels}
        config = documents.dump(
            {
                "created": facts.created,
                "architecture": facts.architecture,
                "os": "linux",
                "config": {
                    "Labels": {k: v for k, v in sorted(known.items()) if v}
                },
                "rootfs": {"type": "layers", "diff_ids": [packed.diff_id]},
            }
        )
        described = Descriptor.of(config, mediatypes.OCI_CONFIG)
        manifest = documents.dump(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_MANIFEST,
                "config": described.to_json(),
                "layers": [self.layer.to_json()],
            }
        )
        self.manifest = Descriptor.of(manifest, mediatypes.OCI_MANIFEST)
        self._bytes = {
            described.digest: config,
            self.manifest.digest: manifest,
        }

    def __str__(self) -> str:
        return "the machine"

    def resolve(self, reference: str) -> Descriptor:
        if reference != self.manifest.digest:
            raise errors.NotFound(f"{self}: has no {reference}")
        return self.manifest

    def exists(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in {*self._bytes, self.layer.digest}

    def fetch(self, descriptor: Descriptor) -> base.Content:
        if descriptor.digest in self._bytes:
            content = self._bytes[descriptor.digest]
            return verify.from_bytes(content, descriptor)
        if descriptor.digest != self.layer.digest:
            raise errors.NotFound(f"{self}: has no {descriptor.digest}")
        return verify.VerifiedContent(self._path.open("rb"), descriptor)


def layer_of(
    store: base.ReadableStore, root: Descriptor
) -> tuple[Descriptor, Descriptor]:
    """The manifest and the one layer of an image of a machine.

    Of an index, the image for the processor of this host is taken.

    :raises InvalidContent: when it is no image of a machine.
    """
    manifest = verify.manifest(store, root)
    if manifest.is_index:
        here = Platform("linux", architecture(platform.machine()))
        images = [one for one in manifest.manifests if one.is_for(here)]
        if len(images) != 1:
            raise errors.InvalidContent(
                f"{store}@{root.digest}: has {len(images)} images for {here}"
            )
        (root,) = images
        manifest = verify.manifest(store, root)
    if len(manifest.layers) != 1 or manifest.is_index:
        raise errors.InvalidContent(
            f"{store}@{root.digest}: is no image of a machine, which has one"
            f" layer and not {len(manifest.layers)}"
        )
    (layer,) = manifest.layers
    if not layer.digest.startswith("sha256:"):
        raise errors.InvalidContent(
            f"{store}@{root.digest}: its layer has no SHA-256"
        )
    return root, layer
