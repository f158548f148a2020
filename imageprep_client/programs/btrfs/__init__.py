"""Subvolumes of btrfs, by the program ``btrfs``."""

from imageprep_client.programs.btrfs.subvolumes import (
    BtrfsError,
    create,
    delete,
    is_btrfs,
    is_subvolume,
    nested,
    snapshot,
)

__all__ = [
    "BtrfsError",
    "create",
    "delete",
    "is_btrfs",
    "is_subvolume",
    "nested",
    "snapshot",
]
