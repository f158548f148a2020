"""Signatures beside a registry, and the configuration of where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.trust import lookaside

_DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("size", "requests"), [(1, 128), (lookaside.MAX_SIZE, 5)]
)
def test_without_end(size: int, requests: int) -> None:
    """A server that always has one more is asked a bounded number of times."""
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return bytes(size)

    with pytest.raises(errors.InvalidContent, match="over 127 signatures"):
        list(lookaside.read("https://h/p", "ns/app", _DIGEST, fetch))
    assert len(asked) == requests


def test_many() -> None:
    """As many signatures as skopeo accepts are read."""
    base = f"https://h/p/ns/app@sha256={'0' * 64}/signature-"
    found = {f"{base}{n}": b"x" for n in range(1, 128)}
    read = lookaside.read("https://h/p", "ns/app", _DIGEST, found.get)
    assert len(list(read)) == 127


def test_names() -> None:
    """Signatures are numbered from one on, until one is missing."""
    found = {
        f"https://h/p/ns/app@sha256={'0' * 64}/signature-{n}": b"%d" % n
        for n in (1, 2, 4)
    }
    read = lookaside.read("https://h/p", "ns/app", _DIGEST, found.get)
    assert list(read) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"a.yaml": "docker: {q.io: {}}", "b.yaml": "docker: {q.io: {}}"},
            "too",
        ),
        (
            {"a.yaml": "default-docker: {}", "b.yaml": "default-docker: {}"},
            "too",
        ),
        (
            {"a.yaml": "docker:\n  q.io: {}\n  q.io: {}\n"},
            "the same key is already in line 2",
        ),
        ({"a.yaml": "docker: [q.io]"}, "docker: not a mapping"),
        ({"a.yaml": "docker: {q.io: x}"}, r"docker.q.io: not a mapping"),
        (
            {"a.yaml": "docker: {q.io: {lookaside: [x]}}"},
            "lookaside: not a str",
        ),
        (
            {"a.yaml": "docker: {q.io: {use-sigstore-attachments: 'no'}}"},
            "use-sigstore-attachments: not a bool",
        ),
        ({"a.yaml": "docker: {"}, "YAML"),
        ({"a.yaml": "!!python/object:os.system x"}, "YAML"),
        (
            {
                "a.yaml": "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                + "".join(
                    f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n"
                    for one, two in zip("bcdefghi", "cdefghij", strict=True)
                )
            },
            "values once its aliases are followed",
        ),
    ],
)
def test_broken_configuration(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    """A file that contradicts another one, or itself, is named."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(errors.InvalidFile, match=reason) as caught:
        lookaside.load(str(tmp_path), "/default")
    assert str(caught.value).startswith(f"{tmp_path}/")
