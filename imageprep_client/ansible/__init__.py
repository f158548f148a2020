"""Running ansible over hosts, with a result for each of them.

::

    result = ansible.run(
        [{"hosts": "all", "tasks": [{"ansible.builtin.ping": None}]}],
        "inventory.yaml",
        on_event=lambda event: print(event.host, event.task),
        forks=50,
        timeout=600,
    )
    for host in result.hosts.values():
        if host.state is not HostState.OK:
            print(host.name, host.state.value, host.failure)

`run` takes plays or the path of a playbook, and an `Inventory` or the path of
an inventory, whose hosts are reached as it says: by ssh, or on this host.
Nothing that was started here is left when `run` returns or raises.

Texts that come from images, registries or hosts must not be taken for
templates: write them as `Unsafe` into plays and inventories. Values for which
the log must not show anything belong into tasks with ``no_log``, and their
texts into `secrets`.
"""

from imageprep_client.ansible.configuration import check_installed
from imageprep_client.ansible.documents import LOCAL, Inventory, Unsafe
from imageprep_client.ansible.events import (
    Event,
    HostFailure,
    HostResult,
    HostState,
    RunResult,
)
from imageprep_client.ansible.runner import run

__all__ = [
    "LOCAL",
    "Event",
    "HostFailure",
    "HostResult",
    "HostState",
    "Inventory",
    "RunResult",
    "Unsafe",
    "check_installed",
    "run",
]
