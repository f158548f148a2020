"""Run ansible over hosts, with a result for each host.

::

    result = ansible.run(
        [{"hosts": "all", "tasks": [{"ansible.builtin.ping": None}]}],
        ansible.Inventory(groups={"controllers": {"a": dict(LOCAL)}}),
        on_event=lambda event: print(event.host, event.task),
        forks=50,
    )
    for host in result.hosts.values():
        if host.state is not HostState.OK:
            print(host.name, host.state.value, host.failure)

The inventory tells how to reach the hosts: by ssh, or locally. No process
that was started is left when `run` returns or raises.

Texts from images, registries or hosts must not be evaluated as templates:
write them as `Unsafe` into plays and inventories. Values that the log must not
show belong into tasks with ``no_log``, and into `secrets`.
"""

from imageprep_client.ansible.background import (
    GRACE,
    HostJob,
    JobObserver,
    JobResult,
    pause,
    run_jobs,
)
from imageprep_client.ansible.configuration import check_installed
from imageprep_client.ansible.documents import LOCAL, Inventory, Unsafe
from imageprep_client.ansible.events import (
    Event,
    HostFailure,
    HostState,
    RunResult,
)
from imageprep_client.ansible.inventories import HostGroups
from imageprep_client.ansible.runner import run
from imageprep_client.ansible.session import Session

__all__ = [
    "GRACE",
    "LOCAL",
    "Event",
    "HostFailure",
    "HostGroups",
    "HostJob",
    "HostState",
    "Inventory",
    "JobObserver",
    "JobResult",
    "RunResult",
    "Session",
    "Unsafe",
    "check_installed",
    "pause",
    "run",
    "run_jobs",
]
