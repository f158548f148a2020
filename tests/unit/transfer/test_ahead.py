"""Work whose first requests are under way before it begins."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.transfer import workers as workers_module
from imageprep_client.transfer.workers import Workers


class Requests:
    """Requests for numbers, and what becomes of them.

    :param silent: numbers whose requests have no response.
    :param unwell: numbers whose responses ask for another request.
    :param refused: numbers that cannot be requested.
    :param skipped: numbers that are not requested.
    :param refusal: the error of those that cannot be.
    :ivar open: those that were neither used nor given up.
    :ivar most: the highest number of open ones.
    :ivar sent: all requested numbers, in order.
    """

    def __init__(
        self,
        silent: frozenset[int] = frozenset(),
        unwell: frozenset[int] = frozenset(),
        refused: frozenset[int] = frozenset(),
        skipped: frozenset[int] = frozenset(),
        refusal: type[errors.ImagePrepError] = errors.Unreachable,
    ) -> None:
        self._refusal = refusal
        self._silent = silent
        self._unwell = unwell
        self._refused = refused
        self._skipped = skipped
        self.open: set[int] = set()
        self.waited: list[int] = []
        self.sent: list[int] = []
        self.most = 0

    def request(self, number: int) -> Sent | None:
        if number in self._refused:
            raise self._refusal("refused")
        if number in self._skipped:
            return None
        self.sent.append(number)
        self.open.add(number)
        self.most = max(self.most, len(self.open))
        return Sent(self, number)

    def wait(self, number: int) -> None:
        if number in self._silent:
            raise errors.Unreachable("no response")
        if number in self._unwell:
            raise errors.ServerFault("unwell")
        self.waited.append(number)


class Sent:
    def __init__(self, requests: Requests, number: int) -> None:
        self._requests = requests
        self._number = number

    def wait(self) -> None:
        self._requests.wait(self._number)

    def close(self) -> None:
        self._requests.open.discard(self._number)


@contextlib.contextmanager
def working(*, keep_going: bool = False) -> Iterator[Workers]:
    with Workers(4, keep_going=keep_going) as workers:
        yield workers


def test_requests_are_under_way() -> None:
    """Each item is worked at with its response, in order."""
    requests = Requests()
    seen: list[tuple[int, list[int]]] = []

    def work(number: int) -> None:
        assert number in requests.open
        seen.append((number, list(requests.sent)))

    with working() as workers:
        assert workers.each_ahead(work, range(9), requests.request) == []
    assert [number for number, _ in seen] == list(range(9))
    assert seen[0][1] == [0, 1, 2, 3]
    assert requests.most == 4
    assert not requests.open


def test_further_items() -> None:
    """Items that the work returns are requested ahead as well."""
    requests = Requests()
    with working() as workers:
        workers.each_ahead(
            lambda number: [number + 10] if number < 10 else [],
            range(3),
            requests.request,
        )
    assert requests.waited == [0, 1, 2, 10, 11, 12]


def test_no_items() -> None:
    """Nothing to do is no failure."""
    with working() as workers:
        assert workers.each_ahead(print, [], Requests().request) == []


@pytest.mark.parametrize(
    "requests",
    [
        Requests(silent=frozenset({3})),
        Requests(unwell=frozenset({3, 4})),
        Requests(refused=frozenset({3})),
        Requests(refused=frozenset({0})),
        Requests(refused=frozenset({3}), refusal=errors.InputError),
        Requests(skipped=frozenset({0, 3, 8})),
    ],
    ids=[
        "silent",
        "unwell",
        "refused",
        "refused first",
        "no credentials",
        "skipped",
    ],
)
def test_the_rest(requests: Requests) -> None:
    """Items that cannot be requested ahead are worked at once, too."""
    seen: list[int] = []

    def work(number: int) -> list[int]:
        seen.append(number)
        return [number + 10] if number < 10 else []

    with working() as workers:
        assert workers.each_ahead(work, range(9), requests.request) == []
    assert sorted(seen) == [*range(9), *range(10, 19)]
    assert not requests.open


def test_no_request_after_a_failure() -> None:
    """A server that does not answer is not asked ahead again."""
    requests = Requests(silent=frozenset({2}))
    with working() as workers:
        workers.each_ahead(lambda number: None, range(20), requests.request)
    assert requests.sent == [0, 1, 2, 3, 4, 5]


def test_slow_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes long is shared, although each response is there."""
    monkeypatch.setattr(workers_module, "_DELAY", 0.1)
    requests = Requests()
    together = threading.Barrier(4)

    def work(number: int) -> None:
        if number == 0:
            workers.pause(0.2)
        else:
            together.wait(10)

    with working() as workers:
        assert workers.each_ahead(work, range(9), requests.request) == []
    assert not requests.open


def test_responses_are_used() -> None:
    """After a response that is of no use, those of the others are used."""
    requests = Requests(unwell=frozenset({2}))
    with working() as workers:
        workers.each_ahead(lambda number: None, range(20), requests.request)
    assert requests.sent == [0, 1, 2, 3, 4, 5]
    assert requests.waited == [0, 1, 3, 4, 5]
    assert not requests.open


def broken(number: int) -> None:
    if number == 2:
        raise errors.NotFound("absent")


def test_failure_stops() -> None:
    """Without keep_going nothing is begun after a failure."""
    requests = Requests()
    with working() as workers:
        failures = workers.each_ahead(broken, range(20), requests.request)
        assert workers.stopped
    assert [item for item, _ in failures] == [2]
    assert requests.waited[:3] == [0, 1, 2]
    assert len(requests.sent) < 20
    assert not requests.open


def test_keep_going() -> None:
    """With keep_going a failure is listed, and the others are done."""
    requests = Requests()
    with working(keep_going=True) as workers:
        failures = workers.each_ahead(broken, range(9), requests.request)
    assert [item for item, _ in failures] == [2]
    assert requests.waited == list(range(9))


def test_cancelled() -> None:
    """Cancelled work ends the rest, and gives the requests up."""
    requests = Requests()

    def work(number: int) -> None:
        workers.stop()
        workers.check()

    with working() as workers:
        failures = workers.each_ahead(work, range(9), requests.request)
    assert failures == []
    assert requests.sent == [0, 1, 2, 3]
    assert not requests.open


def test_defects_are_raised() -> None:
    """An exception of another kind is a defect of the work."""
    requests = Requests()

    def defective(number: int) -> None:
        raise ZeroDivisionError

    with working() as workers, pytest.raises(ZeroDivisionError):
        workers.each_ahead(defective, range(9), requests.request)
    assert not requests.open


def test_map() -> None:
    """Results are in the order of the items."""
    requests = Requests(silent=frozenset({4}))
    with working() as workers:
        results = workers.map(
            lambda number: 2 * number, range(9), request=requests.request
        )
    assert results == [0, 2, 4, 6, 8, 10, 12, 14, 16]
