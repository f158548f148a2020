"""Lookasides: signatures outside a registry, containers-registries.d(5)."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.host import inputs
from imageprep_client.oci import digest as digests
from imageprep_client.trust import scopes
from imageprep_client.trust.scopes import Subject

#: Signatures of one image in a registry; more are an error.
MAX_SIGNATURES = 1024
#: The same in a lookaside, as for skopeo.
_MAX_BESIDE = 127
#: Bytes of one signature, and of all of one image.
MAX_SIZE = 4 << 20
MAX_TOTAL = 16 << 20
_FILE = re.compile(r"file://(/.*)", re.DOTALL)
_NAMESPACE = {
    "lookaside": str,
    "lookaside-staging": str,
    "sigstore": str,
    "sigstore-staging": str,
    "use-sigstore-attachments": bool,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Lookasides:
    """The configuration of the lookasides of all registries.

    :ivar namespaces: by scope; the empty one is the default.
    :ivar default: the directory for images without a configured lookaside.
    """

    namespaces: Mapping[str, Mapping[str, Any]]
    default: str

    def location(self, subject: Subject) -> str:
        """The base URL of the signatures of an image."""
        return self._configured(subject) or f"file://{self.default}"

    def is_configured(self, subject: Subject) -> bool:
        """Whether a lookaside is configured for an image."""
        return bool(self._configured(subject))

    def _configured(self, subject: Subject) -> str:
        for namespace in self._of(subject):
            for key in ("lookaside", "sigstore"):
                if namespace.get(key):
                    return str(namespace[key])
        return ""

    def uses_attachments(self, subject: Subject) -> bool:
        """Whether sigstore signatures in the registry are used.

        The configuration has to enable them.
        """
        for namespace in self._of(subject):
            value = namespace.get("use-sigstore-attachments")
            if value is not None:
                return bool(value)
        return False

    def _of(self, subject: Subject) -> Iterator[Mapping[str, Any]]:
        for scope in (*subject.scopes, ""):
            if scope in self.namespaces:
                yield self.namespaces[scope]


def load(directory: str, default: str) -> Lookasides:
    """Read all files of a registries.d directory, which need not exist.

    :raises InvalidFile: when a file is invalid, or two configure one scope.
    """
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise errors.InvalidFile(directory, errors.reason(error)) from None
    namespaces: dict[str, Mapping[str, Any]] = {}
    for name in names:
        if name.endswith(".yaml"):
            path = os.path.join(directory, name)
            for scope, namespace in _read(path).items():
                if scope in namespaces:
                    raise errors.InvalidFile(
                        path,
                        "another file here configures this scope, too",
                        key=f"docker.{scope[:200]}"
                        if scope
                        else "default-docker",
                    )
                namespaces[scope] = namespace
    return Lookasides(namespaces, default)


def read(
    location: str,
    repository: str,
    digest: str,
    fetch: Callable[[str], bytes | None],
) -> Iterator[bytes]:
    """Yield the signatures of a manifest in order, each read on demand.

    :param fetch: returns the content of an http(s) URL; None if it has none.
    :raises InvalidContent: when there are more than any real image has.
    """
    algorithm, _, encoded = digests.check(digest).partition(":")
    base = f"{location}/{repository}@{algorithm}={encoded}"
    left = MAX_TOTAL
    for number in itertools.count(1):
        content = _one(f"{base}/signature-{number}", fetch)
        if content is None:
            return
        left -= len(content)
        if number > _MAX_BESIDE or left < 0:
            raise errors.InvalidContent(
                f"{location}: over {_MAX_BESIDE} signatures or"
                f" {MAX_TOTAL} bytes of them for {digest}"
            )
        yield content


def _one(url: str, fetch: Callable[[str], bytes | None]) -> bytes | None:
    if not (match := _FILE.fullmatch(url)):
        return fetch(url)
    path = Path(urllib.parse.unquote(match[1]))
    try:
        return inputs.read(path, MAX_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.InvalidContent(
            f"{path}: {errors.reason(error)}"
        ) from None


def _read(path: str) -> Mapping[str, Mapping[str, Any]]:
    content = _mapping(path, "", document.read(path))
    docker = _mapping(path, "docker", content.get("docker"))
    found: dict[str, Mapping[str, Any]] = {}
    for scope, one in docker.items():
        key = f"docker.{str(scope)[:200]}"
        name = scopes.canonical(str(scope))
        if name in found:
            raise errors.InvalidFile(path, f"a second {name[:200]}", key=key)
        found[name] = _namespace(path, key, one)
    default = content.get("default-docker")
    if default is not None:
        found[""] = _namespace(path, "default-docker", default)
    return found


def _mapping(path: str, key: str, value: object) -> Mapping[Any, Any]:
    """A mapping; a missing one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.InvalidFile(path, "not a mapping", key=key)
    return value


def _namespace(path: str, key: str, value: object) -> Mapping[str, Any]:
    namespace = _mapping(path, key, value)
    for name, kind in _NAMESPACE.items():
        one = namespace.get(name)
        if one is not None and not isinstance(one, kind):
            raise errors.InvalidFile(
                path, f"not a {kind.__name__}", key=f"{key}.{name}"
            )
    return namespace
