"""The cost of verifying what is copied::

    python -m tests.benchmarks.policy [--size 512] [--runs 3] [--work DIR]

86 images, each with a sigstore signature in the registry, are copied into an
empty tree: by a run without a policy, and by one with a policy that requires
the signatures, in turns, neither with anything kept of earlier runs. The bar
for the ratio of the medians is 1.1. Exit status 1 when it is missed.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing.images import GeneratedImage
from tests import signing
from tests.benchmarks import site

_BAR = 1.1
_THREADS = 8


def _sign(source: site.Source) -> bytes:
    """Sign all images; gives the key."""
    key = signing.KINDS["ecdsa"]()
    with (
        RegistryClient(concurrency=_THREADS) as registries,
        ThreadPoolExecutor(_THREADS) as pool,
    ):

        def attach(image: GeneratedImage) -> None:
            signing.attach(
                registries.store(source.host, image.repository),
                key,
                f"{source.host}/{image.repository}",
                image.descriptor.digest,
            )

        list(pool.map(attach, source.images.images))
    return signing.public_bytes(key)


def _measure(work: pathlib.Path, size: int, runs: int) -> bool:
    """Whether the bar is met."""
    bench = site.Bench(work / "home", print)
    signing.use_attachments(work / "home")
    tree, key, policy = work / "tree", work / "key.pub", work / "policy.json"
    requirement = signing.sigstore(
        key, signedIdentity={"type": "matchRepository"}
    )
    policy.write_text(json.dumps({"default": [requirement]}))
    kinds = {
        "without a policy": (),
        "with a policy": ("--signature-policy", str(policy)),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with site.filled(work / "source", site.release(size)) as source:
        key.write_bytes(_sign(source))
        for _ in range(runs):
            for kind, words in kinds.items():
                shutil.rmtree(tree, ignore_errors=True)
                taken = bench.run(
                    *(kind, source.images, source.host, str(tree)), *words
                )
                seconds[kind].append(taken.seconds)
    without, verified = map(statistics.median, seconds.values())
    print(f"policy  {verified / without:.3f}  (bar {_BAR})")
    return verified / without <= _BAR


if __name__ == "__main__":
    sys.exit(site.measure(__doc__, _measure))
