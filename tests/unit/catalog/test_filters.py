"""The filters over a table, in their order."""

import re

import pytest

from imageprep_client.catalog import TableImage, filters


def entry(image="r.io/ns/nova-api:t", *services):
    return TableImage(image, "x", (), frozenset(services))


@pytest.mark.parametrize(
    ("needs", "enabled", "passes"),
    [
        (["A", "B"], {"B", "C"}, True),
        (["A"], {"B"}, False),
        (["A"], set(), False),
        ([], {"B"}, False),
        ([], None, True),
        (["A"], None, True),
    ],
)
def test_services(needs, enabled, passes):
    """One enabled service is enough; None filters nothing."""
    assert filters.serves(entry("r.io/x:t", *needs), enabled) is passes


@pytest.mark.parametrize(
    ("includes", "excludes", "passes"),
    [
        ([], [], True),
        (["nova"], [], True),
        (["glance", "nova-.pi"], [], True),
        (["glance"], [], False),
        ([], ["nova"], False),
        ([], ["glance"], True),
        ([], ["glance", ":t$"], False),
        (["nova"], ["nova"], True),
        (["glance"], ["glance"], False),
        (["^r\\.io"], [], True),
    ],
)
def test_patterns(includes, excludes, passes):
    """They are searched in the whole name; includes are over excludes."""
    patterns = [[re.compile(p) for p in x] for x in (includes, excludes)]
    assert filters.matches(entry(), *patterns) is passes


def test_select():
    """Images that pass every filter are left, in the table's order."""
    table = [
        entry("r.io/a:t", "X"),
        entry("r.io/b:t", "Y"),
        entry("r.io/c:t", "X"),
        entry("r.io/d:t", "X"),
    ]
    found = filters.select(table, {"X"}, (), ["/c"])
    assert [e.image for e in found] == ["r.io/a:t", "r.io/d:t"]


def test_service_filter_is_first():
    """An include does not bring back what no service needs."""
    assert not filters.select([entry()], {"X"}, ["nova"])
