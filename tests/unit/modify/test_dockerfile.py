"""Dockerfiles on top of another image than they say."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.modify import dockerfile

IMAGE = "localhost:8787/ns/nova-api:17.1"


def modified(*lines: str, user: str = "nova") -> list[str]:
    """The lines for a Dockerfile of these, without what is appended."""
    text = dockerfile.modified("\n".join(lines), IMAGE, user, {})
    *head, last, end = text.split("\n")
    assert (last, end) == (f'USER "{user}"', "")
    return head


def test_source_image() -> None:
    """The image that the Dockerfile is built on is replaced."""
    given = modified("# Mine", "from  docker.io/ns/nova-api:master", "RUN x")
    assert given == ["# Mine", f"FROM {IMAGE}", "RUN x"]


def test_only_the_last_stage() -> None:
    """Earlier stages are what the user wants them to be."""
    given = modified(
        "ARG tag=1",
        "FROM golang:$tag AS build",
        "RUN make",
        "FROM --platform=linux/amd64 scratch as final",
        "COPY --from=build /x /x",
    )
    assert given[1] == "FROM golang:$tag AS build"
    assert given[3] == f"FROM {IMAGE} as final"


def test_no_stage() -> None:
    """A Dockerfile that does not say what it is built on may be given."""
    given = modified("# syntax=docker/dockerfile:1", "", "RUN x")
    assert given[2:] == [f"FROM {IMAGE}", "RUN x"]


def test_empty() -> None:
    """Nothing to do makes an image with labels."""
    assert modified() == [f"FROM {IMAGE}"]


@pytest.mark.parametrize(
    "lines",
    [
        ("RUN echo \\", "# a comment", "", "FROM here", "RUN x"),
        ("COPY <<EOF /x", "FROM here", "EOF", "RUN x"),
        ("RUN <<-'A' <<B", "x", "\tA", "FROM here", "B", "RUN x"),
    ],
)
def test_what_only_looks_like_a_stage(lines: tuple[str, ...]) -> None:
    """The middle of an instruction begins no stage."""
    assert modified("FROM x", *lines) == [f"FROM {IMAGE}", *lines]


@pytest.mark.parametrize(
    "given",
    [
        ("FROM a", "RUN echo a\x0cFROM b"),
        ("FROM a", "RUN echo a\u2028FROM b"),
        ("FROM a", "RUN echo a\x85FROM b"),
        ("FROM a", "RUN echo a\rFROM b"),
        ("FROM a", "\xa0FROMx b"),
        ("FROM a", "RUN echo $((1<<2))", "RUN x"),
        ("FROM a", "RUN cat << EOF", "RUN x"),
        ("FROM a", 'RUN echo "<<EOF"', "RUN x"),
        ("FROM a", "RUN echo it's <<EOF", "RUN x"),
        ("FROM a", 'RUN ["cat", "<<EOF"]', "RUN x"),
        ("FROM a", "LABEL a=b <<EOF", "RUN x"),
        ("FROM a", "COPY <<EOF /x", " EOF", "FROM b", "EOF", "RUN x"),
        ("FROM a", "ONBUILD RUN <<EOF", "FROM b", "EOF"),
        ("FROM a", "RUN cat 3<<EOF", "FROM b", "EOF"),
        ("FROM a", "RUN <<'E F'", "FROM b", "E F"),
        ("FROM a", "RUN <<A \\", "<<B", "FROM b", "A", "FROM b", "B"),
        ("FROM a", "RUN a \\\t ", "FROM b"),
        ("FROM a\r", "RUN a \\\r", "FROM b\r", "RUN x\r"),
    ],
)
def test_one_stage(given: tuple[str, ...]) -> None:
    """Lines, continuation and documents end where they end for docker."""
    assert modified(*given) == [f"FROM {IMAGE}", *given[1:]]


def test_escape_directive() -> None:
    """With another escape character a backslash ends no line."""
    top = ("# syntax=docker/dockerfile:1", "#Escape = `", "FROM a")
    assert modified(*top, "RUN dir c:\\", "FROM b") == [
        *(*top, "RUN dir c:\\"),
        f"FROM {IMAGE}",
    ]
    assert modified(*top, "RUN a `", "FROM b") == [
        *top[:2],
        f"FROM {IMAGE}",
        *("RUN a `", "FROM b"),
    ]


def test_directive_after_a_comment() -> None:
    """It is a comment as well."""
    given = modified("# mine", "# escape=`", "FROM a", "RUN a \\", "FROM b")
    assert given[2] == f"FROM {IMAGE}"


def test_mark_of_byte_order() -> None:
    """It does not hide the first instruction."""
    assert modified("\ufeffFROM a", "RUN x") == [f"FROM {IMAGE}", "RUN x"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("# escape=x", "FROM a"), "line 1: escape is 'x'"),
        (("FROM a", "RUN a \\\\", "RUN b"), "line 2: ends in"),
        (("# escape=`", "FROM a`", "b"), "line 2: not FROM IMAGE"),
    ],
)
def test_refused(lines: tuple[str, ...], message: str) -> None:
    """An ambiguous line is refused, with its number."""
    with pytest.raises(errors.InvalidArgument, match=message):
        modified(*lines)


@pytest.mark.parametrize("last", ["RUN x \\", "COPY <<EOF /x"])
def test_unfinished(last: str) -> None:
    """A last line that would swallow the labels is refused."""
    with pytest.raises(errors.InvalidArgument, match="does not end"):
        modified("FROM x", last)


def test_stage_on_two_lines() -> None:
    """A stage that is not understood is refused, with its line."""
    with pytest.raises(errors.InvalidArgument, match="line 2: not FROM IMAGE"):
        modified("# Mine", "FROM \\", "  x")


def test_labels() -> None:
    """Labels are added at the end, and then the user is set."""
    labels = {"modified_append_tag": "-hotfix", "b": "x"}
    text = dockerfile.modified("FROM x", IMAGE, "42425:nova", labels)
    assert text == (
        f'FROM {IMAGE}\nLABEL "modified_append_tag"="-hotfix"\n'
        'LABEL "b"="x"\nUSER "42425:nova"\n'
    )


@pytest.mark.parametrize("user", ["", "root", "0:0", "a_b.c-d", ":5"])
def test_users(user: str) -> None:
    """Names, numbers, groups and none can be kept."""
    modified("FROM x", user=user)


@pytest.mark.parametrize("user", ['a"', "a\nRUN evil", "$HOME", "a b", "ä"])
def test_hostile_user(user: str) -> None:
    """A user that would be more than a user is refused."""
    with pytest.raises(errors.InvalidArgument, match="its user cannot"):
        modified("FROM x", user=user)


@pytest.mark.parametrize("value", ['"', "$x", "a\nRUN evil", "{{ x }}"])
def test_hostile_label(value: str) -> None:
    """A label that would be more than a label is refused."""
    with pytest.raises(errors.InvalidArgument, match="cannot be a value"):
        dockerfile.modified("FROM x", IMAGE, "nova", {"a": value})
