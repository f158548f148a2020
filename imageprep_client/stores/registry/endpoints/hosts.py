"""How each registry is contacted: address, TLS, mirrors, credentials.

Plain HTTP and unverified TLS are for registries on this host and those that
the user lists, and never the consequence of a failed verification.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from imageprep_client import deadlines, errors
from imageprep_client.http import urls
from imageprep_client.http.transport import TLS
from imageprep_client.oci import reference as references
from imageprep_client.oci.redaction import redacted
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.endpoints.registries_conf import (
    Pull,
    RegistriesConf,
)

#: Seconds that a thread waits at once for another that selects an endpoint.
_WAITING = 60.0
_CERTS_D = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL of a registry, and how it is contacted.

    :ivar host: ``host[:port]`` of the server, the key of its credentials.
    :ivar base: URL that ``/v2/...`` is appended to.
    """

    host: str
    base: str
    tls: TLS = dataclasses.field(default_factory=TLS)

    @property
    def is_secure(self) -> bool:
        return self.base.startswith("https:") and self.tls.verify


@dataclasses.dataclass(frozen=True, slots=True)
class RepositoryLocation:
    """A location of a repository, or of its mirror.

    :ivar registry: as in a reference, or the URL of a mirror.
    :ivar repository: its name there.
    :ivar insecure: whether the configuration permits no or unverified TLS.
    :ivar pull: the references that are read there.
    """

    registry: str
    repository: str
    insecure: bool = False
    pull: Pull = "all"

    @property
    def key(self) -> tuple[str, bool]:
        return self.registry, self.insecure


@dataclasses.dataclass(frozen=True, slots=True)
class RepositoryLocations:
    """All locations of a repository.

    :ivar mirrors: the locations that are read from first, in this order.
    :ivar blocked_by: the file that blocks it, or None.
    """

    location: RepositoryLocation
    mirrors: tuple[RepositoryLocation, ...] = ()
    blocked_by: str | None = None


def certificates(home: Path) -> tuple[Path, ...]:
    """The directories of certificates of the user, then the system's.

    In the order of containers-certs.d(5) and of the code that it describes.
    """
    return (home / ".config/containers/certs.d", *_CERTS_D)


class Hosts:
    """The policy for all registries of a run, and the selected endpoints.

    :param insecure: ``host[:port]`` of registries that may be contacted over
        plain HTTP or without verification; without a port, any port. A
        network such as ``192.168.24.0/24`` stands for the addresses in it.
    :param cacert: a file of authorities to trust for every registry.
    :param mirrors: mirror by registry name, each a URL or a host; one with
        ``http://`` is contacted over plain HTTP. A path goes before ``/v2/``.
        It precedes those of `registries`.
    :param registries: the locations of repositories, and their mirrors.
    :param token_servers: URLs of token servers that may have the credentials
        of a registry, by ``host[:port]``, beside those on its own site and
        those of `registries`.
    :param certs_d: directories of certificates by ``host[:port]``; only the
        first that exists for a host is used.
    """

    def __init__(
        self,
        *,
        insecure: Iterable[str] = (),
        cacert: str | None = None,
        mirrors: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        registries: RegistriesConf | None = None,
        certs_d: Sequence[Path] = _CERTS_D,
        token_servers: Mapping[str, str] | None = None,
    ) -> None:
        self.credentials = credentials or Credentials()
        self._registries = registries or RegistriesConf()
        self._token_servers: dict[str, set[str]] = {}
        for host, url in (
            *(token_servers or {}).items(),
            *self._registries.token_servers(),
        ):
            self._token_servers.setdefault(_host(host), set()).add(url)
        names = frozenset(map(check_insecure, insecure))
        self._networks = [
            known
            for name in names
            if "/" in name and (known := urls.network(name))
        ]
        self._insecure = names
        self._cacert = cacert
        self._certs_d = certs_d
        self._mirrors = {
            name: mirror_url(mirror)
            for name, mirror in (mirrors or {}).items()
        }
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, bool], threading.Lock] = {}
        self._selected: dict[tuple[str, bool], Endpoint] = {}
        self._endpoints: dict[tuple[str, bool], tuple[Endpoint, ...]] = {}

    def route(self, registry: str, repository: str) -> RepositoryLocations:
        """The locations of a repository in the configuration.

        :raises InvalidReference: if its name there is invalid.
        """
        mirrors = []
        if registry in self._mirrors:
            mirrors.append(
                RepositoryLocation(self._mirrors[registry], repository)
            )
        name = f"{registry}/{repository}"
        table = self._registries.find(name)
        if table is None:
            return RepositoryLocations(
                RepositoryLocation(registry, repository), tuple(mirrors)
            )
        for mirror in table.mirrors:
            located = table.located(name, mirror.location)
            mirrors.append(_place(located, mirror.insecure, mirror.pull))
        return RepositoryLocations(
            _place(table.located(name, table.location), table.insecure),
            tuple(mirrors),
            table.file if table.blocked else None,
        )

    def home(self, registry: str) -> RepositoryLocations:
        """The location of a registry itself; it has no repository.

        A location below a registry does not apply to the whole registry.
        """
        table = self._registries.find(registry)
        if table is None:
            return RepositoryLocations(RepositoryLocation(registry, ""))
        host, _, path = table.located(registry, table.location).partition("/")
        place = RepositoryLocation(
            registry if path else host, "", table.insecure
        )
        return RepositoryLocations(
            place, (), table.file if table.blocked else None
        )

    def candidates(
        self, name: str, insecure: bool = False
    ) -> tuple[Endpoint, ...]:
        """The endpoints of a registry, in the order in which they are tried.

        They are determined once for each registry.

        :param name: as in a reference, or a mirror with its path.
        :param insecure: whether to treat it as listed.
        """
        key = (name, insecure)
        if key not in self._endpoints:
            self._endpoints[key] = self._find_endpoints(name, insecure)
        return self._endpoints[key]

    def _find_endpoints(
        self, name: str, insecure: bool
    ) -> tuple[Endpoint, ...]:
        if "://" in name:
            parts = urllib.parse.urlsplit(name)
            host, path = parts.netloc, parts.path
            tls = self.tls_of(host)
            return (Endpoint(host, f"{parts.scheme}://{host}{path}", tls),)
        name, slash, path = name.partition("/")
        host = _host(name)
        tls = self.tls_of(host)
        insecure = insecure or self.is_listed(host)
        if insecure:
            tls = dataclasses.replace(tls, verify=False)
        secure = Endpoint(host, f"https://{host}{slash}{path}", tls)
        plain = Endpoint(host, f"http://{host}{slash}{path}", tls)
        endpoints: tuple[Endpoint, ...] = (secure,)
        if insecure:
            endpoints = (secure, plain)
        elif urls.is_loopback(urls.host_of(host)):
            unverified = dataclasses.replace(
                secure, tls=dataclasses.replace(tls, verify=False)
            )
            # A configured certificate has to be verified.
            endpoints = (
                (secure, plain)
                if tls.ca_files
                else (secure, unverified, plain)
            )
        if len(endpoints) > 1 and _port(host):
            # TLS servers answer a plain request at once, while plain servers
            # may wait for ever after the first bytes of TLS.
            endpoints = (plain, *endpoints[:-1])
        return endpoints

    def tls_of(self, host: str) -> TLS:
        """The TLS policy of any ``host[:port]``, including token servers.

        :raises InvalidFile: if a client certificate lacks its key, or a key
            its certificate.
        """
        cas = [self._cacert] if self._cacert else []
        cert = key = None
        # Unlike Path, os.path returns False without permission.
        for directory in filter(
            os.path.isdir, [certs / host for certs in self._certs_d]
        ):
            cas += sorted(str(path) for path in directory.glob("*.crt"))
            for path in sorted(directory.glob("*.cert")):
                cert, key = str(path), str(path.with_suffix(".key"))
                if not Path(key).exists():
                    raise errors.InvalidFile(
                        cert, "a client certificate without its .key file"
                    )
            for path in directory.glob("*.key"):
                if not path.with_suffix(".cert").exists():
                    raise errors.InvalidFile(
                        str(path), "a key without its .cert file"
                    )
            break
        return TLS(not self.is_listed(host), tuple(cas), cert, key)

    def select_endpoint(
        self,
        name: str,
        probe: Callable[[Endpoint], bool],
        retrier: Retrier,
        insecure: bool = False,
    ) -> Endpoint:
        """The endpoint that is used for a registry from now on.

        :param name, insecure: as for `candidates`.
        :param probe: whether a registry answers at an endpoint; called by one
            thread, and only if there are several endpoints.
        :param retrier: for the attempts; the other threads wait for them.
        :raises Unreachable: if none answers, as `probe` raised it.
        :raises OutOfTime: if this thread has no time left.
        """
        key = (name, insecure)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        silent = errors.Unreachable(f"{name}: no answer so far")
        while not lock.acquire(timeout=deadlines.bounded(_WAITING)):
            deadlines.check(failure=silent)
        try:
            selected = self._selected.get(key)
            if selected is None:
                endpoints = self.candidates(*key)
                selected = retrier.retrying(
                    name, lambda: self._choose(endpoints, probe)
                )
                self._selected[key] = selected
        finally:
            lock.release()
        return selected

    @staticmethod
    def _choose(
        endpoints: tuple[Endpoint, ...], probe: Callable[[Endpoint], bool]
    ) -> Endpoint:
        if len(endpoints) == 1:
            return endpoints[0]
        failure: errors.Unreachable | None = None
        answered = False
        for endpoint in endpoints:
            try:
                if probe(endpoint):
                    return endpoint
                answered = True
            except errors.Unreachable as error:
                # The first error is about the network; what later
                # ones say often only that they were the wrong one; but a
                # certificate that was seen and refused is the reason.
                if failure is None or isinstance(error, errors.Unverified):
                    failure = error
        is_plain = (
            failure is not None
            and not failure.temporary
            and not isinstance(failure, errors.Unverified)
        )
        if failure and not (answered and is_plain):
            raise failure
        raise errors.ServerFault(
            f"{endpoints[0].host}: no registry answers there",
            hint="another server does: look at the port, or at a proxy that"
            " asks for a login",
            temporary=False,
        )

    def token_servers(self, host: str) -> Collection[str]:
        """The token servers on other sites that the user permits.

        :param host: ``host[:port]`` of the registry as it is spoken to.
        """
        return self._token_servers.get(host, ())

    def insecure_in_use(self) -> list[str]:
        """Registries in use without verified TLS, sorted."""
        with self._lock:
            return sorted(
                {
                    endpoint.host
                    for endpoint in self._selected.values()
                    if not endpoint.is_secure
                }
            )

    def is_listed(self, host: str) -> bool:
        """Whether the user lists this ``host[:port]`` as insecure."""
        host = references.canonical(host)
        name = host.removesuffix(_port(host))
        if host in self._insecure or name in self._insecure:
            return True
        address = urls.address(urls.host_of(host))
        return address is not None and any(
            address in network for network in self._networks
        )


def _place(
    name: str, insecure: bool, pull: Pull = "all"
) -> RepositoryLocation:
    registry, _, repository = name.partition("/")
    references.check_registry(registry)
    references.check_repository(repository)
    return RepositoryLocation(registry, repository, insecure, pull)


def _host(registry: str) -> str:
    """``host[:port]`` of the server of a registry."""
    is_hub = references.check_registry(registry) == references.DOCKER_HUB
    return references.DOCKER_HUB_HOST if is_hub else registry


def _port(authority: str) -> str:
    """``:port`` of an authority, or empty."""
    _, colon, port = authority.rpartition("]")[2].rpartition(":")
    return f"{colon}{port}" if colon else ""


def check_insecure(text: str) -> str:
    """The name of a registry, or a network, as `Hosts` compares them.

    :raises InvalidReference: when it is neither.
    """
    name = text.rstrip("/")
    if "/" in name and urls.network(name):
        return name
    return references.check_registry(name)


def mirror_url(mirror: str) -> str:
    """A mirror without a slash at its end: a URL, or a host with a path.

    :raises InvalidReference: when it is neither.
    """
    text = mirror.strip().rstrip("/")
    if "@" in text:
        raise errors.InvalidReference(
            f"invalid mirror {redacted(text)!r}: no user and no password can"
            " be in it"
        )
    scheme, separator, rest = text.partition("://")
    host, _, path = (rest if separator else text).partition("/")
    if separator and scheme not in ("http", "https"):
        raise errors.InvalidReference(
            f"invalid mirror {urls.shown(text)!r}: expected a host or an"
            " http(s) URL"
        )
    references.check_registry(host)
    if path:
        references.check_repository(path)
    return text
