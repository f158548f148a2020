"""Real servers for tests: each on a free port of this host, until stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import programs

_PATIENCE = 90.0
#: Ports that no connection and no server is given that does not ask for one
#: of them, and how many of them a process takes at once.
_PORTS = range(10_240, 32_640)
_TAKEN = 100
#: A path that nobody asks for but who reads the log.
_PROBE = "/v2/is-the-log-whole"
#: Tell other processes which ports are taken, until this one ends.
_marks: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    No other process that asks here is given the same one.
    """
    while True:
        port = next(_own_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _reserved() -> Iterator[int]:
    """All ports, some of them at a time for this process alone."""
    starts = list(_PORTS[::_TAKEN])
    random.SystemRandom().shuffle(starts)
    for start in itertools.cycle(starts):
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0imageprep-tests-{start}")
        except OSError:
            mark.close()
            continue
        _marks.append(mark)
        yield from range(start, start + _TAKEN)


_own_ports = _reserved()


def wait_for(
    port: int,
    process: subprocess.Popen[bytes],
    log: Path,
    address: str = "127.0.0.1",
) -> None:
    """Return when the port takes connections; fail when the process ends."""
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address, port), timeout=1),
        ):
            return
        # There is nothing to wait on: the server tells nobody.
        time.sleep(0.02)
    raise AssertionError(
        f"{process.args!r} does not listen on {port}:\n{log.read_text()}"
    )


def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Return when a process that was told to end has; it may be killed."""
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, log: Path, address: str = "127.0.0.1"
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that listens on the port; it is stopped at the end."""
    program = shutil.which(command[0])
    assert program, f"{command[0]} is not installed; see tools/check"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(port, process, log, address)
        yield process
    finally:
        process.terminate()
        wait_for_end(process)


@dataclasses.dataclass(frozen=True)
class DockerRegistry:
    """A running docker-registry.

    :ivar host: ``127.0.0.1:port``.
    :ivar directory: its configuration, log and storage.
    :ivar ca: file of the authority of its certificate, or None.
    :ivar user, password: what it wants, or empty.
    :ivar process: its number.
    """

    host: str
    directory: Path
    ca: Path | None = None
    user: str = ""
    password: str = ""
    process: int = 0

    def processor(self) -> float:
        """Seconds of processor time that it took so far."""
        stat = Path(f"/proc/{self.process}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def empty(self) -> None:
        """Have it hold nothing; it remembers nothing of what it held."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Run it anew, after it was killed, as it was."""
        port = int(self.host.rpartition(":")[2])
        command = ["docker-registry", "serve"]
        command.append(str(self.directory / "config.yml"))
        with running(command, port, self.directory / "log-again"):
            yield

    def requests(self, pattern: str) -> list[str]:
        """The requests so far, such as ``GET /v2/``, with this pattern.

        Only with an access log.
        """
        requests = [line.split('"')[1] for line in self._log() if '"' in line]
        return [text for text in requests if re.search(pattern, text)]

    def _log(self) -> list[str]:
        """The lines of the log; they are written after the answers.

        It is whole when a request that comes later was answered, and nothing
        was added beside it.
        """
        lines: list[str] | None = None
        while True:
            text = (self.directory / "log").read_text()
            found = [x for x in text.splitlines() if _PROBE not in x]
            if found == lines:
                return found
            lines = found
            connection = http.client.HTTPConnection(self.host, timeout=30)
            with (
                contextlib.closing(connection),
                # It was killed, or speaks TLS.
                contextlib.suppress(OSError, http.client.HTTPException),
            ):
                connection.request("GET", _PROBE)
                connection.getresponse().read()
            time.sleep(0.05)


@contextlib.contextmanager
def docker_registry(
    directory: Path,
    *,
    tls: bool = False,
    user: str = "",
    password: str = "",
    name: str = "127.0.0.1",
    address: str = "127.0.0.1",
    client_cas: Sequence[Path] = (),
    access_log: bool = False,
    deletes: bool = True,
) -> Iterator[DockerRegistry]:
    """A docker-registry with its storage below `directory`.

    :param tls: serve TLS with a certificate of an authority of its own.
    :param user, password: ask for them, by basic authentication.
    :param name: the host name that is used for it.
    :param address: where it listens; an IPv6 address in brackets.
    :param client_cas: with TLS: take only clients with a certificate of one
        of these authorities.
    :param access_log: have each request in the log, as web servers do.
    :param deletes: let content be deleted, which is not its default.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    quiet = str(not access_log).lower()
    lines = [
        "version: 0.1",
        f"log: {{level: warn, accesslog: {{disabled: {quiet}}}}}",
        "storage:",
        f"  filesystem: {{rootdirectory: {directory}/data}}",
        f"  delete: {{enabled: {str(deletes).lower()}}}",
        "http:",
        f"  addr: '{address}:{port}'",
        "  secret: of-the-tests",
    ]
    ca = None
    if tls:
        ca = make_certificate(directory)
        clients = ", ".join(str(path) for path in client_cas)
        lines.append(
            f"  tls: {{certificate: {directory}/server.crt,"
            f" key: {directory}/server.key, clientcas: [{clients}]}}"
        )
    if user:
        _write_htpasswd(directory / "htpasswd", user, password)
        lines.append(
            f"auth: {{htpasswd: {{realm: tests, path: {directory}/htpasswd}}}}"
        )
    config = directory / "config.yml"
    config.write_text("\n".join(lines) + "\n")
    command = ["docker-registry", "serve", str(config)]
    log = directory / "log"
    with running(command, port, log, address.strip("[]")) as process:
        yield DockerRegistry(
            f"{name}:{port}", directory, ca, user, password, process.pid
        )


def make_certificate(directory: Path) -> Path:
    """Write server.crt and server.key for this host; give the authority's."""
    names = (
        "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,DNS:registry.test"
    )
    ca, server = directory / "ca", directory / "server"
    programs.run(
        *("openssl", "req", "-x509", "-subj", "/CN=authority of the tests"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2"),
        *("-keyout", f"{ca}.key", "-out", f"{ca}.crt"),
    )
    programs.run(
        *("openssl", "req", "-x509", "-subj", "/CN=localhost"),
        *("-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-CA", f"{ca}.crt", "-CAkey", f"{ca}.key"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2"),
        *("-keyout", f"{server}.key", "-out", f"{server}.crt"),
    )
    return directory / "ca.crt"


def tls_context(directory: Path) -> ssl.SSLContext:
    """The context of a server with what `make_certificate` made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


def _write_htpasswd(path: Path, user: str, password: str) -> None:
    programs.run("htpasswd", "-B", "-i", "-c", path, user, stdin=password)
