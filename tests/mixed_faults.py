"""Two registries with faults of all kinds at once, and images between them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from imageprep_client.stores import verify
from imageprep_client.testing import images as samples
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer

TAG, VERSION, LABEL = "current", "1.0-7", "version"
_NAMESPACE = "faulty"
_USER, _PASSWORD = "me", "pw"
_LATENCY = 0.7
#: Bytes of an answer to GET before it is cut, and where a byte is changed.
_CUT, _CORRUPT = 150, 120
_WRONG_DIGEST = json.dumps({"errors": [{"code": "DIGEST_INVALID"}]}).encode()
#: Seconds that a token is good for.
_TOKEN = 5.0


def faults(rate: float, stall: float) -> list[Fault]:
    """Each kind of fault, with some part of the requests.

    :param rate: the part of each kind.
    :param stall: seconds for which a server says nothing.
    """

    def fault(method: str = "", share: float = 1, **what: Any) -> Fault:
        return Fault(method, times=None, chance=rate * share, **what)

    return [
        fault(delay=_LATENCY),
        *(fault(share=1 / 4, status=s) for s in (500, 502, 503, 504)),
        fault(share=1 / 2, status=429),
        fault(share=1 / 2, status=429, headers={"Retry-After": "1"}),
        fault(reset=True),
        fault("GET", truncate=_CUT),
        *(fault(share=1 / 2, length_error=n) for n in (-9, 9)),
        fault(share=1 / 2, delay=stall),
        fault("GET", share=1 / 2, drip=stall),
        fault("GET", path="/manifests/", corrupt=_CORRUPT),
        fault("GET", path="/blobs/", corrupt=_CORRUPT),
        fault("PUT", path="/uploads/", status=400, body=_WRONG_DIGEST),
    ]


class Site:
    """A source with images and an empty destination, both faulty.

    :ivar servers: both.
    :ivar environment: for ``image-prepare run``, as YAML.
    :ivar table: the table of the images, likewise.
    """

    def __init__(
        self, source: RegistryServer, destination: RegistryServer, count: int
    ) -> None:
        names = [f"image-{number:02}" for number in range(count)]
        found = samples.overcloud(
            {f"{_NAMESPACE}/{name}": (TAG, VERSION) for name in names},
            unique_bytes=count * 60_000,
            labels={LABEL: VERSION},
        )
        samples.write(found.images, source.content.store)
        self._images = found.images
        self.servers = (source, destination)
        entry = {
            "push_destination": destination.host,
            "tag_from_label": LABEL,
            "set": {"namespace": f"{source.host}/{_NAMESPACE}", "tag": TAG},
        }
        login = {_USER: _PASSWORD}
        self.environment = json.dumps(
            {
                "parameter_defaults": {
                    "ContainerImagePrepare": [entry],
                    "ContainerImageRegistryCredentials": {
                        source.host: login,
                        destination.host: login,
                    },
                }
            }
        )
        rows = [
            {
                "imagename": f"{{{{namespace}}}}/{name}:{{{{tag}}}}",
                "image_source": "faulty",
                "params": [f"Container{number}Image"],
            }
            for number, name in enumerate(names)
        ]
        self.table = json.dumps({"container_images_template": rows})

    def lacking(self) -> list[str]:
        """The images that are not whole at the destination."""
        return [
            image.repository
            for image in self._images
            if not self._is_whole(image)
        ]

    def _is_whole(self, image: samples.GeneratedImage) -> bool:
        store = self.servers[1].content.store(image.repository)
        if VERSION not in store.tags():
            return False
        root = store.resolve(VERSION)
        return root == image.descriptor and verify.holds(store, root)


@contextlib.contextmanager
def site(
    *, rate: float, stall: float, seed: int, images: int
) -> Iterator[Site]:
    """The registries, until the end of the block."""
    with contextlib.ExitStack() as stack:
        source, destination = (
            stack.enter_context(
                RegistryServer(
                    gate=Bearer(
                        _USER, _PASSWORD, lifetime=_TOKEN, says_lifetime=_TOKEN
                    ),
                    seed=2 * seed + number,
                )
            )
            for number in range(2)
        )
        made = Site(source, destination, images)
        for server in made.servers:
            for fault in faults(rate, stall):
                server.faults.add(fault)
        yield made
