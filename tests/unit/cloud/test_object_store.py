"""Lists of an object store that breaks the protocol."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Callable, Iterator

import openstack
import pytest

from imageprep_client import errors
from imageprep_client.cloud import object_store
from imageprep_client.cloud.object_store import ObjectContainer, ObjectStore
from tests import web

Page = Callable[[str], bytes]


@contextlib.contextmanager
def serving(page: Page) -> Iterator[ObjectStore]:
    """An object store whose lists are what `page` gives for a marker."""

    class Handler(web.QuietHandler):
        def do_GET(self) -> None:
            query = urllib.parse.urlsplit(self.path).query
            values = urllib.parse.parse_qs(query)
            self.answer(200, page(values.get("marker", [""])[0]))

    with (
        web.running(Handler) as url,
        openstack.connect(
            auth_type="none",
            endpoint=f"{url}/v1/account",
            load_yaml_config=False,
        ) as connection,
    ):
        yield ObjectStore.of(connection)


def names(*values: str) -> bytes:
    """A page with these names."""
    return json.dumps([{"name": value} for value in values]).encode()


@pytest.mark.parametrize(
    "page",
    [
        lambda marker: names("a", "b"),
        lambda marker: names("a", "a"),
        lambda marker: names("b", "a"),
        lambda marker: json.dumps([{"subdir": "a/"}]).encode(),
    ],
)
def test_list_that_repeats_itself(page: Page) -> None:
    """A list whose names do not grow has no end and is refused."""
    with (
        serving(page) as store,
        pytest.raises(errors.PlanError, match="has no end: it repeats 'a"),
    ):
        list(store.containers())


def test_list_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of ever new names ends at a bound."""
    monkeypatch.setattr(object_store, "_MAX_PAGES", 3)
    asked: list[str] = []

    def page(marker: str) -> bytes:
        asked.append(marker)
        return names(f"{marker}a")

    with (
        serving(page) as store,
        pytest.raises(errors.PlanError, match=r"plan p: .*over 3000 entries"),
    ):
        list(ObjectContainer(store, "p").names("history"))
    assert asked == ["", "a", "aa"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"name": 1}]',
        b'[{"name": ""}]',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_malformed_list(content: bytes) -> None:
    """An answer that is no list of names is refused in one line."""
    with (
        serving(lambda marker: content) as store,
        pytest.raises(errors.PlanError, match="object store gives no list"),
    ):
        list(store.containers())


def test_huge_page() -> None:
    """A page is read up to a bound."""
    with (
        serving(lambda marker: b" " * 17_000_000 + b"[]") as store,
        pytest.raises(errors.PlanError, match="object store gives no list"),
    ):
        list(store.containers())


def test_short_list() -> None:
    """Names come page after page until a page is empty."""
    with serving(lambda marker: b"" if marker else names("x", "é")) as store:
        assert list(store.containers()) == ["x", "é"]
