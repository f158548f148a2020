"""Give images names, by a service of podman.

It needs Python 3.6 and the standard library alone.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import time
import urllib.parse

import podman

#: Seconds that a service of podman may take to start and to answer; without
#: requests it ends.
START, IDLE = 10, "--time=60"


class Tags:
    """Gives images names, by a service of podman where that can be.

    A process for each name would take as long as a sixth of a small image.
    """

    def __init__(self, directory, timeout):
        self.path = os.path.join(directory, "service")
        self.timeout = timeout
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            podman.kill(self.process)

    def add(self, identifier, name):
        """Give an image a name."""
        try:
            self.start()
            self.ask(identifier, name)
        except (OSError, ValueError, http.client.HTTPException):
            podman.run(["tag", identifier, name], self.timeout)

    def start(self):
        """Start the service, unless it runs; it ends when it is idle."""
        if self.process and self.process.poll() is None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.process = subprocess.Popen(
            ["podman", "system", "service", IDLE, "unix://" + self.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.time() + START
        while time.time() < end and self.process.poll() is None:
            if os.path.exists(self.path):
                return
            time.sleep(0.02)

    def ask(self, identifier, name):
        """Have the service give an image a name."""
        repository, _, tag = name.rpartition(":")
        query = urllib.parse.urlencode({"repo": repository, "tag": tag})
        connection = http.client.HTTPConnection("node")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(START)
            connection.sock.connect(self.path)
            connection.request(
                "POST", "/v1.24/images/%s/tag?%s" % (identifier, query)
            )
            status = connection.getresponse().status
        if status != 201:
            raise ValueError("status %d" % status)
