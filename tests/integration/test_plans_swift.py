"""Plans in a real object store keep what `plans.base` promises."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import re
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import openstack
import pytest
import requests
from openstack.connection import Connection

from imageprep_client import errors
from imageprep_client.cloud.object_store import ObjectContainer, ObjectStore
from imageprep_client.heat import document
from imageprep_client.plans import base
from imageprep_client.plans.stored import Plan
from imageprep_client.plans.swift import lock
from imageprep_client.plans.swift.files import LOCK, PROBE, SwiftFiles, plans
from imageprep_client.plans.swift.lock import TIMES, Lock, Times
from imageprep_client.testing.plans import host as plan_host
from imageprep_client.testing.plans import suite as plan_suite
from tests import openstack_services, sampling
from tests.openstack_services import Services

#: That a hundred writers write to, in pairs.
PLANS = 5


def connect(services: Services, **changes: str) -> Connection:
    """A connection of the administrator's."""
    options: dict[str, Any] = {
        **services.credentials,
        "region_name": openstack_services.REGION,
        **changes,
    }
    return openstack.connect(**options)


@pytest.fixture(scope="module")
def store(services: Services) -> Iterator[ObjectStore]:
    """The object store, as the SDK gives it."""
    with connect(services) as connection:
        yield ObjectStore.of(connection)


#: For one writer alone, which waits less.
ALONE = Times(settle=0.05, section=0.4)


class _InSwift:
    def __init__(
        self, services: Services, store: ObjectStore, times: Times
    ) -> None:
        self._services = services
        self._store = store
        self._times = times
        self.name = f"plan-{uuid.uuid4().hex[:8]}"

    def keep(self, files: Mapping[str, str]) -> None:
        self._services.make_plan(self.name, files)

    def open(self) -> SwiftFiles:
        return SwiftFiles(self._store, self.name, self._times)

    def read(self, path: str) -> str | None:
        return self._services.read(self.name, path)


class TestSwift(plan_suite.PlanSuite):
    @pytest.fixture
    def host(
        self,
        services: Services,
        store: ObjectStore,
        request: pytest.FixtureRequest,
    ) -> _InSwift:
        name = request.function.__name__
        times = TIMES if "writers" in name else ALONE
        return _InSwift(services, store, times)

    def test_a_hundred_writers_in_pairs(  # type: ignore[override]
        self, services: Services, store: ObjectStore
    ) -> None:
        """Two writers at once, again and again, a hundred in all or some: no
        entry is ever lost.

        Several plans at the same time, since who waits for a lock sleeps.
        """
        hosts = [_InSwift(services, store, TIMES) for _ in range(PLANS)]
        numbers = sampling.some(range(50 // PLANS), 3)

        def one(host: _InSwift, side: str, barrier: threading.Barrier) -> None:
            for number in numbers:
                files = host.open()
                barrier.wait()
                name = f"environments/{number}{side}"
                assert plan_host.add_environment(files, name)

        with concurrent.futures.ThreadPoolExecutor(2 * PLANS) as pool:
            writers = []
            for host in hosts:
                host.keep(plan_suite.minimal())
                barrier = threading.Barrier(2, timeout=100)
                writers += [
                    pool.submit(one, host, side, barrier) for side in "ab"
                ]
            for writer in writers:
                writer.result(timeout=100)
        expected = [f"environments/{n}{s}" for n in numbers for s in "ab"]
        for host in hosts:
            assert sorted(plan_host.listed(host)) == expected
            assert host.read(LOCK) is None


class _Unlocked(SwiftFiles):
    """Writers that compare the ETag, write and read back, without a lock."""

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[None]:
        yield


def test_without_the_lock_entries_are_lost(
    store: ObjectStore, host: _InSwift, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To compare the ETag, write and read back is not enough: a writer who
    does all that between two steps of another one loses the entry, and both
    succeed.
    """
    slow, fast = (_Unlocked(store, host.name) for _ in "ab")
    put = slow._container.put

    def put_later(*arguments: Any) -> None:
        assert plan_host.add_environment(fast, "fast.yaml")
        put(*arguments)

    monkeypatch.setattr(slow._container, "put", put_later)
    assert plan_host.add_environment(slow, "slow.yaml")
    assert "slow.yaml" in plan_host.listed(host)
    assert "fast.yaml" not in plan_host.listed(host)


def test_if_match_does_nothing(services: Services, host: _InSwift) -> None:
    """Swift replaces an object although the ETag of a condition is wrong."""
    path = f"{host.name}/{base.PLAN_ENVIRONMENT}"
    answer = services.ask_swift("PUT", path, b"x", If_Match="0" * 32)
    assert answer.status_code == 201
    assert host.read(base.PLAN_ENVIRONMENT) == "x"


@pytest.fixture
def host(services: Services, store: ObjectStore) -> _InSwift:
    """A plan that nobody else writes to."""
    found = _InSwift(services, store, ALONE)
    found.keep(plan_suite.FILES)
    return found


# --- the lock


def test_nothing_to_write(services: Services, host: _InSwift) -> None:
    """Where nothing changes the lock is not taken, either."""
    plan = Plan(host.open())
    plan.write_parameters({"A": "1"}, [])
    before = len(services.log(rf"^PUT {host.name}/"))
    plan.write_parameters({"A": "1"}, ["another"])

    assert len(services.log(rf"^PUT {host.name}/")) == before


def test_lock_of_who_was_killed(store: ObjectStore, host: _InSwift) -> None:
    """The store forgets it, and others write."""
    times = dataclasses.replace(ALONE, lifetime=2)
    Lock(ObjectContainer(store, host.name), LOCK, times).take()
    assert host.read(LOCK)
    Plan(SwiftFiles(store, host.name, times)).write_parameters({}, [])

    assert plan_host.listed(host)[-1] == base.PARAMETERS


def test_lock_of_others(
    services: Services, store: ObjectStore, host: _InSwift
) -> None:
    """A wait that is too long ends, and nothing is written."""
    services.ask_swift("PUT", f"{host.name}/{LOCK}", b"theirs")
    times = dataclasses.replace(ALONE, patience=0.1)
    plan = Plan(SwiftFiles(store, host.name, times))
    with pytest.raises(errors.PlanError, match=f"{LOCK}.*others") as caught:
        plan.write_parameters({"A": "1"}, [])

    assert "delete this object" in (caught.value.hint or "")
    assert host.read(base.PARAMETERS) is None
    assert host.read(LOCK) == "theirs"


def test_patience_is_not_multiplied(
    services: Services, store: ObjectStore, host: _InSwift
) -> None:
    """A writer that gave up the lock does not wait for it again."""
    services.ask_swift("PUT", f"{host.name}/{LOCK}", b"theirs")
    services.make_plan(host.name, {base.PARAMETERS: "parameter_defaults: {}"})
    times = dataclasses.replace(ALONE, patience=0.5)
    plan = Plan(SwiftFiles(store, host.name, times))
    with pytest.raises(errors.PlanError, match="others"):
        plan.write_parameters({"A": "1"}, [])

    # At least 0.05 s are between two attempts, and theirs was the first PUT.
    assert len(services.log(rf"^PUT {host.name}/{re.escape(LOCK)}")) <= 12


def test_lock_that_is_taken_over(
    services: Services, host: _InSwift, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that finds another's lock in place of its own begins anew."""
    path = f"{host.name}/{LOCK}"
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            assert services.ask_swift("PUT", path, b"theirs").ok
        elif len(pauses) == 3:
            assert services.ask_swift("DELETE", path).ok

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(lock, "time", clock)
    Plan(host.open()).write_parameters({"A": "1"}, [])
    # One that was taken over, theirs, one that is refused, at least.
    assert len(services.log(rf"^PUT {re.escape(path)}")) > 3
    assert host.read(LOCK) is None


def test_lock_is_taken_anew(
    services: Services, store: ObjectStore, host: _InSwift
) -> None:
    """A lock that was held for long is taken again before the next write."""
    files = host.open()

    def before(step: str, path: str) -> None:
        if (step, path) == ("read", base.PLAN_ENVIRONMENT):
            time.sleep(ALONE.section)

    watched = plan_host.Watched(files, before)
    Plan(watched).write_parameters({"A": "1"}, [])

    # Once more, if this host was busy.
    assert len(services.log(rf"^PUT {host.name}/{re.escape(LOCK)}")) >= 2


# --- whether it can be written


def test_check_leaves_nothing(services: Services, host: _InSwift) -> None:
    """Not even for a moment: the store refuses what is sent."""
    before = services.objects(host.name)
    Plan(host.open()).check_writable()

    assert services.log(rf"^PUT {host.name}/\.") == [
        f"PUT {host.name}/{PROBE}"
    ]
    assert not services.log(rf"^DELETE {host.name}/")
    assert services.objects(host.name) == before


class _Careless(requests.adapters.HTTPAdapter):
    """A store that takes whatever is sent."""

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        request.headers.pop("ETag", None)
        return super().send(request, *args, **more)


def test_check_by_a_careless_store(services: Services, host: _InSwift) -> None:
    """Written parameters are taken away."""
    with connect(services) as connection:
        connection.session.session.mount("http://", _Careless())
        store = ObjectStore.of(connection)
        Plan(SwiftFiles(store, host.name, ALONE)).check_writable()

    assert services.log(rf"^DELETE {host.name}/{re.escape(PROBE)}")
    assert host.read(PROBE) is None


# --- a write that fails on its way


class _Failing(requests.adapters.HTTPAdapter):
    """Loses the first request that replaces the plan environment.

    :param meanwhile: called in its place; whether to send it all the same.
    """

    def __init__(self, meanwhile: Callable[[], bool]) -> None:
        super().__init__()
        self.meanwhile = meanwhile
        self.sent = 0

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        replaces = request.url.endswith(base.PLAN_ENVIRONMENT)
        if request.method == "PUT" and replaces:
            self.sent += 1
            if self.sent == 1:
                if self.meanwhile():
                    super().send(request, *args, **more)
                raise requests.ConnectionError("lost")
        return super().send(request, *args, **more)


@contextlib.contextmanager
def _failing(
    services: Services, host: _InSwift, meanwhile: Callable[[], bool]
) -> Iterator[tuple[SwiftFiles, _Failing]]:
    with connect(services) as connection:
        adapter = _Failing(meanwhile)
        connection.session.session.mount("http://", adapter)
        store = ObjectStore.of(connection)
        yield SwiftFiles(store, host.name, ALONE), adapter


def test_others_write_while_a_request_is_lost(
    services: Services, host: _InSwift
) -> None:
    """It is not repeated over what they have written."""

    def others() -> bool:
        services.ask_swift("DELETE", f"{host.name}/{LOCK}")
        assert plan_host.add_environment(host.open(), "environments/b.yaml")
        return False

    with _failing(services, host, others) as (files, _):
        assert plan_host.add_environment(files, "environments/a.yaml")

    added = {"environments/a.yaml", "environments/b.yaml"}
    assert added <= set(plan_host.listed(host))


def test_answer_is_lost(services: Services, host: _InSwift) -> None:
    """Present parameters are not sent again."""
    with _failing(services, host, lambda: True) as (files, adapter):
        assert plan_host.add_environment(files, "environments/a.yaml")

    assert adapter.sent == 1
    assert plan_host.listed(host).count("environments/a.yaml") == 1


def test_lock_that_grew_old(
    services: Services, store: ObjectStore, host: _InSwift
) -> None:
    """Nothing is sent under a lock that others may have by now."""
    slow = [ALONE.section * 1.5]

    class Slow(ObjectStore):
        def ask(
            self, what: str, method: str, url: str, *a: Any, **m: Any
        ) -> Any:
            answer = super().ask(what, method, url, *a, **m)
            if method == "HEAD" and url.endswith(base.PLAN_ENVIRONMENT):
                time.sleep(slow.pop() if slow else 0)
            return answer

    files = SwiftFiles(Slow(store._proxy), host.name, ALONE)
    assert plan_host.add_environment(files, "environments/a.yaml")

    # Once more, if this host was busy.
    path = f"{host.name}/{re.escape(LOCK)}"
    assert len(services.log(rf"^PUT {path}")) >= 2


# --- objects


def test_objects_are_fetched_at_once(
    services: Services, store: ObjectStore, host: _InSwift
) -> None:
    """Each object once, several at a time."""
    names = [f"environments/{n}.yaml" for n in range(40)]
    services.make_plan(host.name, {name: f"a: {name}" for name in names})
    found = host.open().read_many([*names, *names])

    assert [found[name].content.decode() for name in names if found[name]] == [
        f"a: {name}" for name in names
    ]
    asked = services.log(rf"^GET {host.name}/environments/\d")
    assert sorted(asked) == sorted(f"GET {host.name}/{n}" for n in names)
    # In order they would be, if each waited for the one before.
    assert asked != [f"GET {host.name}/{n}" for n in names]


def test_large_object(services: Services, host: _InSwift) -> None:
    """No more is read than any real file has."""
    size = document.MAX_SIZE + 100_000
    path = f"{host.name}/large.yaml"
    assert services.ask_swift("PUT", path, bytes(size)).ok
    stored = host.open().read("large.yaml")

    assert stored is not None
    assert len(stored.content) == document.MAX_SIZE + 1


def test_large_environment(services: Services, host: _InSwift) -> None:
    """One that is too large is told by its name."""
    path = f"{host.name}/environments/site.yaml"
    size = document.MAX_SIZE + 1
    assert services.ask_swift("PUT", path, b"#" * size).ok
    with pytest.raises(errors.PlanError, match=r"site\.yaml: is larger than"):
        Plan(host.open()).read()


def test_segmented_object(services: Services, host: _InSwift) -> None:
    """An object that is made of segments is read as a whole."""
    for number in range(3):
        services.ask_swift("PUT", f"{host.name}/s/{number}", b"a: b\n#")
    path = f"{host.name}/big.yaml"
    manifest = {"X_Object_Manifest": f"{host.name}/s/"}
    assert services.ask_swift("PUT", path, b"", **manifest).ok
    stored = host.open().read("big.yaml")

    assert stored is not None
    assert stored.content == b"a: b\n#" * 3


def test_long_listing(services: Services, host: _InSwift) -> None:
    """Names come page after page."""
    services.make_plan(host.name, {f"many/{n}": "" for n in range(30)})

    class Small(ObjectStore):
        def ask(self, *words: Any, **more: Any) -> requests.Response:
            if "params" in more:
                more["params"] = {**more["params"], "limit": "7"}
            return super().ask(*words, **more)

    container = ObjectContainer(Small(host.open()._store._proxy), host.name)
    assert len(set(container.names("many"))) == 30


@pytest.mark.parametrize("name", ["v", "v1", "two words", "ü%20#?&"])
def test_names_of_plans(
    services: Services, store: ObjectStore, name: str
) -> None:
    """Whatever the name of the container, it is that one."""
    services.make_plan(name, plan_suite.FILES)
    plan = Plan(SwiftFiles(store, name, ALONE))
    plan.write_parameters({"A": "1"}, [])

    assert "A: '1'" in (services.read(name, base.PARAMETERS) or "")
    assert name in [each.name for each in plans(store)]


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "a\nb"])
def test_impossible_names(store: ObjectStore, name: str) -> None:
    """No request is made for what can be no container."""
    with pytest.raises(errors.InvalidArgument, match="no plan can have"):
        SwiftFiles(store, name)
