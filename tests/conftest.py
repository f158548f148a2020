"""Fixtures of all tests, and their order."""

from __future__ import annotations

import gc
import os
import pathlib
import re
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import local_storage as local_storages
from tests import openstack_services
from tests import podman_host as podman_hosts
from tests.local_storage import LocalStorage
from tests.podman_host import PodmanHost
from tests.rpm_images import RpmImages

_TESTS = pathlib.Path(__file__).parent
_GOLDEN = _TESTS / "golden"
#: Modules whose servers and images take long to start, and what those are
#: that several modules share.
_TOGETHER = re.compile(r"tests/(?:integration|torture)/|.*/test_service_")
_SERVICES = re.compile(
    r".*/test_(?:plan_cloud|plans_swift|run_plan|baremetal_register)\.py"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite tests/golden/ with what the code gives now",
    )


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start.

    A shell has programs that it starts in the background ignore it, and what
    they start inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Select what this user can run."""
    if os.geteuid() == 0:
        return
    others = [item for item in items if item.get_closest_marker("needs_root")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Let modules and tests, which are never garbage, not be looked at."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class _ByServers(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Has one worker run all tests that share servers or images.

    The groups of ``--dist loadgroup`` are lost with pytest 9. The largest
    ones begin, and single tests fill the time at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if _SERVICES.match(module):
            return "services"
        return module if _TOGETHER.match(module) else nodeid

    def mark_test_complete(
        self, node: Any, item_index: int, duration: float = 0
    ) -> None:
        """Forget what is done: each test looks through the rest."""
        super().mark_test_complete(node, item_index, duration)
        scope = self._split_scope(
            self.registered_collections[node][item_index]
        )
        unit = self.assigned_work[node][scope]
        if all(unit.values()):
            del self.assigned_work[node][scope]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByServers:
    """Distribute tests to workers."""
    return _ByServers(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail a test that is skipped: it would claim what nobody checked."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


class Golden:
    """Texts that were looked at once and may not change unnoticed."""

    def __init__(self, update: bool) -> None:
        self._update = update

    def check(
        self, name: str, text: str, *, normal: Callable[[str], str] = str
    ) -> None:
        """`text` is what tests/golden/`name` holds.

        :param normal: takes away what may differ.
        """
        path = _GOLDEN / name
        if self._update:
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or normal(path.read_text()) != normal(text):
                path.write_text(text)
        assert path.exists(), f"{path} is missing: run with --update-golden"
        assert normal(text) == normal(path.read_text())


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares with the files under tests/golden."""
    return Golden(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def services() -> Iterator[openstack_services.Services]:
    """A keystone and a swift; each test uses containers of its own name."""
    where = openstack_services.place()
    with (
        tempfile.TemporaryDirectory(prefix="imageprep-", dir=where) as d,
        openstack_services.running(pathlib.Path(d)) as found,
    ):
        yield found


@pytest.fixture
def local_storage(tmp_path: pathlib.Path) -> Iterator[LocalStorage]:
    """Local storage of the test's own; see tests/local_storage.py."""
    with local_storages.local_storage(tmp_path / "local-storage") as storage:
        yield storage


@pytest.fixture(scope="session")
def _podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanHost]:
    """Podman of the session's own, whose images are made once."""
    with podman_hosts.kept(tmp_path_factory.mktemp("podman")) as host:
        yield host


@pytest.fixture(scope="module")
def podman_site(_podman: PodmanHost) -> Iterator[PodmanHost]:
    """The same while a module uses it; see tests/podman_host.py."""
    with podman_hosts.used(_podman):
        yield _podman


@pytest.fixture
def podman_host(podman_site: PodmanHost) -> PodmanHost:
    """The same without containers of other tests; images stay."""
    podman_site.clear()
    return podman_site


@pytest.fixture(scope="module")
def images(podman_site: PodmanHost) -> list[str]:
    """Two versions of a service, and one that never answers."""
    return [
        podman_site.image("nova", "1"),
        podman_site.image("nova", "2"),
        podman_site.idle("nova", "broken"),
    ]


@pytest.fixture(scope="session")
def rpm_images(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> RpmImages:
    """Images that have rpm, dnf and pip; see tests/rpm_images.py."""
    home = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        home = home.parent  # what all workers share
    home /= "rpm-images"
    home.mkdir(exist_ok=True)
    return RpmImages(home)
