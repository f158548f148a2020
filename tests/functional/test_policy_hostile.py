"""Policies and registries.d that cannot be used: one line, never a pass."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageprep_client.client import policies
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base
from tests.web import QuietHandler, running

_ANYTHING = '{"default": [{"type": "insecureAcceptAnything"}]}'
_GPG = {"type": "signedBy", "keyType": "GPGKeys"}
_MIB = 1 << 20
_STRANGER = 12345


class Site:
    """A registry with an image, and a user who pushes it to a tree."""

    def __init__(
        self, openstack: base.OpenStack, server: RegistryServer
    ) -> None:
        self.openstack = openstack
        self.server = server
        self.home = openstack.home
        self.image = f"{server.host}/ns/app:1"
        self.policy = self.home / "policy.json"

    def refused(self, reason: str, *, named: bool = True) -> None:
        """See that a push says why in one line, and brings nothing.

        :param named: whether the policy is named; else it is the user's.
        """
        words = ("--signature-policy", "policy.json") if named else ()
        result = self.openstack(
            *("image-prepare", "push", self.image),
            *("--image-serve", "tree", *words),
            status=2,
            stderr=f".*({reason}).*",
        )
        error, *hints = result.messages.splitlines()
        assert re.search(reason, error), result.stderr
        assert all(line.startswith("hint: ") for line in hints), result.stderr
        assert not list(self.home.glob("tree/v2/ns/app/manifests/*"))

    def requirement(self, **fields: object) -> None:
        """A policy with one requirement for all."""
        self.policy.write_text(json.dumps({"default": [fields]}))

    def registries_d(self, name: str, text: str) -> None:
        """A file of registries.d."""
        path = self.home / ".config/containers/registries.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(openstack: base.OpenStack) -> Iterator[Site]:
    with RegistryServer() as server:
        put(server.content.store("ns/app"), content.image("a"), "1")
        openstack.environment["XDG_STATE_HOME"] = str(openstack.home / "state")
        yield Site(openstack, server)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(64 * _MIB)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file"),
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "not a regular file"),
        (_huge, "is larger than"),
        (_loop, "too many levels of symbolic links"),
        (lambda path: path.symlink_to("absent"), "no such file"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_no_file(
    site: Site, make: Callable[[Path], None], reason: str, named: bool
) -> None:
    """Where a policy ought to be and none can be read, nothing is brought."""
    if named:
        make(site.policy)
        site.refused(f"policy.json: .*{reason}")
        return
    path = site.home / ".config/containers/policy.json"
    path.parent.mkdir(parents=True)
    make(path)
    if not os.path.lexists(path):
        path.symlink_to("nowhere")
    site.refused(rf"\.config/containers/policy.json: .*{reason}", named=False)


@pytest.mark.parametrize(
    ("kind", "make", "reason"),
    [
        ("signedBy", lambda path: None, "no such file"),
        ("sigstoreSigned", lambda path: None, "no such file"),
        ("sigstoreSigned", Path.mkdir, "is a directory"),
        ("sigstoreSigned", os.mkfifo, "not a regular file"),
        ("sigstoreSigned", _huge, "is larger than"),
    ],
)
def test_no_key(
    site: Site, kind: str, make: Callable[[Path], None], reason: str
) -> None:
    """A key that cannot be read accepts nothing."""
    path = site.home / "key"
    make(path)
    fields = {**_GPG, "type": kind, "keyPath": str(path)}
    if kind == "sigstoreSigned":
        del fields["keyType"]
    site.requirement(**fields)
    site.refused(f"requirement {kind} {path}: .*{reason}")


def test_key_that_is_none(site: Site) -> None:
    """A key that cannot be used accepts nothing."""
    site.requirement(type="sigstoreSigned", keyData="bm8ga2V5")
    site.refused("no PEM block")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("docker: [", "invalid YAML"),
        ("docker: {x: {lookaside: 1}}", "docker.x.lookaside: not a str"),
        ("default-docker: {}", "configures this scope"),
    ],
)
def test_registries_d(site: Site, text: str, reason: str) -> None:
    """A mistake in registries.d is reported before any request."""
    site.registries_d("one.yaml", "default-docker: {}")
    site.registries_d("two.yaml", text)
    site.requirement(**_GPG, keyPath="/k.gpg")
    site.refused(f"registries.d/two.yaml: .*{reason}")
    assert not site.server.log


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "x", "file:x"])
def test_odd_lookaside(site: Site, location: str) -> None:
    """A lookaside that cannot be read from never lets an image pass."""
    site.registries_d("a.yaml", f"default-docker: {{lookaside: '{location}'}}")
    (site.home / "key").write_bytes(b"no key")
    site.requirement(**_GPG, keyPath=str(site.home / "key"))
    site.refused("a URL that is not HTTP")


@pytest.mark.needs_root
@pytest.mark.parametrize("of", ["file", "directory", "link"])
def test_policy_of_another_user(site: Site, of: str) -> None:
    """A stranger's policy is only obeyed when it is named."""
    directory = site.home / ".config/containers"
    directory.mkdir(parents=True)
    path = directory / "policy.json"
    if of == "link":
        (site.home / "any.json").write_text(_ANYTHING)
        path.symlink_to(site.home / "any.json")
    else:
        path.write_text(_ANYTHING)
    strange = directory if of == "directory" else path
    os.chown(strange, _STRANGER, _STRANGER, follow_symlinks=False)

    site.refused(f"policy.json: .*belongs to {_STRANGER}", named=False)

    site.openstack(
        *("image-prepare", "push", site.image, "--image-serve", "tree"),
        *("--signature-policy", str(path)),
    )
    assert list(site.home.glob("tree/v2/ns/app/manifests/*"))


@contextlib.contextmanager
def lookaside(
    answer: Callable[[str], tuple[int, dict[str, str], bytes]],
) -> Iterator[tuple[str, list[str]]]:
    """A web server with these answers; gives its URL and what it was asked."""
    asked: list[str] = []

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = answer(self.path)
            self.answer(status, body, headers)

    with running(Handler) as url:
        yield url, asked


#: The beginning of an OpenPGP message.
_MESSAGE = b"\x90" + bytes(100)


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (
            lambda path: (302, {"Location": path + "x"}, b""),
            "no signature can be read from there",
            5,
        ),
        (
            lambda path: (302, {"Location": "file:///etc/passwd"}, b""),
            "a URL that is not HTTP|no signature can be read",
            1,
        ),
        (lambda path: (302, {}, b""), "HTTP status 302", 1),
        (lambda path: (204, {}, b""), "HTTP status 204", 1),
        (lambda path: (200, {}, b"<html>"), "an unknown format", 1),
        (lambda path: (200, {}, b""), "an unknown format", 1),
        (lambda path: (200, {}, b"\0sigstore-json\n{}"), "a signature: ", 1),
        (
            lambda path: (200, {}, _MESSAGE[:1] + bytes(4 << 20)),
            "a response of over 4194304 bytes",
            1,
        ),
        (
            lambda path: (200, {}, _MESSAGE[:1] + bytes(3 << 20)),
            "16777216 bytes of them",
            6,
        ),
    ],
)
def test_odd_answers(
    site: Site,
    answer: Callable[[str], tuple[int, dict[str, str], bytes]],
    reason: str,
    requests: int,
) -> None:
    """A web server that answers oddly costs little, and an image its place."""
    (site.home / "key").write_bytes(b"no key")
    site.requirement(**_GPG, keyPath=str(site.home / "key"))
    with lookaside(answer) as (url, asked):
        site.registries_d("a.yaml", f"default-docker: {{lookaside: '{url}'}}")
        site.refused(reason)
    assert len(asked) <= requests


_CUT = (200, {"Content-Length": "999", "Connection": "close"}, _MESSAGE)


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        (
            [_CUT, (503, {}, b""), (429, {"Retry-After": "0"}, b"")],
            "no signature",
        ),
        ([(500, {}, b"")] * 6, "HTTP status 500"),
    ],
)
def test_failures_that_pass(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    failures: list[tuple[int, dict[str, str], bytes]],
    reason: str,
) -> None:
    """A web server that fails for now is asked again."""
    policy = dataclasses.replace(policies._POLICY, base=0)
    monkeypatch.setattr(policies, "_POLICY", policy)
    (site.home / "key").write_bytes(b"no key")
    site.requirement(**_GPG, keyPath=str(site.home / "key"))
    left = list(failures)

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return left.pop(0) if left else (404, {}, b"")

    with lookaside(answer) as (url, asked):
        site.registries_d("a.yaml", f"default-docker: {{lookaside: '{url}'}}")
        site.openstack(
            *("image-prepare", "push", site.image, "--image-serve", "tree"),
            *("--signature-policy", "policy.json"),
            status=2,
            stderr=f"(?s).*attempt 2 of 6 in 0 s\n.*{reason}.*",
        )
    assert len(asked) == min(len(failures) + 1, 6)
