"""Roots of machines: where they are, of which kind, and their state."""

from imageprep_client.machine.roots.finding import (
    find,
    list_roots,
    open_store,
    stores,
)
from imageprep_client.machine.roots.removal import (
    abandoned,
    check_unmounted,
    clean_temporary,
    remove,
    temporary,
)
from imageprep_client.machine.roots.root import (
    MachineRoot,
    RootKind,
    RootStore,
    RootStoreKind,
    check_name,
)

__all__ = [
    "MachineRoot",
    "RootKind",
    "RootStore",
    "RootStoreKind",
    "abandoned",
    "check_name",
    "check_unmounted",
    "clean_temporary",
    "find",
    "list_roots",
    "open_store",
    "remove",
    "stores",
    "temporary",
]
