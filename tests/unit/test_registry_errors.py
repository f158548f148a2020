"""The page on errors of registries, held against the errors themselves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import Timeouts
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores.memory import MemoryStore
from imageprep_client.stores.registry.auth import authenticator as auth
from imageprep_client.stores.registry.auth import tokens
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, images, streams
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer, Harbor, Open
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.copies import Copy
from tests import servers
from tests.once import ONE_ATTEMPT
from tests.proxy import Proxy

TOP = pathlib.Path(__file__).parents[2]
PAGE = (TOP / "doc/source/user/registry-errors.rst").read_text()
#: The texts that the page explains.
TEXTS = [
    text
    for line in re.findall(r"^``.*``$", PAGE, re.MULTILINE)
    for text in re.findall(r"``(.*?)``", line)
]
NAME = "ns/name"
IMAGE = content.image("page")
BLOB = IMAGE.parts[0]
SIGNATURE = content.artifact("signature", IMAGE.descriptor)
FOREIGN = content.blob(
    "windows",
    media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)


@contextlib.contextmanager
def client(
    hosts: Hosts | None = None, **changes: Any
) -> Iterator[RegistryClient]:
    """A client that does not wait."""
    options = {
        "policy": RetryPolicy(attempts=2, base=0.001, cap=0.001, patience=0),
        "timeouts": Timeouts(2, 5),
        **changes,
    }
    with RegistryClient(hosts, **options) as made:
        yield made


Use = Callable[[RegistryStore], object]


def error_of(
    use: Use,
    *faults: Fault,
    hosts: Hosts | None = None,
    options: dict[str, Any] | None = None,
    **registry: Any,
) -> errors.ImagePrepError:
    """The error of a registry with an image and these faults."""
    with (
        RegistryServer(**registry) as server,
        client(hosts, **(options or {})) as registries,
    ):
        streams.put(server.content.store(NAME), IMAGE, "latest")
        for fault in faults:
            server.faults.add(fault)
        with pytest.raises(errors.ImagePrepError) as caught:
            use(registries.store(server.host, NAME))
        return caught.value


def resolve(store: RegistryStore) -> object:
    return store.resolve("latest")


def push(store: RegistryStore) -> None:
    streams.push(store, content.blob("new", 2000))


def lasting(method: str, status: int, path: str = "", **fault: Any) -> Fault:
    return Fault(method, path, status=status, times=None, **fault)


def refused_login(
    challenge: str | None = None, gate: Open | None = None
) -> errors.ImagePrepError:
    gate = gate or Bearer("me", "password")
    if challenge:
        gate.challenge = lambda base, scope: challenge  # type: ignore[method-assign]
    with RegistryServer(gate=gate) as server:
        known = Credentials({server.host: ("me", "wrong")})
        with client(Hosts(credentials=known)) as registries:
            store = registries.store(server.host, NAME)
            with pytest.raises(errors.AccessDenied) as caught:
                store.resolve("latest")
            return caught.value


def redirected_elsewhere() -> errors.ImagePrepError:
    with RegistryServer(gate=Bearer("me", "password")) as other:
        return error_of(
            push, behaviour=Behaviour(redirects={"POST": other.url})
        )


def refusing_storage() -> errors.ImagePrepError:
    with RegistryServer(faults=[lasting("GET", 403)]) as storage:
        return error_of(
            lambda store: store.fetch(BLOB.descriptor),
            behaviour=Behaviour(redirects={"GET": storage.url}),
        )


def token_server() -> errors.ImagePrepError:
    host = "registry.example.io"
    send = mock.create_autospec(tokens.SendTokenRequest, instance=True)
    send.return_value.status = 200
    send.return_value.body.return_value = b'{"token": "x"}'
    keeper = auth.Authenticator(
        f"https://{host}",
        host,
        Credentials({host: ("me", "password")}),
        send,
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
    )
    realm = "https://gitlab.example.com/jwt/auth"
    keeper.answer(f'Bearer realm="{realm}"', NAME, ["s"], None)
    return errors.AccessDenied("denied", hint=keeper.explain(NAME))


def unverified(directory: pathlib.Path) -> errors.ImagePrepError:
    for name in ("own", "other"):
        (directory / name).mkdir()
        servers.make_certificate(directory / name)
    context = servers.tls_context(directory / "own")
    hosts = Hosts(cacert=str(directory / "other/ca.crt"))
    return error_of(resolve, hosts=hosts, tls=context)


def refusing_proxy() -> errors.ImagePrepError:
    with Proxy({}) as proxy:
        return proxy_error(proxy.host)


def proxy_error(proxy: str) -> errors.ImagePrepError:
    """The error behind a proxy, ``host:port``."""
    with pytest.MonkeyPatch.context() as patch, client() as registries:
        patch.setenv("HTTPS_PROXY", f"http://{proxy}")
        store = registries.store("registry.test", NAME)
        with pytest.raises(errors.Unreachable) as caught:
            store.resolve("latest")
        return caught.value


def plain_http() -> errors.ImagePrepError:
    """A token server that a registry names with ``https:``."""
    with RegistryServer() as plain:
        gate = Bearer("me", "p", realm=f"https://{plain.host}/token")
        return error_of(resolve, gate=gate)


def copy_error(
    fault: Fault | None, fill: Callable[[MemoryStore], Descriptor], **copy: Any
) -> errors.ImagePrepError:
    """The error of a copy to a registry with this fault."""
    with (
        RegistryServer() as source,
        RegistryServer() as target,
        client() as registries,
    ):
        digest = fill(source.content.store(NAME)).digest
        if fault:
            target.faults.add(fault)
        (result,) = engine.copy_all(
            [
                Copy(
                    name=NAME,
                    source=registries.store(source.host, NAME),
                    reference=digest,
                    destination=registries.destination(target.host, NAME),
                    tag="latest",
                    **copy,
                )
            ],
            observer=Observer(),
        )
    assert result.error is not None
    return result.error


def platforms(store: MemoryStore) -> Descriptor:
    """Store an index of two platforms."""
    both = images.overcloud(
        {NAME: ["1"]},
        unique_bytes=1000,
        platforms=(images.AMD64, images.ARM64),
    )
    images.write(both.images, lambda _: store)
    return both.images[0].descriptor


def signed(store: MemoryStore) -> Descriptor:
    """Store an image with an artifact."""
    streams.put(store, IMAGE)
    streams.put(store, SIGNATURE)
    return IMAGE.descriptor


def windows(store: MemoryStore) -> Descriptor:
    """Store an image whose base is at a URL."""
    urls = ("https://example.com/base",)
    base = dataclasses.replace(FOREIGN.descriptor, urls=urls)
    layers = [content.Piece(base, FOREIGN.data), *IMAGE.parts[:-1]]
    found = content.image("windows", layers, config=IMAGE.parts[-1])
    streams.push(store, *IMAGE.parts, found.manifest)
    return found.descriptor


def some_image(store: MemoryStore) -> Descriptor:
    """Store an image."""
    streams.put(store, IMAGE)
    return IMAGE.descriptor


def answer(code: str, message: str) -> bytes:
    """The body of an error response."""
    return json.dumps(
        {"errors": [{"code": code, "message": message}]}
    ).encode()


#: How each text of the page comes about.
SCENARIOS: dict[str, Callable[[pathlib.Path], errors.ImagePrepError]] = {
    "no credentials for <registry> were found": lambda _: error_of(
        resolve, gate=Bearer("me", "password")
    ),
    "used the credentials of <user> for <registry> from <source>": lambda _: (
        refused_login()
    ),
    "did not send the credentials of <user> for <registry> from <source>": (
        lambda _: refused_login("NTLM")
    ),
    "some registries answer so for what does not exist": lambda _: (
        refused_login()
    ),
    "the credentials for <registry> were not given to its token server"
    " <server>": lambda _: token_server(),
    "<registry> redirects to another server": (
        lambda _: redirected_elsewhere()
    ),
    "<registry> redirects to this server, which refused the URL": (
        lambda _: refusing_storage()
    ),
    "the answer is a web page": lambda _: error_of(
        push, lasting("POST", 403, headers={"Content-Type": "text/html"})
    ),
    "gave no usable token": lambda _: error_of(
        resolve,
        Fault(path="/token", body=b"<html>", times=None),
        gate=Bearer(anonymous=True),
    ),
    "Your Authorization Token is invalid": lambda _: error_of(
        resolve,
        lasting("HEAD", 400, "/manifests/"),
        lasting(
            "GET",
            400,
            "/manifests/",
            body=answer("DENIED", "Your Authorization Token is invalid."),
        ),
    ),
    "<registry> names this server": lambda _: error_of(
        push,
        lasting(
            "POST",
            202,
            headers={
                "Location": f"http://127.0.0.1:{servers.free_port()}/v2/x"
            },
        ),
    ),
    "<registry> names this address for the upload": lambda _: error_of(
        push,
        lasting("POST", 202, headers={"Location": "/v2/x"}),
        lasting("PUT", 405),
    ),
    "<registry> through the proxy: refused with <status>": (
        lambda _: refusing_proxy()
    ),
    "<registry> through the proxy <proxy>: connection refused": (
        lambda _: proxy_error("127.0.0.1:1")
    ),
    "the answer may be that of the proxy <proxy>": lambda _: refusing_proxy(),
    "certificate cannot be verified": unverified,
    "the server speaks plain HTTP": lambda _: plain_http(),
    "no registry answers there": lambda _: error_of(
        resolve, lasting("GET", 400), lasting("HEAD", 400)
    ),
    "not found": lambda _: error_of(push, lasting("POST", 404)),
    "manifest unknown": lambda _: error_of(
        resolve, lasting("HEAD", 404), lasting("GET", 404)
    ),
    "a cache in front of the registry gave this answer": lambda _: error_of(
        resolve,
        lasting("HEAD", 404),
        lasting("GET", 404, headers={"Age": "7"}),
    ),
    "digest is <digest>, expected <digest>": lambda _: error_of(
        lambda store: store.fetch(BLOB.descriptor).read(),
        Fault("GET", "/blobs/", corrupt=5, times=None),
    ),
    "each response breaks off after": lambda _: error_of(
        lambda store: store.fetch(BLOB.descriptor).read(),
        Fault("GET", "/blobs/", truncate=0, times=None),
    ),
    "this may be no registry, or one that is read-only": lambda _: error_of(
        push, lasting("POST", 404)
    ),
    "redirected to <address>": lambda _: error_of(
        push, lasting("POST", 301, headers={"Location": "https://x.example/"})
    ),
    "an upload without a Location": lambda _: error_of(
        push, lasting("POST", 202, headers={"Location": None})
    ),
    "the registry does not know an upload that it opened": lambda _: error_of(
        push, lasting("PUT", 404), lasting("PATCH", 404)
    ),
    "too large for the registry, or for a proxy in front of it": lambda _: (
        error_of(push, *(lasting(m, 413) for m in ("PUT", "PATCH")))
    ),
    "the registry has no space left": lambda _: error_of(
        push, lasting("PUT", 507)
    ),
    "the quota is used up, or the storage is full": lambda _: error_of(
        push,
        lasting("POST", 403, body=answer("DENIED", "Quota has been exceeded")),
    ),
    "the token that they got names no user": lambda _: refused_login(
        gate=Harbor("me", "password")
    ),
    "no login changes that": lambda _: error_of(
        push,
        lasting("POST", 403, body=answer("DENIED", "is in read only mode")),
    ),
    "a rule of the registry forbids this": lambda _: error_of(
        lambda store: streams.put(store, content.image("immutable"), "latest"),
        lasting("PUT", 412, "/manifests/latest"),
    ),
    "a rule of the registry forbids to read this image": lambda _: error_of(
        resolve, lasting("HEAD", 412), lasting("GET", 412)
    ),
    "not supported by the registry": lambda _: error_of(
        lambda store: store.delete(IMAGE.descriptor), lasting("DELETE", 405)
    ),
    "this registry may take only whole indexes": lambda _: copy_error(
        None, platforms, platforms=graph.SomePlatforms((images.ARM64,))
    ),
    "this registry may take no signatures or other artifacts": lambda _: (
        copy_error(
            lasting("PUT", 400, SIGNATURE.descriptor.digest),
            signed,
            referrers=ReferrersPolicy.COPY,
        )
    ),
    "this registry may refuse layers of non-distributable types, or their"
    " URLs": lambda _: copy_error(
        lasting(
            "PUT",
            500,
            "/manifests/",
            body=answer("UNKNOWN", "invalid URL on layer"),
        ),
        windows,
    ),
    "the registry said that it has all parts of the image": lambda _: (
        copy_error(
            lasting(
                "PUT",
                400,
                "/manifests/",
                body=answer("MANIFEST_BLOB_UNKNOWN", "blob unknown"),
            ),
            some_image,
        )
    ),
    "too many requests": lambda _: error_of(
        resolve, lasting("HEAD", 429), lasting("GET", 429)
    ),
    "timed out": lambda _: error_of(
        resolve,
        Fault(delay=2, times=None),
        options={"timeouts": Timeouts(2, 0.2)},
    ),
    "not done within <seconds> s (--image-timeout)": lambda _: copy_error(
        Fault("POST", delay=2, times=None), some_image, timeout=0.3
    ),
}


def test_each_text_has_a_scenario() -> None:
    """A text that is added to the page is tried, and no other one."""
    assert set(TEXTS) == set(SCENARIOS)


@pytest.mark.parametrize("text", SCENARIOS)
def test_text(text: str, tmp_path: pathlib.Path) -> None:
    """An error or its hint has the text that the page explains."""
    error: BaseException | None = SCENARIOS[text](tmp_path)
    told = []
    while isinstance(error, errors.ImagePrepError):
        told += [str(error), error.hint or ""]
        error = error.__cause__
    pattern = re.sub(r"<\w+>", r"\\S+", re.escape(text))
    assert re.search(pattern, "\n".join(told)), told
