"""References: ``registry[:port]/repository[:tag][@digest]``.

A directory or an archive may take the place of the registry, with two slashes
behind it: ``oci:/var/images//repository:tag``.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Self

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci.redaction import redacted

# OCI distribution spec, "Pulling manifests": the grammar of <name> and of
# a tag; 255 is the limit that registries share for host and name together.
_REPOSITORY = re.compile(
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REGISTRY = re.compile(
    r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?)"
    r"(:[0-9]{1,5})?"
)
_BARE_ADDRESS = re.compile(r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*")
#: Names that are registries, although an image could have them.
_HOST_ALONE = re.compile(r"(\d+(\.\d+){3}|localhost|\[.*\])(:\d+)?")
# RFC 4007 and, in a URL, RFC 6874.
_ZONE = re.compile(r"\[[0-9a-fA-F:.]+%")
_MAX_NAME = 255
# A component like host:port is a registry, whatever the host is called.
_TRANSPORT = re.compile(
    r"(image-serve|oci|oci-archive|memory):(?![0-9]{1,5}(/|$)).", re.DOTALL
)

DOCKER_HUB = "docker.io"
#: Its server.
DOCKER_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io"})
#: The transports of users, and what comes next.
_PLACES = {
    "oci": "DIRECTORY",
    "image-serve": "DIRECTORY",
    "oci-archive": "FILE",
}
_LOCAL = "containers-storage:"
# Those of skopeo that are no places here. A short word may be an image, and
# one with a number a registry.
_FOREIGN = re.compile(
    r"((?:docker-archive|docker-daemon)(?=:[^0-9])"
    r"|(?:dir|ostree|sif|tarball)(?=:[./])):"
)
_PATH = "REPOSITORY[:TAG|@DIGEST]"
_URL = ("http:", "https:")
_NO_URL = (
    "leave http:// or https:// out; one without TLS is named with"
    " --insecure-registry"
)
_NO_USER = (
    "leave the user and the password out; log in with podman login, or give"
    " them with --authfile or ContainerImageRegistryCredentials"
)


def is_tag(text: object) -> bool:
    """Whether this can be a tag."""
    return isinstance(text, str) and bool(_TAG.fullmatch(text))


def check_tag(text: object) -> str:
    """The tag itself when it is one.

    :raises InvalidReference: when it is anything else.
    """
    if not isinstance(text, str) or not _TAG.fullmatch(text):
        raise errors.InvalidReference(
            f"invalid tag {redacted(str(text))[:150]!r}: up to 128 letters,"
            " digits, '.', '_' and '-', not starting with '.' or '-'"
        )
    return text


def is_repository(text: object) -> bool:
    """Whether this can be the name of a repository."""
    return (
        isinstance(text, str)
        and len(text) <= _MAX_NAME
        and bool(_REPOSITORY.fullmatch(text))
    )


def check_repository(text: object) -> str:
    """The repository name itself when it is one.

    :raises InvalidReference: when it is anything else.
    """
    if not isinstance(text, str) or not is_repository(text):
        raise errors.InvalidReference(
            f"invalid repository name {redacted(str(text))[:300]!r}:"
            " lower-case letters and digits, parted by '/', '.', '-' or '_'"
        )
    return text


def check_registry(text: object) -> str:
    """The `canonical` name of a registry.

    :param text: ``host[:port]``.
    :raises InvalidReference: when it is anything else.
    """
    if isinstance(text, str) and _ZONE.match(text):
        raise errors.InvalidReference(
            f"invalid registry {redacted(text)[:300]!r}: an address with a"
            " zone means something on this host only",
            hint="use a name, or an address that nodes have a route to",
        )
    if not isinstance(text, str) or not _REGISTRY.fullmatch(text):
        hint = _NO_URL if str(text).startswith(_URL) else None
        if "@" in str(text):
            hint = _NO_USER
        if _BARE_ADDRESS.fullmatch(str(text)):
            address, _, port = str(text).rpartition(":")
            forms = [f"'[{text}]'"] if is_ipv6(str(text)) else []
            if port.isdigit() and is_ipv6(address):
                forms.append(f"'[{address}]:{port}'")
            shown = " or ".join(forms) or "'[ADDRESS]:PORT'"
            hint = f"put brackets around an IPv6 address: {shown}"
        raise errors.InvalidReference(
            f"invalid registry {redacted(str(text))[:300]!r}: expected host or"
            " host:port",
            hint=hint,
        )
    port = text.rpartition("]")[2].partition(":")[2]
    if port and not 0 < int(port) < 65536:
        raise errors.InvalidReference(f"invalid port in registry {text!r}")
    return canonical(text)


def canonical(host: str) -> str:
    """The name by which mirrors, policies and credentials know a registry.

    Names of hosts have no case, and ``index.docker.io`` is docker.io.

    :param host: ``host[:port]``, or ``*.domain``.
    """
    name = host.lower()
    return DOCKER_HUB if name in _HUB_NAMES else name


def is_ipv6(text: str) -> bool:
    """Whether this is an address of version 6, without brackets."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_registry(component: str) -> bool:
    """Whether the first component of a name is a registry, not a path.

    As docker and podman tell them apart: a dot, a colon, or ``localhost``.
    """
    return "." in component or ":" in component or component == "localhost"


def is_transport(text: str) -> bool:
    """Whether this names a directory and how images are stored in it."""
    return _TRANSPORT.match(text) is not None


def split(text: str) -> tuple[str, str]:
    """The registry or directory at the beginning of a name, and the rest."""
    if is_transport(text):
        transport, colon, place = text.partition(":")
        directory, slashes, path = place.rpartition("//")
        if not slashes or not directory:
            return text, ""
        return f"{transport}{colon}{directory}", path
    # A password may have a slash in it: what has one is refused whole.
    if "@" in text:
        return text, ""
    registry, _, path = text.partition("/")
    return registry, path


def join(registry: str, path: str) -> str:
    """The two parts of a name as one; the opposite of `split`."""
    if not path:
        return registry
    return f"{registry}{'//' if is_transport(registry) else '/'}{path}"


def check_complete(text: str, *, image: bool = True) -> None:
    """Check that no part of a name is missing.

    :param image: whether it names an image; otherwise only a place.
    :raises InvalidReference: telling the part, and a name with it.
    """
    name = _safe(text.removeprefix("docker://"))
    if not image:
        name = name.rstrip("/")
    if name.startswith(_LOCAL):
        raise errors.InvalidReference(
            f"{name[:300]!r}: only push and hotfix read local storage",
            hint=f"name an image in it as {_LOCAL}NAME:TAG there",
        )
    if foreign := _FOREIGN.match(name):
        raise errors.InvalidReference(
            f"{name[:300]!r}: {foreign[1]} is a transport of skopeo",
            hint="copy it with skopeo to oci-archive:FILE:REPOSITORY:TAG,"
            " which is read here as oci-archive:FILE//REPOSITORY:TAG",
        )
    missing = _missing_place(name, image) or (image and _missing_part(name))
    if missing:
        part, whole = missing
        raise errors.InvalidReference(
            f"{_safe(text)[:300]!r}: no {part}; write {whole[:300]}"
        )


def _safe(text: str) -> str:
    """A name without the password that may be in it."""
    place, path = split(text) if is_transport(text) else ("", "")
    return f"{place}//{redacted(path)}" if path else redacted(text)


def _missing_place(name: str, image: bool) -> tuple[str, str] | None:
    """The first part if it is missing, and the name with it."""
    transport, colon, place = name.partition(":")
    if transport in _PLACES and colon and (not place or is_transport(name)):
        directory, slashes, path = place.rpartition("//")
        if directory or (place and not slashes):
            return None
        what = _PLACES[transport]
        path = f"//{path or _PATH}" if image else ""
        return what.lower(), f"{transport}:{what}{path}"
    registry, slash, path = name.partition("/")
    if is_transport(name) or "://" in name or _BARE_ADDRESS.match(registry):
        return None
    path = f"/{path or _PATH}" if image else ""
    if not registry:
        return "registry", f"HOST[:PORT]{path}"
    # A plain word without a slash may be an image that lacks its tag.
    is_host = slash or not image or is_registry(registry[:-1])
    if registry.endswith(":") and is_host:
        return "port", f"{registry}PORT{path}"
    return None


def _missing_part(name: str) -> tuple[str, str] | None:
    """The part of an image that is missing, and the name with it."""
    begin = ""
    if is_transport(name):
        begin, name = split(name)
        begin += "//"
    elif _HOST_ALONE.fullmatch(name):
        return "repository", f"{name}/{_PATH}"
    path, at, digest = name.partition("@")
    head, slash, last = path.rpartition("/")
    repository, colon, tag = last.partition(":")
    if not repository:
        rest = f"REPOSITORY{colon}{tag}{at}{digest}" if colon or at else _PATH
        return "repository", f"{begin}{head}{slash}{rest}"
    if colon and not tag:
        return "tag", f"{begin}{path}TAG{at}{digest}"
    if at and (not digest or digest.endswith(":")):
        return "digest", f"{begin}{path}@sha256:DIGITS"
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One image by name.

    :ivar registry: ``host`` or ``host:port``, or such as ``oci:/directory``.
    :ivar repository: the path below it.
    :ivar tag: or empty.
    :ivar digest: or empty; with both, the digest decides.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``quay.io/ns/name:tag``, ``...@sha256:...`` or both.

        ``docker://`` before it is ignored.

        A name without a registry is one of docker.io, and one without a
        namespace there is in ``library``, as for docker and podman. The
        registry has its `canonical` name.

        :raises InvalidReference: when a part breaks the grammar; nothing of
            it has then been used.
        """
        check_complete(text)
        text = text.removeprefix("docker://")
        if is_transport(text):
            return cls._in_directory(text)
        name, at, digest = text.partition("@")
        if at and (redacted(text) != text or "@" in digest):
            raise errors.InvalidReference(
                f"invalid image name {redacted(text)[:300]!r}: only a digest"
                " comes after an @",
                hint="users and passwords are no part of a name",
            )
        if at:
            digests.check(digest)
        head, slash, path = name.rpartition("/")
        path, colon, tag = path.partition(":")
        if colon:
            check_tag(tag)
        name = f"{head}{slash}{path}"
        first, slash, rest = name.partition("/")
        if slash and is_registry(first):
            registry, repository = check_registry(first), rest
        else:
            registry, repository = DOCKER_HUB, name
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        check_repository(repository)
        return cls(registry, repository, tag, digest)

    @classmethod
    def _in_directory(cls, text: str) -> Self:
        directory, path = split(text)
        name, at, digest = path.partition("@")
        if at:
            digests.check(digest)
        repository, colon, tag = name.partition(":")
        if colon:
            check_tag(tag)
        return cls(directory, check_repository(repository), tag, digest)

    @property
    def name(self) -> str:
        """``registry/repository``, as `parse` reads it."""
        return join(self.registry, self.repository)

    @property
    def identifier(self) -> str:
        """The name that a store resolves: digest, else tag, else latest."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text
