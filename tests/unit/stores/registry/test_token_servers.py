"""Token servers that limit requests, hang, or are down."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from imageprep_client import deadlines, errors
from imageprep_client.http.transport import Response
from imageprep_client.observer import Observer
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores.registry.auth.authenticator import Authenticator
from imageprep_client.stores.registry.auth.credentials import (
    Credentials,
    RegistryCredential,
)
from imageprep_client.stores.registry.auth.tokens import (
    TokenRequest,
    TokenServer,
)
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer
from tests.once import ONE_ATTEMPT

MakeClient = Callable[..., RegistryClient]
_THREADS = 8


def wanted(number: int) -> TokenRequest:
    """The token for one of several repositories, with a password."""
    user = RegistryCredential("me", "secret", "a test")
    scopes = (f"repository:ns/{number}:pull",)
    return TokenRequest("https://r.test/token", "", scopes, user)


class Hanging:
    """Answers nothing until it is released, and is out of reach then.

    :ivar asked: set with the first request.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()
        self.stop = threading.Event()
        self.requests = 0
        retrier = Retrier(ONE_ATTEMPT, Observer(), self.stop)
        self.server = TokenServer("r.test", self.send, retrier, time.monotonic)

    def send(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        self.requests += 1
        self.asked.set()
        assert self.released.wait(30)
        raise errors.Unreachable("r.test: does not answer")

    def fetch(self, number: int) -> errors.StoreError:
        """The failure of a token."""
        with pytest.raises(errors.StoreError) as caught:
            self.server.fetch(wanted(number))
        return caught.value


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("skip", [0, 2], ids=["first", "later"])
def test_wrong_passwords_at_a_server_that_fails_for_now(
    make_client: MakeClient, status: int, skip: int
) -> None:
    """A failure that may pass does not turn the bound on them off."""
    with RegistryServer(gate=Bearer("me", "secret")) as server:
        server.fail("GET", "/token", status=status, skip=skip)
        known = Credentials({server.host: ("me", "wrong")})
        client = make_client(Hosts(credentials=known))

        def resolve(number: int) -> None:
            with pytest.raises(errors.AccessDenied, match="no token"):
                client.store(server.host, f"ns/{number}").resolve("latest")

        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(resolve, range(20)))
        assert len(server.requests("GET", "/token")) == 4


def test_a_server_that_is_down_is_asked_once(hanging: Hanging) -> None:
    """The threads that wait for the answer share the failure, as errors of
    their own.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        failures = [pool.submit(hanging.fetch, 0)]
        assert hanging.asked.wait(30)
        failures += [pool.submit(hanging.fetch, n) for n in range(1, _THREADS)]
        # Nothing shows that a thread waits.
        time.sleep(0.3)
        hanging.released.set()
        found = [future.result(30) for future in failures]
    assert hanging.requests == 1
    assert {str(error) for error in found} == {"r.test: does not answer"}
    assert all(error.temporary for error in found)
    assert len({id(error) for error in found}) == _THREADS


def test_threads_that_want_the_same_token_fail_together(
    hanging: Hanging,
) -> None:
    """The attempts of one are those of all that wait for it."""
    keeper = Authenticator(
        "https://r.test",
        "r.test",
        Credentials(),
        hanging.send,
        Retrier(RetryPolicy(attempts=3, base=0.001), Observer(), hanging.stop),
    )

    def answer() -> errors.StoreError:
        header = 'Bearer realm="https://r.test/token"'
        with pytest.raises(errors.Unreachable) as caught:
            keeper.answer(header, "ns/name", ["s"], None)
        return caught.value

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        failures = [pool.submit(answer) for _ in range(_THREADS)]
        assert hanging.asked.wait(30)
        # Nothing shows that a thread waits.
        time.sleep(0.3)
        hanging.released.set()
        assert all(future.result(30).given_up for future in failures)
    assert hanging.requests == 3


def test_threads_that_wait_for_a_version_check_fail_with_it(
    hanging: Hanging,
) -> None:
    """A registry that hangs is not asked by one thread after the other."""
    keeper = Authenticator(
        "https://r.test",
        "r.test",
        Credentials({"r.test": ("me", "secret")}),
        hanging.send,
        Retrier(ONE_ATTEMPT, Observer(), hanging.stop),
    )

    def header() -> str:
        with pytest.raises(errors.Unreachable) as caught:
            keeper.header("ns/name", ["s"], login=True)
        return str(caught.value)

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        failures = [pool.submit(header) for _ in range(_THREADS)]
        assert hanging.asked.wait(30)
        # Nothing shows that a thread waits.
        time.sleep(0.3)
        hanging.released.set()
        found = {future.result(30) for future in failures}
    assert found == {"r.test: does not answer"}
    assert hanging.requests == 1


def test_a_server_that_was_down_is_asked_again(hanging: Hanging) -> None:
    """A failure is only that of threads that waited for it."""
    hanging.released.set()
    for number in range(3):
        hanging.fetch(number)
    assert hanging.requests == 3


def test_the_end_of_the_run_ends_waiting(hanging: Hanging) -> None:
    """Nothing is sent after it, though the first request still hangs."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        first = pool.submit(hanging.fetch, 0)
        assert hanging.asked.wait(30)
        others = [pool.submit(hanging.fetch, n) for n in range(1, _THREADS)]
        hanging.stop.set()
        try:
            ended = [str(other.result(10)) for other in others]
        finally:
            hanging.released.set()
        assert "does not answer" in str(first.result(30))
    assert set(ended) == {"given up: the run ends"}
    assert hanging.requests == 1


def test_the_deadline_of_a_thread_ends_its_waiting(hanging: Hanging) -> None:
    """A token server that hangs for one image does not hold up another."""

    def hurried() -> errors.StoreError:
        with deadlines.within(0.3, "an image"):
            return hanging.fetch(1)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(hanging.fetch, 0)
        assert hanging.asked.wait(30)
        other = pool.submit(hurried)
        try:
            failure = other.result(10)
        finally:
            hanging.released.set()
        first.result(30)
    assert isinstance(failure, errors.OutOfTime)
    assert hanging.requests == 1
