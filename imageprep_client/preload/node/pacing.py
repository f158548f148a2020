"""A proxy on this node that paces what a program downloads.

It needs Python 3.6 and the standard library alone. Only programs that know its
URL can use it. TLS stays between the program and the registry. A proxy that
the environment names is used behind it.
"""

import base64
import contextlib
import os
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
import urllib.request

#: Seconds of bytes that may come at once after a pause.
BURST = 0.1
#: Seconds between two looks at the file of the rate.
LOOK = 1.0
#: Bytes that are read at once, and that a connection may have in advance, at
#: least: it has some of a second's.
CHUNK, BUFFER, PART = 16 * 1024, 64 * 1024, 8
#: Bytes of the head of a request, and seconds for a connection.
HEAD, TIMEOUT = 64 * 1024, 60


class Pace:
    """Has bytes come at a rate, over all connections together.

    The controller may write another rate into a file.
    """

    def __init__(self, rate, path=""):
        self.rate = float(rate)
        self.path = path
        self.lock = threading.Lock()
        self.due = self.looked = time.monotonic()

    def wait(self, count):
        """Return when that many further bytes may have come."""
        with self.lock:
            now = time.monotonic()
            if self.path and now - self.looked >= LOOK:
                self.looked = now
                self.look()
            self.due = max(self.due, now - BURST) + count / self.rate
            pause = self.due - now
        if pause > 0:
            time.sleep(pause)

    def look(self):
        """Take the rate of the file, if it has one."""
        with contextlib.suppress(OSError, ValueError):
            with open(self.path) as stream:
                rate = int(stream.read())
            if rate > 0:
                self.rate = float(rate)


class Proxy(socketserver.ThreadingTCPServer):
    """The proxy; it serves in threads until it is closed.

    ``variables`` lead a program to it.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pace):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pace = pace
        password = base64.b16encode(os.urandom(16)).decode()
        self.login = basic("node:" + password)
        url = "http://node:%s@127.0.0.1:%d" % (
            password,
            self.server_address[1],
        )
        # Those of the environment, as they are before a program has ours.
        self.parents = urllib.request.getproxies_environment()
        self.variables = dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url
        )
        self.variables.update(NO_PROXY="", no_proxy="")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Say nothing: the program tells of its failures."""

    @property
    def buffer(self):
        """Bytes that a connection may have in advance."""
        return max(BUFFER, int(self.pace.rate) // PART)

    def parent(self, scheme, host):
        """The proxy for a host, or None."""
        url = self.parents.get(scheme)
        if not url or urllib.request.proxy_bypass_environment(
            host, self.parents
        ):
            return None
        return urllib.parse.urlsplit(url if "//" in url else "http://" + url)


class Handler(socketserver.BaseRequestHandler):
    """One connection of a program, with one request or one tunnel."""

    def handle(self):
        """Connect it with its target."""
        head, rest = read_head(self.request)
        line, *fields = head.split(b"\r\n")
        method, target, version = line.split(b" ")
        if b"proxy-authorization: " + self.server.login not in [
            name.lower() + colon + value
            for name, colon, value in (f.partition(b":") for f in fields)
        ]:
            self.request.sendall(
                b"HTTP/1.1 407 Login required\r\nContent-Length: 0\r\n\r\n"
            )
            return
        try:
            if method == b"CONNECT":
                away = self.tunnel(target.decode("ascii"))
                self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                away = self.plain(method, target.decode(), version, fields)
        except (OSError, ValueError) as error:
            told = str(error).encode("ascii", "replace")[:200]
            self.request.sendall(
                b"HTTP/1.1 502 %b\r\nContent-Length: 0\r\n\r\n" % told
            )
            return
        with away:
            if rest:
                away.sendall(rest)
            back = threading.Thread(
                target=relay, args=(self.request, away), daemon=True
            )
            back.start()
            relay(away, self.request, self.server.pace)
            back.join(TIMEOUT)

    def tunnel(self, target):
        """A connection to a host and a port."""
        host, port = split(target, 443)
        parent = self.server.parent("https", host)
        if parent is None:
            return connect(host, port, self.server.buffer)
        away = connect_parent(parent, self.server.buffer)
        away.sendall(
            ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n" % (target, target)).encode()
            + login_of(parent)
            + b"\r\n"
        )
        head, rest = read_head(away)
        if head.split(b" ")[1:2] != [b"200"] or rest:
            away.close()
            raise ValueError(head.split(b"\r\n")[0].decode("ascii", "replace"))
        return away

    def plain(self, method, target, version, fields):
        """A connection that the head of a request was sent on."""
        url = urllib.parse.urlsplit(target)
        host, port = split(url.netloc, 80)
        parent = self.server.parent("http", host)
        fields = [
            field
            for field in fields
            if not field.lower().startswith((b"proxy-", b"connection:"))
        ]
        # The end of the answer is the end of the connection.
        fields.append(b"Connection: close")
        if parent is None:
            away = connect(host, port, self.server.buffer)
            target = url.path or "/"
            if url.query:
                target += "?" + url.query
        else:
            away = connect_parent(parent, self.server.buffer)
        line = b" ".join([method, target.encode(), version])
        away.sendall(
            b"\r\n".join([line, *fields])
            + b"\r\n"
            + (login_of(parent) if parent else b"")
            + b"\r\n"
        )
        return away


def relay(source, target, pace=None):
    """Pass bytes on to their end, as far as a pace lets them come."""
    with contextlib.suppress(OSError):
        while True:
            data = source.recv(CHUNK)
            if not data:
                break
            if pace:
                pace.wait(len(data))
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def read_head(connection):
    """The head of a message, without its last line, and what follows."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(CHUNK)
        if not more or len(data) > HEAD:
            raise ValueError("no head of a message")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def split(text, port):
    """Host and port of ``host:port``."""
    url = urllib.parse.urlsplit("//" + text)
    if not url.hostname:
        raise ValueError("no host")
    return url.hostname, url.port or port


def connect(host, port, size):
    """A connection that has few bytes in advance."""
    error = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            # Before the connection: it is announced with it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            connection.settimeout(TIMEOUT)
            connection.connect(address)
        except OSError as failure:
            connection.close()
            error = failure
        else:
            # A program ends a connection that is silent.
            connection.settimeout(None)
            return connection
    raise error


def connect_parent(url, size):
    """A connection to a proxy."""
    port = url.port or (443 if url.scheme == "https" else 80)
    connection = connect(url.hostname, port, size)
    if url.scheme != "https":
        return connection
    context = ssl.create_default_context()
    return context.wrap_socket(connection, server_hostname=url.hostname)


def login_of(url):
    """The line of a head for the login that a URL has."""
    if url.username is None:
        return b""
    words = [urllib.parse.unquote(url.username)]
    words.append(urllib.parse.unquote(url.password or ""))
    return b"Proxy-Authorization: " + basic(":".join(words)) + b"\r\n"


def basic(login):
    """A login as it is in a head."""
    return b"Basic " + base64.b64encode(login.encode())
