"""Registries that misbehave in up to 30 % of their answers, on every verb.

Whatever they do, a run ends with everything right.
"""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client.client.registry_options import CONCURRENCY
from imageprep_client.observer import Observer
from imageprep_client.oci.manifest import Manifest
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import images
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer, Open
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.transfer import engine, graph, stream
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.copies import Copy
from tests.recorder import Recorder

_TAG = "17.1"
_SHARE = 0.3
#: Enough attempts for no chance to use them up: of a thousand requests, each
#: tried seven times, some would fail each time.
_MANY = {"attempts": 40, "few": 40, "same": 40}
_POLICY = RetryPolicy(base=0.001, cap=0.01, **_MANY)
#: Some layers are streamed, some are small enough to be sent again.
SAMPLE = images.ImageSet(
    (
        *images.overcloud(
            {f"ns/image-{number:02}": [_TAG] for number in range(6)},
            unique_bytes=3_000_000,
            signed=True,
        ).images,
        images.random_image(
            "large", repository="ns/large", tags=[_TAG], size=3_000_000
        ),
    )
)


def _in_a_moment() -> str:
    return email.utils.formatdate(time.time() + 0.5, usegmt=True)


def _status(status: int, after: Callable[[], str] | None = None) -> Fault:
    headers = {"Retry-After": after()} if after else {}
    return Fault(status=status, headers=headers, times=None, chance=_SHARE)


#: Each makes what goes wrong; a status comes before anything is done, all
#: else may come after it.
KINDS: dict[str, Callable[[], list[Fault]]] = {
    "500": lambda: [_status(500)],
    "502": lambda: [_status(502)],
    "503": lambda: [_status(503)],
    "503 with a pause": lambda: [_status(503, lambda: "0")],
    "429": lambda: [_status(429)],
    "429 with seconds": lambda: [_status(429, lambda: "0")],
    "429 with a date": lambda: [_status(429, _in_a_moment)],
    "reset": lambda: [Fault(reset=True, times=None, chance=_SHARE)],
    "cut short": lambda: [Fault(truncate=100, times=None, chance=_SHARE)],
    "cut late": lambda: [Fault(truncate=1_500_000, times=None, chance=_SHARE)],
    "too long a length": lambda: [
        Fault(method=method, length_error=7, times=None, chance=_SHARE)
        for method in ("GET", "POST", "PUT")
    ],
    "too short a length": lambda: [
        Fault(
            method="GET",
            path="/(blobs|manifests)/",
            length_error=-7,
            times=None,
            chance=_SHARE,
        )
    ],
    "a wrong byte": lambda: [Fault(corrupt=50, times=None, chance=_SHARE)],
    "slow": lambda: [Fault(delay=0.05, times=None, chance=_SHARE)],
    "all of it": lambda: [
        _share(fault, 0.04)
        for name, make in KINDS.items()
        if name not in ("all of it", "429 with a date")
        for fault in make()
    ],
}


def _share(fault: Fault, chance: float) -> Fault:
    fault.chance = chance
    return fault


def copy(
    host: str,
    destination: Callable[[str], base.Store],
    registries: RegistryClient,
    observer: Observer,
) -> list[engine.CopyResult]:
    """Copy the sample as a run does."""
    return engine.copy_all(
        [
            Copy(
                name=image.repository,
                source=registries.store(host, image.repository),
                reference=_TAG,
                destination=destination(image.repository),
                tag=_TAG,
                referrers=ReferrersPolicy.COPY,
            )
            for image in SAMPLE.images
        ],
        observer=observer,
        concurrency=CONCURRENCY,
    )


def check(
    outcomes: list[engine.CopyResult], destination: Callable[[str], base.Store]
) -> None:
    """All images are there with all their bytes, and what they are is so."""
    assert [str(o.error) for o in outcomes if o.error] == []
    for image in SAMPLE.images:
        store = destination(image.repository)
        assert store.resolve(_TAG).digest == image.descriptor.digest
        parts: list[images.Blob | Manifest] = [*image.blobs, *image.manifests]
        for part in parts:
            digest = hashlib.sha256()
            with store.fetch(part.descriptor) as content:
                while data := content.read(base.CHUNK):
                    digest.update(data)
            assert f"sha256:{digest.hexdigest()}" == part.descriptor.digest


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> RetryPolicy:
    """Reads that are repeated as a whole get as many attempts."""
    for module in (graph, stream):
        patient = dataclasses.replace(module._POLICY, **_MANY)
        monkeypatch.setattr(module, "_POLICY", patient)
    return _POLICY


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    """A registry with the sample."""
    with RegistryServer() as server:
        images.write(SAMPLE.images, server.content.store)
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_source(
    source: RegistryServer, policy: RetryPolicy, kind: str, tmp_path: Path
) -> None:
    """The source misbehaves; the tree has everything in the end."""
    for fault in KINDS[kind]():
        source.faults.add(fault)
    observer = Recorder()
    tree = ImageServeTree(tmp_path / "tree")
    with RegistryClient(
        policy=policy, observer=observer, concurrency=CONCURRENCY
    ) as registries:
        outcomes = copy(source.host, tree.store, registries, observer)

    check(outcomes, tree.store)
    assert observer.retries or kind in ("slow", "cut late")


@pytest.mark.parametrize("kind", KINDS)
def test_destination(
    source: RegistryServer, policy: RetryPolicy, kind: str
) -> None:
    """The destination misbehaves; it has everything in the end."""
    copy_to_faults(source, policy, KINDS[kind]())


def copy_to_faults(
    source: RegistryServer,
    policy: RetryPolicy,
    faults: list[Fault],
    seed: int = 0,
) -> None:
    observer = Recorder()
    with (
        RegistryServer(faults=faults, seed=seed) as target,
        RegistryClient(
            policy=policy, observer=observer, concurrency=CONCURRENCY
        ) as registries,
    ):

        def store(repository: str) -> base.Store:
            return registries.store(target.host, repository)

        outcomes = copy(source.host, store, registries, observer)
        target.faults.clear()
        check(outcomes, target.content.store)


def test_both(source: RegistryServer, policy: RetryPolicy) -> None:
    """Both misbehave in every way at once."""
    for fault in KINDS["all of it"]():
        source.faults.add(fault)
    copy_to_faults(source, policy, KINDS["all of it"](), seed=1)


def test_attempts_of_the_product(source: RegistryServer) -> None:
    """The attempts that users get are enough for 3 % of wrong answers.

    The fewest are five, at the first request, and six, at each of some
    hundred reads: they are used up in less than one of a million runs.
    """
    for fault in KINDS["all of it"]():
        source.faults.add(_share(fault, 0.002))
    faults = [_share(fault, 0.002) for fault in KINDS["all of it"]()]
    copy_to_faults(source, RetryPolicy(base=0.001), faults, seed=1)


class Forgetful(Bearer):
    """Forgets the tokens that it admitted, after every few requests.

    A token that it never admitted stays: one that is refused when it is new
    gives no access, and no other is asked for.
    """

    def __init__(self, every: int) -> None:
        super().__init__("operator", "secret")
        self._every = every
        self._admitted: list[str] = []
        self._guard = threading.Lock()

    def admits(self, authorization: str, scope: str) -> bool:
        if not super().admits(authorization, scope):
            return False
        with self._guard:
            self._admitted.append(authorization)
            if len(self._admitted) == self._every:
                self.revoke(self._admitted)
                self._admitted.clear()
        return True


@pytest.mark.parametrize("guarded", ["source", "destination"])
def test_tokens_expire(guarded: str, policy: RetryPolicy) -> None:
    """Tokens end in the middle of blobs, which break as well."""
    gates: dict[str, Open] = {"source": Open(), "destination": Open()}
    gates[guarded] = Forgetful(every=50)
    cut = Fault(
        method="GET",
        path="/blobs/",
        truncate=1_500_000,
        times=None,
        chance=_SHARE,
    )
    observer = Recorder()
    with (
        RegistryServer(gate=gates["source"], faults=[cut]) as source,
        RegistryServer(gate=gates["destination"]) as target,
    ):
        images.write(SAMPLE.images, source.content.store)
        known = {
            server.host: ("operator", "secret") for server in (source, target)
        }
        with RegistryClient(
            Hosts(credentials=Credentials(known)),
            policy=policy,
            observer=observer,
            concurrency=CONCURRENCY,
        ) as registries:

            def store(repository: str) -> base.Store:
                return registries.store(target.host, repository)

            outcomes = copy(source.host, store, registries, observer)
        check(outcomes, target.content.store)
