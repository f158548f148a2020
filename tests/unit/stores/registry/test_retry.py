"""One policy says when something is tried again."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import email.utils
import errno
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageprep_client import deadlines, errors, retry
from imageprep_client.http.transport import Timeouts, Transport
from imageprep_client.oci import digest as digests
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.answers import Behaviour
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests import servers
from tests.once import ONE_ATTEMPT
from tests.recorder import Recorder

MakeClient = Callable[..., RegistryClient]


@pytest.fixture
def image(server: RegistryServer) -> content.Image:
    """An image in the registry, tagged ``latest``."""
    image = content.image("retry")
    put(server.content.store("ns/name"), image, "latest")
    return image


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("-1", None),
        ("soon", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    """Retry-After may be a number."""
    assert answers.retry_after({"Retry-After": text}) == seconds


@pytest.mark.parametrize("offset", [30, -30])
@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_retry_after_as_date(offset: int, zone: str) -> None:
    """Retry-After may be a date; one that is over means now."""
    moment = datetime.datetime.now(datetime.UTC)
    moment += datetime.timedelta(seconds=offset)
    text = email.utils.format_datetime(moment, usegmt=True)
    seconds = answers.retry_after({"Retry-After": text.replace("GMT", zone)})
    assert seconds is not None
    assert max(offset, 0) - 5 <= seconds <= max(offset, 0)


@pytest.mark.parametrize(
    "status", [408, 429, 500, 502, 503, 504, 520, 524, 525, 530]
)
def test_passing_answers_are_tried_again(
    server: RegistryServer,
    store: RegistryStore,
    observer: Recorder,
    image: content.Image,
    status: int,
) -> None:
    """Answers of an overloaded registry are waited out, and told."""
    server.fail(path="/manifests/", status=status, times=3)
    assert store.resolve_ahead("latest") == image.descriptor
    assert [attempt for _, attempt, _, _ in observer.retries] == [1, 2, 3]
    assert f"{server.host}/ns/name:latest" in observer.retries[0][0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ("21600", "the registry asks to wait 360 min"),
        ("9" * 400, "the registry asks to wait 53333333 min"),
        ("1", None),
    ],
)
def test_long_pauses_are_told(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    status: int,
    seconds: str,
    told: str | None,
) -> None:
    """A registry that is given up for hours says so itself."""
    headers = {"Retry-After": seconds}
    server.fail(status=status, headers=headers, times=None)
    client = make_client(policy=RetryPolicy(attempts=1))
    with pytest.raises(errors.TooManyRequests) as caught:
        client.store(server.host, "ns/name").resolve("latest")
    hint = caught.value.hint
    assert told == (hint and hint.partition(";")[0])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_lasting_answers_are_not(
    server: RegistryServer,
    store: RegistryStore,
    image: content.Image,
    status: int,
) -> None:
    """Answers that will stay are told at once."""
    server.fail(path="/manifests/", status=status, times=None)
    with pytest.raises(errors.StoreError) as caught:
        store.resolve("latest")
    assert not caught.value.temporary
    assert len(server.requests("HEAD", "/manifests/")) == 1


def test_resets_are_tried_again(
    server: RegistryServer, store: RegistryStore, image: content.Image
) -> None:
    """A connection that is closed without an answer is no answer."""
    server.fail(path="/manifests/", reset=True, times=2)
    assert store.resolve("latest") == image.descriptor


def test_attempts_are_bounded(
    server: RegistryServer, store: RegistryStore, image: content.Image
) -> None:
    """After five attempts the last error is told."""
    server.fail(path="/manifests/", status=502, times=None)
    with pytest.raises(errors.ServerFault, match="502"):
        store.resolve_ahead("latest")
    assert len(server.requests("GET", "/manifests/")) == 5


@pytest.mark.parametrize("status", [429, 503])
def test_turns_of_others_count_no_attempt(
    server: RegistryServer,
    make_client: MakeClient,
    image: content.Image,
    status: int,
) -> None:
    """A server that takes requests of others is asked on.

    Where it takes none of them, or others of another kind, it is given up.
    """
    served = ["latest"] * 4

    class Meanwhile(Recorder):
        def retrying(self, *arguments: object) -> None:
            if served:
                store.resolve(served.pop())
            else:
                store.exists(image.parts[0].descriptor)

    client = make_client(observer=Meanwhile())
    store = client.store(server.host, "ns/name")
    server.fail(path="/manifests/queued", status=status, times=8)
    server.fail(path="/manifests/never", status=status, times=None)
    with pytest.raises(errors.NotFound):
        store.resolve("queued")
    assert len(server.requests("HEAD", "/manifests/queued")) == 9
    with pytest.raises(errors.ServerFault, match=str(status)):
        store.resolve("never")
    assert len(server.requests("HEAD", "/manifests/never")) == 5


def test_no_retries(
    server: RegistryServer, make_client: MakeClient, image: content.Image
) -> None:
    """A dry run wants an answer now."""
    server.fail(path="/manifests/", status=429, times=None)
    store = make_client(policy=ONE_ATTEMPT).store(server.host, "ns/name")
    with pytest.raises(errors.TooManyRequests):
        store.resolve("latest")
    assert len(server.requests("HEAD", "/manifests/")) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept(
    server: RegistryServer,
    store: RegistryStore,
    observer: Recorder,
    image: content.Image,
    status: int,
) -> None:
    """A registry that says how long gets that long."""
    headers = {"Retry-After": "1"}
    server.fail(path="/manifests/", status=status, headers=headers)
    store.resolve("latest")
    assert [seconds for _, _, seconds, _ in observer.retries] == [1.0]


def test_waiting_ends_with_the_run(
    server: RegistryServer, make_client: MakeClient, image: content.Image
) -> None:
    """Closing the client wakes who waits, with an error."""
    server.fail(path="/manifests/", status=429, headers={"Retry-After": "60"})
    told = threading.Event()

    class Telling(Recorder):
        def retrying(self, *arguments: object) -> None:
            told.set()

    client = make_client(observer=Telling())
    failures: list[Exception] = []

    def work() -> None:
        try:
            client.store(server.host, "ns/name").resolve("latest")
        except errors.StoreError as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert told.wait(60)
    client.close()
    worker.join(60)
    assert "the run ends" in str(failures[0])


@pytest.mark.parametrize(
    "faults",
    [[{"truncate": 10}] * 2, [{"corrupt": 5}, {"corrupt": 6}]],
    ids=["truncated", "corrupt"],
)
def test_damaged_manifests_are_fetched_again(
    server: RegistryServer,
    store: RegistryStore,
    image: content.Image,
    faults: list[dict[str, Any]],
) -> None:
    """A body that ends early, or has a wrong digest, is not believed."""
    for fault in faults:
        server.fail("GET", "/manifests/", **fault)
    with store.fetch(image.descriptor) as got:
        assert got.read() == image.manifest.data


def test_the_same_wrong_manifest_is_given_up(
    server: RegistryServer, make_client: MakeClient, image: content.Image
) -> None:
    """Content that is wrong in the same way each time is what there is."""
    server.fail("GET", "/manifests/", corrupt=5, times=None)
    client = make_client(policy=RetryPolicy(attempts=12, base=0))
    with pytest.raises(errors.DigestMismatch):
        client.store(server.host, "ns/name").fetch(image.descriptor)
    assert len(server.requests("GET", "/manifests/")) == 7


def test_failed_token_requests_are_no_attempts(
    make_client: MakeClient,
) -> None:
    """A token server that fails has the attempts of its own."""
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(path="/token", status=503, times=3)
        server.fail("HEAD", "/manifests/", skip=1, status=503)
        store = make_client(policy=RetryPolicy(attempts=4, base=0))
        with pytest.raises(errors.NotFound):
            store.store(server.host, "ns/name").resolve("latest")


def test_token_requests_are_not_multiplied(make_client: MakeClient) -> None:
    """A token server that stays away ends the request that wants a token."""
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(path="/token", status=503, times=None)
        with pytest.raises(errors.ServerFault, match="no token"):
            make_client().store(server.host, "ns/name").resolve("latest")
        assert len(server.requests("GET", "/token")) == 5


@pytest.mark.parametrize("path", ["uploads/$", "uploads/.+digest="])
def test_small_uploads_begin_again(
    server: RegistryServer, client: RegistryClient, path: str
) -> None:
    """A small blob is sent again from its beginning, to a new place."""
    blob = content.blob("small")
    server.fail(path=path, reset=True, times=2)
    client.store(server.host, "ns/new").push(blob.descriptor, blob.open())
    stored = server.content.store("ns/new").fetch(blob.descriptor).read()
    assert stored == blob.data


def test_streams_are_not_sent_again(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A stream that breaks is a temporary error for who has the source."""
    blob = content.blob("large", 3 * 1024 * 1024)
    server.fail("PUT", reset=True)
    store = client.store(server.host, "ns/new")
    with pytest.raises(errors.Unreachable) as caught:
        store.push(blob.descriptor, blob.open())
    assert caught.value.temporary
    assert len(server.requests("PUT")) == 1
    store.push(blob.descriptor, blob.open())
    assert store.exists(blob.descriptor)


def test_chance_and_patience(
    server: RegistryServer, client: RegistryClient, image: content.Image
) -> None:
    """Many things that go wrong now and then do not stop a copy."""
    server.fail(chance=0.2, times=None, status=503)
    server.fail("GET", chance=0.2, times=None, truncate=100)
    server.fail(chance=0.2, times=None, reset=True)
    store = client.store(server.host, "ns/name")
    target = client.store(server.host, "ns/target")
    for piece in image.pieces:
        with store.fetch(piece.descriptor) as stream:
            target.push(piece.descriptor, stream)
    target.tag(image.descriptor, "latest")
    server.faults.clear()
    assert target.resolve("latest") == image.descriptor


def test_a_stream_that_is_limited_makes_all_wait(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A body that cannot be sent again is no way around Retry-After."""
    server.fail(method="PUT", status=429, headers={"Retry-After": "1"})
    blob = content.blob("large", 3_000_000)
    began = time.monotonic()
    with pytest.raises(errors.TooManyRequests):
        store.push(blob.descriptor, blob.open())
    store.push(blob.descriptor, blob.open())
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("header", ["Content-Length", "Content-Range"])
def test_absurd_numbers(
    server: RegistryServer,
    store: RegistryStore,
    image: content.Image,
    header: str,
) -> None:
    """A number of thousands of digits is none, and no crash."""
    number = "9" * 5000
    value = number if header == "Content-Length" else f"bytes 0-{number}/*"
    server.fail(path="/blobs/", headers={header: value}, times=1)
    blob = image.parts[0]
    with store.fetch(blob.descriptor) as stream:
        assert stream.read() == blob.data


@pytest.mark.parametrize("in_one_step", [True, False])
def test_attempts_to_tag_are_bounded(
    server: RegistryServer,
    store: RegistryStore,
    image: content.Image,
    *,
    in_one_step: bool,
) -> None:
    """One policy bounds them, not one in another."""
    server.fail("PUT", "/manifests/", status=502, times=None)

    def tag() -> None:
        if in_one_step:
            store.push_tagged(image.descriptor, image.manifest.open(), "new")
        else:
            store.tag(image.descriptor, "new")

    with pytest.raises(errors.ServerFault, match="502"):
        tag()
    assert len(server.requests("PUT", "/manifests/")) == 5


_REFUSAL = Fault(
    "PUT",
    status=400,
    body=b'{"errors": [{"code": "DIGEST_INVALID"}]}',
    times=None,
)


def test_unknown_algorithms_of_manifests_stay(
    server: RegistryServer, store: RegistryStore, image: content.Image
) -> None:
    """A registry that does not know the algorithm of a digest never will."""
    server.faults.add(_REFUSAL)
    digest = digests.of(image.manifest.data, "sha512")
    descriptor = dataclasses.replace(image.descriptor, digest=digest)
    with pytest.raises(errors.DigestMismatch) as caught:
        store.push(descriptor, image.manifest.open())
    assert not caught.value.temporary
    assert len(server.requests("PUT")) == 1


@pytest.mark.parametrize("refusals", [4, None])
def test_refused_digests_of_manifests_are_tried_a_little(
    server: RegistryServer,
    make_client: MakeClient,
    image: content.Image,
    refusals: int | None,
) -> None:
    """Distribution refuses a manifest while it links a blob of it for another
    client.
    """
    server.faults.add(
        dataclasses.replace(_REFUSAL, path="/manifests/", times=refusals)
    )
    client = make_client(policy=RetryPolicy(attempts=12, base=0))
    store = client.store(server.host, "ns/name")

    def push() -> None:
        store.push_tagged(image.descriptor, image.manifest.open(), "new")

    if refusals is None:
        with pytest.raises(errors.DigestMismatch):
            push()
    else:
        push()
    assert len(server.requests("PUT", "/manifests/")) == 5


def test_refused_digests_of_blobs_are_tried_a_little(
    server: RegistryServer, make_client: MakeClient
) -> None:
    """A blob may be damaged on its way, but not again and again."""
    server.faults.add(_REFUSAL)
    client = make_client(policy=RetryPolicy(attempts=12, base=0))
    blob = content.blob("refused")
    with pytest.raises(errors.DigestMismatch):
        client.store(server.host, "ns/name").push(blob.descriptor, blob.open())
    assert len(server.requests("PUT")) == 5


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts to which a connection was tried; nothing listens there."""
    here = socket.getaddrinfo(
        "127.0.0.1", servers.free_port(), type=socket.SOCK_STREAM
    )
    tried: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> object:
        tried.append(host)
        return here

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return tried


def test_never_reached(connections: list[str], observer: Recorder) -> None:
    """A registry that refuses connections from the beginning is mistyped.

    Afterwards nobody tries it for a while.
    """
    policy = RetryPolicy(attempts=12, base=0)
    with RegistryClient(policy=policy, observer=observer) as client:
        for repository in ("ns/name", "ns/other"):
            store = client.store("reg.test:5000", repository)
            with pytest.raises(errors.Unreachable, match="connection refused"):
                store.resolve("latest")
            assert len(connections) == 5
    assert len(observer.retries) == 4


def test_silence_ends(
    connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry may have been started in the meantime."""
    monkeypatch.setattr(retry, "_SILENCE", 0.0)
    with RegistryClient(policy=RetryPolicy(base=0)) as client:
        store = client.store("reg.test:5000", "ns/name")
        for tried in (5, 10):
            with pytest.raises(errors.Unreachable):
                store.resolve("latest")
            assert len(connections) == tried


@pytest.mark.parametrize("name", ["localhost:5000", "reg.test:5000"])
def test_never_reached_by_many(
    name: str, connections: list[str], observer: Recorder
) -> None:
    """One thread tries the ways to a registry; the others learn of it."""
    policy = RetryPolicy(attempts=12, base=0.01)
    hosts = Hosts(insecure=["reg.test:5000"])
    with (
        RegistryClient(hosts, policy=policy, observer=observer) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        resolved = [
            pool.submit(client.store(name, f"ns/{number}").resolve, "latest")
            for number in range(40)
        ]
    for future in resolved:
        assert isinstance(future.exception(), errors.Unreachable)
    assert len({id(future.exception()) for future in resolved}) == 40
    assert len(connections) == 5 * len(hosts.candidates(name))
    assert len(observer.retries) == 4


def test_silent_token_server(
    server: RegistryServer, observer: Recorder
) -> None:
    """A token server that is out of reach is so for all repositories."""
    port = servers.free_port()
    server.gate = Bearer(realm=f"http://127.0.0.1:{port}/token")
    policy = RetryPolicy(attempts=12, base=0)
    with RegistryClient(policy=policy, observer=observer) as client:
        for number in range(3):
            store = client.store(server.host, f"ns/{number}")
            with pytest.raises(errors.Unreachable, match=f":{port}: ") as told:
                store.resolve("latest")
            assert told.value.hint is not None
    assert len(observer.retries) == 4


def test_silent_storage(
    server: RegistryServer, image: content.Image, observer: Recorder
) -> None:
    """Storage that is out of reach does not hold up manifests."""
    port = servers.free_port()
    server.behaviour = Behaviour(redirect_blobs=f"http://127.0.0.1:{port}/")
    policy = RetryPolicy(attempts=12, base=0)
    with RegistryClient(policy=policy, observer=observer) as client:
        store = client.store(server.host, "ns/name")
        for layer in image.parts:
            with pytest.raises(errors.Unreachable, match=f":{port}: "):
                store.fetch(layer.descriptor).close()
        assert store.resolve("latest") == image.descriptor
    assert len(observer.retries) == 4


def test_mute_token_server(server: RegistryServer) -> None:
    """Threads that wait for it at the same time make one attempt together."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=200) as mute,
        RegistryClient(
            policy=RetryPolicy(base=0), timeouts=Timeouts(read=0.3)
        ) as client,
        ThreadPoolExecutor(threads := 8) as pool,
    ):
        port = mute.getsockname()[1]
        server.gate = Bearer(realm=f"http://127.0.0.1:{port}/token")
        stores = [client.store(server.host, f"ns/{n}") for n in range(40)]
        for future in [pool.submit(s.resolve, "latest") for s in stores]:
            assert isinstance(future.exception(), errors.Unreachable)
        mute.setblocking(False)
        made = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                mute.accept()[0].close()
                made += 1
    assert made <= retry.AT_SILENT_SERVERS * threads


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that each request may wait; none is answered."""
    given: list[float] = []

    def send(*arguments: Any) -> None:
        *_, (_, read) = arguments
        given.append(read)
        time.sleep(read if read < 1 else 0)
        raise errors.Unreachable("timed out", errno=errno.ETIMEDOUT)

    monkeypatch.setattr(Transport, "send", send)
    monkeypatch.setattr(retry, "_SILENCE", 0.0)
    return given


def test_slow_server(timeouts: list[float]) -> None:
    """A server that never answered gets more time with each request."""
    with RegistryClient(policy=ONE_ATTEMPT) as client:
        for number in range(3):
            store = client.store("reg.test:5000", f"ns/{number}")
            with pytest.raises(errors.Unreachable):
                store.resolve("latest")
    assert timeouts == [10, 20, 40]


def test_silent_for_others(timeouts: list[float]) -> None:
    """Once it was silent often enough, another request tries it once."""
    with RegistryClient(policy=RetryPolicy(base=0)) as client:
        for repository in ("ns/name", "ns/other"):
            store = client.store("reg.test:5000", repository)
            with pytest.raises(errors.Unreachable):
                store.resolve("latest")
    assert len(timeouts) == retry.AT_SILENT_SERVERS + 1


@pytest.mark.parametrize("name", ["reg.test:5000", "localhost:5000"])
def test_no_time_left(name: str, timeouts: list[float]) -> None:
    """A short time for an image tells nothing of the registry."""
    with RegistryClient(policy=RetryPolicy(base=0)) as client:
        for number in range(4):
            store = client.store(name, f"ns/{number}")
            with (
                pytest.raises(errors.OutOfTime, match="failure: timed out"),
                deadlines.within(0.05, "image"),
            ):
                store.resolve("latest")
        assert set(timeouts) == {0.1}
        with pytest.raises(errors.Unreachable):
            store.resolve("latest")
    assert max(timeouts) > 9


def test_waiting_for_the_attempts_of_others() -> None:
    """An image does not wait longer than it may for those of another."""

    def resolve(number: int) -> None:
        with deadlines.within(0.5, "image"):
            client.store(name, f"ns/{number}").resolve("latest")

    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        RegistryClient() as client,
        ThreadPoolExecutor(4) as pool,
    ):
        name = f"127.0.0.1:{mute.getsockname()[1]}"
        begin = time.monotonic()
        for future in [pool.submit(resolve, number) for number in range(4)]:
            with pytest.raises(errors.OutOfTime, match=f"failure: {name}: "):
                future.result()
    assert time.monotonic() - begin < 10


def test_not_reached_any_more(
    server: RegistryServer, image: content.Image, observer: Recorder
) -> None:
    """A registry that answered before comes back."""
    policy = RetryPolicy(attempts=12, base=0)
    with RegistryClient(policy=policy, observer=observer) as client:
        store = client.store(server.host, "ns/name")
        assert store.resolve("latest") == image.descriptor
        server.fail(reset=True, times=None)
        with pytest.raises(errors.Unreachable):
            store.resolve("latest")
    assert len(observer.retries) == 11


@pytest.mark.parametrize(
    "number", [socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN]
)
@pytest.mark.parametrize("proxied", [True, False])
def test_names_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch,
    observer: Recorder,
    number: int,
    *,
    proxied: bool,
) -> None:
    """A name may be mistyped, and a host may have no resolver."""
    asked = []

    def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(number, "what the resolver says")

    if proxied:
        monkeypatch.setenv("https_proxy", "http://proxy.test:1")
        monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    policy = RetryPolicy(attempts=12, base=0)
    hosts = Hosts()
    with (
        RegistryClient(hosts, policy=policy, observer=observer) as client,
        pytest.raises(errors.Unreachable, match="what the resolver says"),
    ):
        client.store("reg.test:5000", "ns/name").resolve("latest")
    assert len(asked) == (5 if number == socket.EAI_AGAIN else 2)
