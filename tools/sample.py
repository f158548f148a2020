"""Commands of tools/demo around the images of its sample overcloud.

::

    python tools/sample.py write TREE
    python tools/sample.py point ENVIRONMENT SOURCE DESTINATION
    python tools/sample.py pull IMAGE

``write`` fills a tree with an image for every name in the image table
of a release. ``point`` lets an environment name the registry SOURCE instead of
those on the internet, and push to DESTINATION. ``pull`` reads an image as any
client of a registry does, and checks all its digests.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import yaml

from imageprep_client import catalog
from imageprep_client.oci import mediatypes
from imageprep_client.oci.reference import Reference
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import images

#: What many run; tools/demo asks `default` for it.
RELEASE = "wallaby"
VERSION = "0f9e8d7c6b5a_42ab17e0"


def write(tree: str) -> None:
    """Make the images of an overcloud in a tree."""
    # A neutron driver has to be chosen; ovn is what a deployment gets.
    entries = catalog.load(RELEASE).render({"neutron_driver": "ovn"})
    references = [Reference.parse(entry.image) for entry in entries]
    sample = images.overcloud(
        {name.repository: (name.tag, VERSION) for name in references},
        labels={"rdo_version": VERSION},
    )
    home = ImageServeTree(tree)
    with home.lock(print):
        images.write(sample.images, home.store)
    megabytes = sample.unique_bytes / 1e6
    print(
        f"{len(sample.images)} images, {len(sample.blobs)} different blobs,"
        f" {megabytes:.0f} MB ({sample.naive_bytes / 1e6:.0f} MB if nothing"
        " were shared)"
    )


def point(environment: str, source: str, destination: str) -> None:
    """Change where an environment's images come from and go to."""
    path = pathlib.Path(environment)
    text = path.read_text()
    document = yaml.safe_load(text)
    # The header names the release.
    header = text.partition("parameter_defaults:")[0]
    defaults = catalog.load(RELEASE).values
    for entry in document["parameter_defaults"]["ContainerImagePrepare"]:
        values = {**defaults, **entry["set"]}
        for key, value in values.items():
            if key.endswith("namespace"):
                _, _, rest = value.partition("/")
                entry["set"][key] = f"{source}/{rest}"
        entry["push_destination"] = destination
    path.write_text(header + yaml.safe_dump(document))


def pull(image: str) -> None:
    """Read an image over plain HTTP; say what it is."""
    reference = Reference.parse(image)
    base = f"http://{reference.registry}/v2/{reference.repository}"
    content, digest = get(f"{base}/manifests/{reference.identifier}")
    check(digest, content)
    manifest = json.loads(content)
    parts: list[dict[str, Any]] = [manifest["config"], *manifest["layers"]]
    for part in parts:
        check(part["digest"], get(f"{base}/blobs/{part['digest']}")[0])
    total = sum(part["size"] for part in parts)
    print(f"{image}\n{digest}: {len(parts)} blobs, {total} bytes, all sound")


def get(url: str) -> tuple[bytes, str]:
    """The body of an answer, and the digest that its header names."""
    request = urllib.request.Request(  # noqa: S310 - http, see `pull`
        url, headers={"Accept": ", ".join(mediatypes.ACCEPT)}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read(), answer.headers["Docker-Content-Digest"]


def check(digest: str, content: bytes) -> None:
    """Stop when the content is not what its digest says."""
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if actual != digest:
        sys.exit(f"digest is {actual}, expected {digest}")


def main(command: str, arguments: list[str]) -> None:
    """Do what the command line says."""
    commands: dict[str, Callable[..., None]] = {
        "write": write,
        "point": point,
        "pull": pull,
    }
    commands[command](*arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
