"""Endless answers of a registry do not exhaust its client."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.lists import listing
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put

SUBJECT = content.image("bounds").descriptor
SPACES = " " * 60_000


@pytest.mark.parametrize("which", ["tags", "referrers"])
def test_huge_lists_are_not_read(
    server: RegistryServer, store: RegistryStore, which: str
) -> None:
    """No more than four megabytes are read of each page of a list."""
    server.fail("GET", f"/{which}/", body=b" " * (5 << 20), times=None)
    ask = {"tags": store.tags, "referrers": lambda: store.referrers(SUBJECT)}
    with pytest.raises(errors.ServerFault, match="over 4194304 bytes"):
        ask[which]()


def test_long_lists_end(
    server: RegistryServer,
    store: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages within their bounds are not added up without end."""
    monkeypatch.setattr(listing, "MAX_NAMES", 1)
    monkeypatch.setattr(listing, "MAX_REFERRERS", 1)
    content_store = server.content.store("ns/name")
    for tag in ("a", "b"):
        artifact = content.artifact(tag, SUBJECT)
        put(content_store, artifact, tag)
    with pytest.raises(errors.ServerFault, match="over 1 names"):
        store.tags()
    with pytest.raises(errors.InvalidContent, match="over 1 referrers"):
        store.referrers(SUBJECT)


def test_lists_are_bounded_as_a_whole(
    server: RegistryServer,
    store: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few names may be long: the bytes of all pages are added up."""
    monkeypatch.setattr(listing, "MAX_TOTAL", 1000)
    link = {"Link": '</v2/ns/name/tags/list?n=2>; rel="next"'}
    page = b'{"tags": ["%s"]}' % (b"x" * 600)
    server.fail("GET", "n=1000", body=page, headers=link)
    server.fail("GET", "n=2", body=page)
    with pytest.raises(errors.ServerFault, match="over 1000 bytes"):
        store.tags()


@pytest.mark.parametrize(
    "link",
    [f"</v2/>;{SPACES}", "<" * 60_000, "<x>" + ";a=" * 20_000],
    ids=["spaces", "brackets", "parameters"],
)
def test_links_are_read_in_time(
    server: RegistryServer, store: RegistryStore, link: str
) -> None:
    """A header is read once, however it is written."""
    server.fail("GET", "/tags/", body=b"{}", headers={"Link": link})
    assert not [*store.tags()]


@pytest.mark.parametrize(
    "challenge",
    [
        f"Bearer{SPACES}\x01",
        f"Bearer a={SPACES}",
        "Bearer " + "a," * 30_000,
        "Bearer " + ",".join(f"{n:x}=x" for n in range(8000)),
    ],
    ids=["spaces", "value", "parameters", "keys"],
)
def test_challenges_are_read_in_time(
    server: RegistryServer, store: RegistryStore, challenge: str
) -> None:
    """So is what a registry wants to know."""
    headers = {"WWW-Authenticate": challenge}
    server.fail(status=401, headers=headers, times=None)
    with pytest.raises(errors.AccessDenied):
        store.resolve("latest")
