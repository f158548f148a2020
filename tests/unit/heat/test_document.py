"""YAML documents within bounds."""

from __future__ import annotations

import contextlib
import os

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.heat import document


def refused(content: bytes) -> errors.InvalidFile:
    with pytest.raises(errors.InvalidFile) as caught:
        document.parse(content, "env.yaml")
    assert caught.value.path == "env.yaml"
    assert "\n" not in str(caught.value)
    return caught.value


def test_dates_stay_strings():
    """A value that looks like a date is the text that was written."""
    assert document.parse(b"tag: 2024-05-01", "f") == {"tag": "2024-05-01"}


def test_scalars_keep_their_types():
    """Numbers, booleans and null are what YAML 1.1 says."""
    text = b"[1, 1.5, yes, ~, 0x10, text]"
    assert document.parse(text, "f") == [1, 1.5, True, None, 16, "text"]


@pytest.mark.parametrize(
    "text", ["17.10", "0123", "12:30", "yes", "1_0", "0x1F", "2024-05-01"]
)
@pytest.mark.parametrize(
    "pattern",
    [
        "parameter_defaults: {ContainerImagePrepare: [{set: {tag: %s}}]}",
        "parameters: {ContainerImagePrepare: [{set: {name_suffix: %s}}]}",
        "ContainerImagePrepare: [{modify_append_tag: %s}]",
        "{a: &a %s, ContainerImagePrepare: [{set: {ceph_tag: *a}}]}",
        "{a: &a {tag: %s}, ContainerImagePrepare: [{set: {<<: *a}}]}",
        "{a: &a {tag: %s}, ContainerImagePrepare: [{set: {<<: [*a]}}]}",
    ],
)
def test_tags_are_as_written(text, pattern):
    """An unquoted part of a name stays the text that was written."""
    found = document.parse((pattern % text).encode(), "f")
    assert f"'{text}'" in repr(found)


def test_other_variables_keep_their_types():
    """Switches are booleans; a number that reads as it is written stays."""
    text = b"ContainerImagePrepare: [{set: {ceph_images: no, x: 3, y: 1.50}}]"
    (entry,) = document.parse(text, "f")["ContainerImagePrepare"]
    assert entry["set"] == {"ceph_images": False, "x": 3, "y": "1.50"}


@pytest.mark.parametrize(
    "text",
    [
        "ContainerImagePrepare: 5",
        "ContainerImagePrepare: [5, [set], {set: 5}, {[set]: {tag: 1}}]",
        "&a {ContainerImagePrepare: *a}",
        "ContainerImagePrepare: [{set: &a {<<: *a, tag: 1}}]",
        "ContainerImagePrepare: [{set: {tag: {a: 010}}}]",
    ],
)
def test_odd_prepare_values(text):
    """A value of another shape causes no error but of the document."""
    with contextlib.suppress(errors.InvalidFile):
        document.parse(text.encode(), "f")


@pytest.mark.parametrize("content", [b"", b"# comment\n", b"---\n"])
def test_empty(content):
    """A document without content is None."""
    assert document.parse(content, "f") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"a: 1\nb: 2\na: 3\n", "line 3, column 1"),
        (b"x:\n  a: {b: 1,\n   'b': 2}\n", "line 3, column 4"),
    ],
)
def test_equal_keys(text, place):
    """Which of two equal keys was meant is not known: both lines are told."""
    with pytest.raises(errors.InvalidFile, match=place) as caught:
        document.parse(text, "f")
    assert "is already in line" in str(caught.value)
    assert caught.value.hint
    assert "remove one of them" in caught.value.hint


def test_merged_keys_may_be_equal():
    """A key goes over the one that a merge key brings."""
    text = b"a: &a {b: 1}\nc:\n  <<: *a\n  b: 2\n"
    assert document.parse(text, "f")["c"] == {"b": 2}


@pytest.mark.parametrize(
    "text",
    [
        b"tag_from_label: {version}-{release}\n",
        b"a:\n- set: {a: 1}\n  tag_from_label: {version}-{release}\n",
        b"a:\n- tag_from_label: {version}-{release}   # both\n  set: 1\n",
    ],
)
def test_unquoted_template(text):
    """The hint has the line as it should be."""
    with pytest.raises(errors.InvalidFile) as caught:
        document.parse(text, "f")
    assert caught.value.hint == (
        "put the template in quotes: tag_from_label: '{version}-{release}'"
    )


def test_byte_order_mark():
    """Editors of other systems write one."""
    assert document.parse(b"\xef\xbb\xbfa: 1", "f") == {"a": 1}


def test_aliases():
    """Aliases within bounds are followed."""
    text = b"a: &a [1]\nb: &b x\nc: *a\nd: *b\n"
    assert document.parse(text, "f") == {
        "a": [1],
        "b": "x",
        "c": [1],
        "d": "x",
    }


def test_merge_keys():
    """`<<` is followed."""
    assert document.parse(b"a: &a {b: 1}\nc: {<<: *a}", "f")["c"] == {"b": 1}


def test_alias_bomb():
    """A document that multiplies itself is refused before it is built."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 20):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    error = refused("\n".join(lines).encode())
    assert "values once its aliases are followed" in str(error)


def test_long_text_that_is_repeated():
    """Characters count as often as aliases repeat them."""
    text = "x" * 1_000_000
    lines = [f"a: &a {text}", "b: [" + ", ".join(["*a"] * 20) + "]"]
    error = refused("\n".join(lines).encode())
    assert "over 16777216 characters once its aliases" in str(error)


def test_documents_together():
    """Several documents have a bound together."""
    together = document.DocumentBudget(values=10)
    assert document.parse(b"[1, 2, 3]", "f", together) == [1, 2, 3]
    with pytest.raises(errors.InvalidFile, match="g: is too large"):
        document.parse(b"[1, 2, 3, 4, 5, 6]", "g", together)


def test_document_within_itself():
    """An alias inside of its own anchor has no end."""
    assert "line 1, column 8: over" in str(refused(b"a: &a [*a]"))


@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- "])
def test_depth(opening):
    """Deep nesting is refused, not a crash."""
    assert "nested deeper than 64" in str(refused(opening * 100_000))


def test_size():
    """A file over the limit is refused unparsed."""
    error = refused(b"#" * (document.MAX_SIZE + 1))
    assert "is larger than 16777216 bytes" in str(error)


@pytest.mark.parametrize("number", [b"9" * 5000, b"1" + b":1" * 600 + b".5"])
def test_long_number(number):
    """Numbers whose conversion takes quadratic time are refused."""
    assert "number is too long" in str(refused(b"a: " + number))


def test_not_utf8():
    """Other encodings are refused with the place."""
    assert "is not UTF-8 text (byte 4)" in str(refused(b"a: \xff"))


def test_syntax_error():
    """The message has line and column, the hint a remedy."""
    error = refused(b"a: 1\nb: [1, 2\nc: 3")
    assert "invalid YAML: line 3, column 2: " in str(error)
    assert "indentation" in error.hint


def test_control_character():
    """Invalid YAML is named by its position."""
    error = refused("é: 1\nä: \x00".encode())
    assert "invalid YAML: line 2, column 4: " in str(error)
    assert "remove such characters" in error.hint


def test_second_document():
    """A file is one document."""
    error = refused(b"a: 1\n--- \nb: 2")
    assert "single document" in str(error)
    assert "its own file" in error.hint


@pytest.mark.parametrize("text", ["a:\n\u00a0 b: 1\n", "a\u3000: 1\n"])
def test_odd_space(text):
    """A no-break space, as from a web page, is no part of a key."""
    error = refused(text.encode())
    assert "only looks like a space" in str(error)
    assert "replace it with a space" in error.hint


def test_spaces_in_quotes():
    """A key in quotes may begin with a space."""
    assert document.parse(b"' a': 1", "e.yaml") == {" a": 1}


@pytest.mark.parametrize("text", ["é:\n\t- b\n", "a:\n  é: 1\n\tc: 2\n"])
def test_tab(text):
    """A tab as indentation is told as such."""
    assert "indent with spaces" in refused(text.encode()).hint


@pytest.mark.parametrize("value", [b"!s3cret", b"*s3cret", b"!s3cret x"])
def test_unquoted_password(value):
    """A password that YAML takes for a tag or an alias is not shown."""
    error = refused(b"password: " + value)
    assert "s3cret" not in str(error)
    assert "line 1, column 11" in str(error)


@pytest.mark.parametrize("value", [b"!!int x", b"!!bool x", b"!!float ''"])
def test_value_that_denies_its_tag(value):
    """A wrong explicit tag is an error of the file."""
    assert "does not fit its type tag" in str(refused(value))


def test_python_objects():
    """Nothing but plain data is constructed."""
    refused(b"!!python/object/apply:os.getcwd []")


def test_unhashable_key():
    """A list cannot be a key."""
    assert "unhashable key" in str(refused(b"? [a]\n: b"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (yaml.YAMLError(), "cannot be parsed"),
        (yaml.MarkedYAMLError(problem="odd"), "odd"),
    ],
)
def test_loader_error_without_a_place(monkeypatch, error, told):
    """An error of YAML that says little is still one clear line."""

    def parse(*args, **kwargs):
        raise error

    monkeypatch.setattr(yaml, "parse", parse)
    assert str(refused(b"a")) == f"env.yaml: invalid YAML: {told}"


def test_read(tmp_path):
    """A file is read by its path."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    assert document.read(str(path)) == {"a": 1}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no.yaml", r"no\.yaml: no such"),
        (".", "is a directory"),
        ("loop.yaml", "cannot be read: too many"),
        ("a\0b", "no file name"),
    ],
)
def test_unreadable_file(tmp_path, name, problem):
    """The file is named, and the reason of the system."""
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(errors.InvalidFile, match=problem):
        document.read(str(tmp_path / name))


def test_pipe():
    """A file descriptor, which a shell gives for `<(command)`, can be read."""
    reader, writer = os.pipe()
    os.write(writer, b"a: 1")
    os.close(writer)
    try:
        assert document.read(f"/dev/fd/{reader}") == {"a": 1}
    finally:
        os.close(reader)
