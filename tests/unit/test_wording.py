"""Amounts, times and groups of messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import wording


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (10 * 2**30, "10.0 GiB"),
        (3 * 2**41, "6.0 TiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    """Sizes are in powers of 1024."""
    assert wording.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (125, "2 min 5 s")],
)
def test_duration(seconds: float, text: str) -> None:
    """Minutes are told where there are some."""
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "now"), (59, "now"), (3600, "1 hour"), (15 * 86400, "2 weeks")],
)
def test_age(seconds: float, text: str) -> None:
    """An age is in its largest unit."""
    assert wording.age(seconds) == text


def test_one_cause_is_one_group() -> None:
    """Messages that differ by name, URL and digest have one cause."""
    missing = [
        f"r.test:5000/ns/{name}:9: GET https://r.test:5000/v2/ns/{name}"
        f"/manifests/9: no such tag of ns/{name} (sha256:{n}f)"
        for n, name in enumerate(("api", "db", "compute"))
    ]
    other = "r.test:5000/ns/x:9: connection refused"
    assert wording.alike([other, *missing]) == [missing, [other]]


def test_digests_beside_names() -> None:
    """Images that a policy refuses are one group, and the others are named
    without their digests.
    """
    messages = [
        f"r:5000/ns/{name}:1 (sha256:{digest * 64}): refused by policy.json"
        for name, digest in (("nova", "0"), ("heat", "1"))
    ]
    assert wording.alike(messages) == [messages]
    told = f"2 images: {messages[0]}; also r:5000/ns/heat:1"
    assert wording.line(messages, "image") == told


@pytest.mark.parametrize(
    "messages",
    [
        (
            "a.test/api:1: no space left: 8 bytes needed, 2 bytes free",
            "a.test/db:1: no space left: 0 bytes free",
        ),
        (
            "a.test/api:1: adding 54.5 KiB to 3.0 MiB will exceed 3.0 MiB",
            "a.test/db:1: adding 21 B to 2.9 MiB will exceed 3.0 MiB",
        ),
    ],
)
def test_amounts_are_no_causes(messages: tuple[str, str]) -> None:
    """A disk or a quota that fills up is one cause, whatever is left of it."""
    assert len(wording.alike(messages)) == 1


def test_causes_of_a_destination() -> None:
    """Failures at one destination are alike; those at two destinations are
    not.
    """
    messages = [
        f"a.test/ns/{name} to {place}: {place}/ns/{name}@sha256:0f: refused"
        for place in ("b.test", "c.test")
        for name in ("api", "db")
    ]
    assert wording.alike(messages) == [messages[:2], messages[2:]]


def test_other_causes_are_apart() -> None:
    """Another tag, or another registry, is another cause."""
    messages = [
        "a.test/x:1: GET https://a.test/v2/x: 404",
        "b.test/x:1: GET https://b.test/v2/x: 404",
        "no space left on device",
    ]
    assert len(wording.alike(messages)) == 3


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ("", "r.io/a:1: gone"),
        ("b", "2 images: r.io/a:1: gone; also r.io/b:1"),
        (
            "bcdef",
            "6 images: r.io/a:1: gone; also r.io/b:1, r.io/c:1, r.io/d:1 and"
            " 2 more",
        ),
    ],
)
def test_line(others: str, expected: str) -> None:
    """The first message is whole; some of the other names follow."""
    group = [f"r.io/{name}:1: gone" for name in f"a{others}"]
    assert wording.line(group, "image") == expected


def _advice() -> Iterator[tuple[str, str]]:
    """Each hint, next step and returned text, and where it is."""
    for path in Path(wording.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case (
                    ast.keyword(arg="hint", value=told)
                    | ast.Assign(targets=[ast.Name("hint")], value=told)
                    | ast.Assign(
                        targets=[ast.Attribute(attr="next_step")], value=told
                    )
                    | ast.Return(value=ast.expr() as told)
                ):
                    texts = [
                        part.value
                        for part in ast.walk(told)
                        if isinstance(part, ast.Constant)
                        and isinstance(part.value, str)
                    ]
                    yield "".join(texts), f"{path}:{told.lineno}"


def test_commands_can_be_typed_as_they_are_told() -> None:
    """Hints and next steps name commands with all of their words."""
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text()
    names = re.findall(r"^    image-prepare_(\w+) =", setup, re.M)
    commands = [name.replace("_", " ") for name in names if "_" in name]
    bare = re.compile(
        r"(?<!openstack image-prepare )(?<!openstack )"
        rf"\b({'|'.join(commands)})\b"
        r"|(?<!openstack )\bimage-prepare \w"
    )
    advice = list(_advice())
    assert len(commands) > 30
    assert len(advice) > 100
    assert not [place for text, place in advice if bare.search(text)]
