"""Values with their place."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.heat.value import Value, describe


def test_error_names_place_and_kind_only():
    """The value itself, maybe a secret, is in no message and no repr."""
    value = Value({"password": 12345}, "f.yaml", "top").child("password", 9876)
    with pytest.raises(errors.InvalidFile) as caught:
        value.text()
    assert (
        str(caught.value)
        == "f.yaml: top.password: expected a string, found a number"
    )
    assert caught.value.key == "top.password"
    assert "9876" not in repr(value)


def test_names_of_control_characters():
    """A key with a line break still makes one line."""
    assert Value({}, "f").child("a\nb\x1b", None).key == "a\\nb\\x1b"


def test_key_of_a_top_level_list():
    """The key of an element is its index."""
    assert [element.key for element in Value([1, 2], "f").elements()] == [
        "[0]",
        "[1]",
    ]


def test_names_must_be_strings():
    """The error says which name, and what it is."""
    with pytest.raises(errors.InvalidFile, match=r"name 2 .* is a number"):
        list(Value({"a": 1, 8787: 2}, "f").items())


def test_string_in_place_of_a_list():
    """The hint says to write a list."""
    with pytest.raises(errors.InvalidFile) as caught:
        Value("nova", "f").texts()
    assert caught.value.hint == "write a list, even for one element"


@pytest.mark.parametrize(
    ("data", "hint"),
    [(1, "put the value in quotes"), ([], None), (None, None)],
)
def test_hint_to_quote(data, hint):
    """Scalars can be quoted, others cannot."""
    with pytest.raises(errors.InvalidFile) as caught:
        Value(data, "f").text()
    assert caught.value.hint == hint


@pytest.mark.parametrize("data", ["true", "false", 1, None])
def test_flag_is_strict(data):
    """Only true and false are booleans."""
    with pytest.raises(errors.InvalidFile, match="expected a boolean"):
        Value(data, "f").flag()


@pytest.mark.parametrize(
    ("data", "number"), [(3, 3), ("3", 3), (" +3 ", 3), ("-1", -1), (-1, -1)]
)
def test_whole(data, number):
    """Whole numbers may be written as strings."""
    assert Value(data, "f").whole() == number


@pytest.mark.parametrize("data", [True, None, 1.5, "1.5", "x", "", "9" * 99])
def test_not_whole(data):
    """Anything else is refused."""
    with pytest.raises(errors.InvalidFile, match="expected a whole number"):
        Value(data, "f").whole()


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ("a, b,,c ", ("a", "b", "c")),
        ("", ()),
        (["a", "b"], ("a", "b")),
        ([], ()),
    ],
)
def test_delimited(data, texts):
    """A comma-delimited list may be a list or a string."""
    assert Value(data, "f").delimited() == texts


@pytest.mark.parametrize("data", [1, {"a": 1}, None, [1]])
def test_not_delimited(data):
    """Anything else is refused."""
    with pytest.raises(errors.InvalidFile):
        Value(data, "f").delimited()


def test_describe_other_types():
    """Types that only explicit tags make have their own name."""
    assert describe(set()) == "a set"
