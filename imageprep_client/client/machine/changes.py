"""Changes of the roots of machines on this host."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.machine import settings
from imageprep_client.client.machine.sources import (
    VerifiedArchive,
    open_source,
)
from imageprep_client.client.state import state_directory
from imageprep_client.machine import cloning, roots
from imageprep_client.machine.cloning import ClonedMachine
from imageprep_client.machine.replacement import versions
from imageprep_client.machine.replacement.journal import Journal
from imageprep_client.machine.replacement.replacing import (
    KEEP,
    Replaced,
    ReplaceRequest,
    RootChanges,
)
from imageprep_client.machine.replacement.swap import Patience, SwapResult
from imageprep_client.machine.replacement.versions import KeptVersion
from imageprep_client.machine.roots import MachineRoot, RootStoreKind
from imageprep_client.observer import SILENT, Observer

__all__ = [
    "KEEP",
    "ClonedMachine",
    "KeptVersion",
    "Patience",
    "ReplaceOutcome",
    "ReplaceRequest",
    "Replaced",
    "RootChanges",
    "SwapResult",
    "clone",
    "find",
    "finish_deletion",
    "have",
    "kept",
    "of",
    "open_source",
    "replace",
]


def of(root: MachineRoot, observer: Observer = SILENT) -> RootChanges:
    """The changes of a root, with journals in the state directory."""
    return RootChanges(root, observer, journals=state_directory("machine"))


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaceOutcome:
    """The outcome of one machine.

    :ivar replaced: None when it failed, or had the image already.
    :ivar digest: of the image that its root is of now; empty when it failed.
    """

    name: str
    replaced: Replaced | None
    digest: str = ""
    failure: errors.ImagePrepError | None = None


def find(
    names: Sequence[str], store: str | None
) -> list[MachineRoot | ReplaceOutcome]:
    """The machines of these names, each once, and the failures of others.

    They are in the order of the names.

    :raises InvalidArgument: when there is no such store.
    """
    if store is not None:
        roots.open_store(store)
    found: dict[Path | str, MachineRoot | ReplaceOutcome] = {}
    for name in names:
        try:
            root = roots.find(name, store)
        except errors.InputError as error:
            found[name] = ReplaceOutcome(name, None, failure=error)
        else:
            found[root.path.resolve()] = root
    return list(found.values())


def replace(
    machines: Sequence[MachineRoot | ReplaceOutcome],
    archive: VerifiedArchive,
    request: ReplaceRequest,
    observer: Observer = SILENT,
    *,
    skip_present: bool = False,
) -> Iterator[ReplaceOutcome]:
    """Replace the roots of machines by one image, one after the other.

    :param machines: see `find`; failures are yielded in their places.
    :param skip_present: leave machines alone that have this image.
    """
    for root in machines:
        if isinstance(root, ReplaceOutcome):
            yield root
            continue
        changing = of(root, observer)
        if skip_present and changing.image() == archive.digest:
            yield ReplaceOutcome(root.name, None, archive.digest)
            continue
        try:
            replaced = changing.replace(
                functools.partial(archive.unpack, root.path),
                request,
                image=archive.digest,
            )
        except errors.ImagePrepError as error:
            yield ReplaceOutcome(root.name, None, failure=error)
        else:
            yield ReplaceOutcome(root.name, replaced, archive.digest)


def have(
    machines: Sequence[MachineRoot | ReplaceOutcome], digest: str
) -> bool:
    """Whether the roots of all machines were made from an image.

    :param machines: see `find`; failures have no root.
    """
    return all(
        of(root).image() == digest
        for root in machines
        if isinstance(root, MachineRoot)
    )


def kept(root: MachineRoot) -> list[KeptVersion]:
    """The kept versions of a root, the newest first."""
    return versions.kept(root.path)


def finish_deletion(name: str, store: str | None) -> bool:
    """Delete what an interrupted deletion left of a machine.

    :param name: of a machine that is not there any more.
    :param store: see `machine.roots.open_store`.
    :returns: whether there was anything.
    """
    roots.check_name(name)
    was_left = False
    for place in roots.stores(store):
        root = place.path / name
        # LXC deletes the others itself.
        if (
            place.kind is not RootStoreKind.MACHINES
            or root.exists()
            or not versions.leftovers(root)
        ):
            continue
        with Journal(state_directory("machine"), root).locked():
            for path in versions.leftovers(root):
                versions.delete(root, path)
        was_left = True
    return was_left


def clone(
    base: MachineRoot, names: Sequence[str], declaration: str | None = None
) -> Iterator[ClonedMachine]:
    """Make clones of a root, one after the other.

    :param declaration: that the settings of each clone are written from; see
        `client.machine.settings`.
    :raises InvalidArgument: before anything is made, when one cannot be.
    :raises StoreError: likewise, when another command uses the base, or
        clones containers of its store.
    """
    rendered = {}
    if declaration is not None:
        if base.is_lxc:
            raise errors.InvalidArgument(
                f"{base.name}: is a container of LXC, which has no settings"
                " of systemd-nspawn",
                hint="leave --settings out",
            )
        rendered = {name: settings.render(name, declaration) for name in names}
    with contextlib.ExitStack() as stack:
        if base.is_lxc:
            # Full copies take long, and each has a name of its own until it
            # is whole; LXC makes containers under their final names.
            for path in (base.store.path, base.path):
                journal = Journal(state_directory("machine"), path)
                stack.enter_context(journal.locked())
            cloning.clean(base.store)
        cloning.check(base, names)
        maker = cloning.Cloning(base)
        for name in names:
            yield maker.clone(name)
            # If this fails, the clone exists all the same.
            if name in rendered:
                settings.write(rendered[name])
