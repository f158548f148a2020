"""Credentials: their sources, and the selection for a registry."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.http import urls
from imageprep_client.oci import reference as references

#: The old file of docker, which has the ``auths`` of the others alone.
_LEGACY = ".dockercfg"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PORT = re.compile(r":[0-9]+\Z")
_HELPER_TIMEOUT = 30.0
#: The user name of identity tokens in credential helpers.
_IDENTITY = "<token>"


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryCredential:
    """A user and a password.

    :ivar source: its origin, for messages.
    :ivar is_identity: whether the password is an OAuth2 refresh token, which
        only the token server receives, and there is no user.
    :ivar token_server: URL of a token server on another site that may have
        it.
    """

    username: str
    password: str = dataclasses.field(repr=False)
    source: str
    is_identity: bool = False
    token_server: str | None = None

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclasses.dataclass(frozen=True, slots=True)
class Inline:
    """The content of an authentication file in an environment variable.

    :ivar name: of the variable.
    """

    name: str
    text: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.name


class Credentials:
    """Credentials by registry, from the user and from authentication files.

    :param explicit: user and password by ``registry`` or
        ``registry/namespace``; they take precedence over all files.
    :param files: read in this order at first use; missing files are skipped.
    :param source: the name of the explicit credentials in messages.
    """

    def __init__(
        self,
        explicit: Mapping[str, tuple[str, str]] | None = None,
        files: Sequence[Path | Inline] = (),
        *,
        source: str = "ContainerImageRegistryCredentials",
    ) -> None:
        self._explicit = {
            _normal(key): RegistryCredential(user, password, source)
            for key, (user, password) in (explicit or {}).items()
        }
        self._files = tuple(files)
        self._read: dict[Path | Inline, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} of {len(self._explicit)} keys>"

    def find(
        self, registry: str, repository: str = ""
    ) -> RegistryCredential | None:
        """The credential for a repository, by the longest matching key.

        :param registry: ``host[:port]`` of the server.
        :raises InvalidFile: if a file cannot be used.
        """
        keys = list(_keys(registry, repository))
        for key in keys:
            if key in self._explicit:
                return self._explicit[key]
        for path in self._files:
            if credential := self._in_file(path, keys):
                return credential
        return None

    def other_ports(self, registry: str) -> set[str]:
        """The registries on the same host that there are credentials for."""
        keys = set(self._explicit)
        for path in self._files:
            keys |= set(map(_normal, _mapping(self._document(path), "auths")))
        names = {key.partition("/")[0] for key in keys} - {_normal(registry)}
        host = _PORT.sub("", _normal(registry))
        return {name for name in names if _PORT.sub("", name) == host}

    def _document(self, path: Path | Inline) -> dict[str, Any]:
        if path not in self._read:
            self._read[path] = _load(path)
        return self._read[path]

    def _in_file(
        self, path: Path | Inline, keys: list[str]
    ) -> RegistryCredential | None:
        document = self._document(path)
        helpers = {
            _normal(key): helper
            for key, helper in _mapping(document, "credHelpers").items()
        }
        auths = {
            _normal(key): (key, value)
            for key, value in _mapping(document, "auths").items()
        }
        for key in keys:
            credential = None
            helper = helpers.get(key)
            if isinstance(helper, str):
                credential = _run_helper(helper, _server(key), path)
            if credential is None and key in auths:
                credential = _decode(path, *auths[key])
            if credential:
                return credential
        store = document.get("credsStore")
        if isinstance(store, str) and store:
            return _run_helper(store, _server(keys[-1]), path)
        return None


def default_files(
    authfile: str | None, environ: Mapping[str, str], home: Path
) -> list[Path | Inline]:
    """The authentication files, in the order of precedence.

    ``DOCKER_AUTH_CONFIG`` has the content of one, which precedes the file of
    docker, as it does for docker.

    :param authfile: the file of the command line.
    :raises InvalidFile: if that does not exist, or cannot be used.
    """
    files: list[Path | Inline] = []
    if authfile:
        if not Path(authfile).exists():
            raise errors.InvalidFile(authfile, "no such file")
        # The others are read when credentials are needed.
        _load(Path(authfile))
        files.append(Path(authfile))
    if named := environ.get("REGISTRY_AUTH_FILE"):
        files.append(Path(named))
    # Without the variable, as under sudo, podman uses this directory.
    containers = Path("/run/containers", str(os.geteuid()))
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        containers = Path(runtime, "containers")
    files.append(containers / "auth.json")
    config_home = environ.get("XDG_CONFIG_HOME") or home / ".config"
    files.append(Path(config_home, "containers", "auth.json"))
    if text := environ.get("DOCKER_AUTH_CONFIG"):
        files.append(Inline("DOCKER_AUTH_CONFIG", text))
    config = environ.get("DOCKER_CONFIG")
    files.append(Path(config or home / ".docker", "config.json"))
    files.append(home / _LEGACY)
    return files


def _keys(registry: str, repository: str) -> Iterator[str]:
    """Keys from the longest to the registry alone."""
    name = _normal(registry)
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield "/".join([name, *parts[:count]])
    yield name


def _normal(key: str) -> str:
    """The host and path of a key, such as ``https://index.docker.io/v1/``."""
    text = key.partition("://")[2] or key
    host, slash, path = text.rstrip("/").partition("/")
    host = references.canonical(host)
    if host == references.DOCKER_HUB_HOST:
        host = references.DOCKER_HUB
    is_url = "://" in key or host == references.DOCKER_HUB
    if is_url and path in ("v1", "v2"):
        slash = path = ""
    return f"{host}{slash}{path}"


def _server(key: str) -> str:
    """The name of a registry for credential helpers."""
    is_hub = key == references.DOCKER_HUB
    return "https://index.docker.io/v1/" if is_hub else key


def _load(path: Path | Inline) -> dict[str, Any]:
    text = path.text if isinstance(path, Inline) else _text(path)
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        # The error may quote the text, which may contain secrets.
        raise errors.InvalidFile(str(path), "is no JSON") from None
    if not isinstance(document, dict):
        raise errors.InvalidFile(str(path), "is no JSON object")
    if isinstance(path, Path) and path.name == _LEGACY:
        return {"auths": document}
    return document


def _text(path: Path) -> str:
    try:
        return inputs.read(path).decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        # The text may contain a secret and is not quoted.
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise errors.InvalidFile(
            str(path), f"cannot be read: {reason.lower()}"
        ) from None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _decode(
    path: Path | Inline, key: str, entry: object
) -> RegistryCredential | None:
    """The credential of an ``auths`` entry; None for an empty entry.

    Empty entries belong to credential helpers. ``tokenserver`` is a key of
    this program, see `RegistryCredential`.
    """
    if not isinstance(entry, Mapping):
        return None
    token_server = entry.get("tokenserver") or None
    if token_server is not None and not urls.is_https(token_server):
        raise errors.InvalidFile(
            str(path), "expected https://...", key=f"auths.{key}.tokenserver"
        )
    identity = entry.get("identitytoken")
    if isinstance(identity, str) and identity:
        return RegistryCredential("", identity, str(path), True, token_server)
    user, password = entry.get("username"), entry.get("password")
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            # Some tools break lines.
            encoded = "".join(auth.split())
            pair = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise errors.InvalidFile(
                str(path), "is not base64 of user:password", key=f"auths.{key}"
            ) from None
        user, colon, password = pair.partition(":")
        if not colon:
            raise errors.InvalidFile(
                str(path), "is not base64 of user:password", key=f"auths.{key}"
            )
        password = password.rstrip("\0")
    if isinstance(user, str) and isinstance(password, str) and user:
        return RegistryCredential(
            user, password, str(path), token_server=token_server
        )
    return None


def _run_helper(
    helper: str, server: str, path: Path | Inline
) -> RegistryCredential | None:
    """The credential from the helper of that name, or None.

    :raises InvalidFile: if there is no such helper, or it fails.
    """
    if not _HELPER.fullmatch(helper):
        raise errors.InvalidFile(
            str(path), f"invalid credential helper {helper[:50]!r}"
        )
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run(  # noqa: S603 - the name is checked above
            [name, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT,
            check=False,
            env=dict(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise errors.InvalidFile(
            str(path), f"{name} cannot be used: {reason.lower()}"
        ) from None
    if done.returncode:
        if b"not found" in done.stdout + done.stderr:
            return None
        raise errors.InvalidFile(
            str(path), f"{name} failed with status {done.returncode}"
        )
    try:
        document = json.loads(done.stdout)
        user, password = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError):
        raise errors.InvalidFile(
            str(path), f"{name} gave no user and password"
        ) from None
    if not user or not password:
        return None
    if user == _IDENTITY:
        return RegistryCredential("", str(password), name, is_identity=True)
    return RegistryCredential(str(user), str(password), name)
