"""Runs between registries that fail in every way."""

from __future__ import annotations

import types

import pytest

from imageprep_client import retry
from tests import mixed_faults
from tests.functional import base

RUN = ("image-prepare", "run", "-e", "env.yaml", "--template-file", "table.j2")


def prepare(openstack: base.OpenStack, site: mixed_faults.Site) -> None:
    """Write the files of the run."""
    (openstack.home / "env.yaml").write_text(site.environment)
    (openstack.home / "table.j2").write_text(site.table)


def test_all_kinds_at_once(openstack: base.OpenStack) -> None:
    """All images arrive whole through faults of all kinds on both sides."""
    with mixed_faults.site(rate=0.03, stall=60, seed=1, images=3) as site:
        prepare(openstack, site)
        openstack(*RUN, stderr=r"[\s\S]*")
        assert not site.lacking()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/current"), ("PUT", "/manifests/")]
)
def test_an_image_that_takes_too_long(
    openstack: base.OpenStack,
    method: str,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image fails at its timeout, with the last cause; others do not."""
    # The first pause is longer than the time: nothing else takes so long.
    pauses = types.SimpleNamespace(uniform=lambda low, high: 60.0)
    monkeypatch.setattr(retry, "random", pauses)
    with mixed_faults.site(rate=0, stall=0, seed=0, images=2) as site:
        prepare(openstack, site)
        for server in site.servers:
            server.fail(method, f"image-00.*{path}", status=503, times=None)
        openstack(
            *(*RUN, "--keep-going", "--image-timeout", "30"),
            status=1,
            stderr=r"[\s\S]*image-00:[^\n]* not done within 30 s"
            r" \(--image-timeout\); the last failure: [^\n]* 503[\s\S]*",
        )
        assert site.lacking() == ["faulty/image-00"]
