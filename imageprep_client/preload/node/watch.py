"""See whether a registry takes connections.

It needs Python 3.6 and the standard library alone.
"""

import socket
import threading
import urllib.request

#: Seconds between two connections that see whether the registry is there, and
#: for one of them; so many in a row may fail.
WATCH, MISSED = 5, 3


class Watch:
    """Sees whether a registry takes connections.

    ``lost`` is why it is given up, or empty. A registry
    behind a proxy of the site is not watched.
    """

    def __init__(self, registry):
        self.lost = ""
        self.registry = registry
        self.ended = threading.Event()
        host, _, port = registry.rpartition(":")
        # Without a port it may be either of two.
        self.address = None
        if host and port.isdigit():
            self.address = (host.strip("[]"), int(port))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        if self.address and not self.is_proxied():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()

    def is_proxied(self):
        """Whether the environment has a proxy for the registry."""
        host = self.address[0]
        return bool(
            urllib.request.getproxies_environment()
        ) and not urllib.request.proxy_bypass_environment(host)

    def run(self):
        """Connect now and then, until the end."""
        missed = 0
        while missed < MISSED and not self.ended.wait(WATCH):
            try:
                socket.create_connection(self.address, WATCH).close()
                missed = 0
            except OSError as error:
                missed += 1
                reason = error.strerror or str(error)
        if missed:
            self.lost = "%s takes no connections: %s" % (
                self.registry,
                reason.lower(),
            )
