"""Input that is valid by itself and wrong together, or probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.catalog import Catalog
from imageprep_client.container.worklist import Selection
from imageprep_client.heat.parameters import PrepareEntry, PrepareParameters


def check_variables(parameters: PrepareParameters, catalog: Catalog) -> None:
    """See that ``set`` has no variables that make no difference.

    :raises InvalidFile: at the first that neither the release nor the user's
        own table knows.
    """
    for entry in parameters.entries or ():
        for name in entry.values:
            if not catalog.knows(name):
                raise errors.InvalidFile(
                    entry.path,
                    "unknown variable",
                    key=f"{entry.key}.set.{errors.printable(name)[:100]}",
                    hint=catalog.advice(name),
                )


def notices(
    parameters: PrepareParameters,
    catalog: Catalog,
    selections: Sequence[Selection],
    *,
    release_named: bool,
) -> Iterator[str]:
    """Warnings, one for each entry or parameter that they are about.

    :param release_named: whether the user, or a file, says which release it
        is.
    """
    if parameters.entries is None:
        yield (
            "ContainerImagePrepare is not given or empty: the default of"
            f" release {catalog.release} is used"
        )
        return
    for selection in selections:
        entry = selection.entry
        if not entry.tag_from_label:
            continue
        if not selection.images:
            yield _about(entry, "it has no effect: no image is wanted")
        elif not entry.values.get("tag"):
            continue
        elif catalog.tag_wins:
            yield _about(
                entry,
                f"it has no effect: in release {catalog.release} the tag in"
                " set wins; leave that out for versioned tags",
            )
        elif not release_named:
            yield _about(
                entry,
                "with a tag in set, too, the label gives the versioned tag,"
                " as up to ussuri and in master; from victoria on the tag"
                " wins: name the release with --release",
            )


def _about(entry: PrepareEntry, text: str) -> str:
    return f"{entry.path}: {entry.key}.tag_from_label: {text}"
