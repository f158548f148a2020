"""The undercloud: this host, as the registry that deployed nodes pull from."""

from __future__ import annotations

import functools
import socket

#: Where the undercloud's web server serves images from, and on which port.
TREE = "/var/lib/image-serve"
PORT = 8787


def registry() -> str:
    """``host:8787`` by which nodes know this host.

    The canonical name behind ``<short host name>.ctlplane`` where that
    resolves, else ``localhost``.
    """
    name = f"{socket.gethostname().partition('.')[0]}.ctlplane"
    try:
        addresses = socket.getaddrinfo(
            name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except OSError:
        return f"localhost:{PORT}"
    return f"{addresses[0][3] or name}:{PORT}"


@functools.cache
def is_this_host(host: str) -> bool:
    """Whether a name or address is one of this host's own.

    Nothing is sent anywhere but to the name resolver: an address is this
    host's when a socket can be bound to it.
    """
    try:
        addresses = socket.getaddrinfo(
            host.strip("[]"), None, type=socket.SOCK_DGRAM
        )
    except OSError:
        return False
    return any(_binds(family, address) for family, *_, address in addresses)


def are_one(registry: str, other: str) -> bool:
    """Whether two names ``host:port`` are those of one registry.

    They are when they are equal, and when both hosts are this one.
    """
    if registry == other:
        return True
    host, _, port = registry.rpartition(":")
    other_host, _, other_port = other.rpartition(":")
    return (
        port == other_port and is_this_host(host) and is_this_host(other_host)
    )


def advice(registry: str) -> str:
    """Advice for a `registry` that refuses connections.

    :param registry: ``host[:port]``.
    :returns: empty when it is another host's.
    """
    host, colon, port = registry.rpartition(":")
    if not colon or not port.isdigit() or not is_this_host(host):
        return ""
    text = f"nothing listens on port {port} of this host: is its"
    if port == str(PORT):
        return (
            f"{text} web server running, which serves {TREE}? To write into a"
            " tree without one, give --image-serve; openstack image-prepare"
            " registry config prints how Apache serves it"
        )
    return f"{text} registry running, and is that its port?"


def _binds(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address[0], 0, *address[2:]))
    except OSError:
        return False
    return True
