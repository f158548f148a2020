"""Changing images: what is wanted, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from imageprep_client import errors
from imageprep_client.observer import Observer

#: How names of variables begin or end whose values no log may show.
_SECRETS = ("credential", "passphrase", "password", "secret", "token")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """One image in local storage, and how it is to be changed.

    :ivar source_image: its name.
    :ivar target_image: the name of the result, without `append_tag`.
    :ivar ansible_role: does it.
    :ivar variables: for the role, as the user has written them;
        ``tasks_from`` among them selects a part of the role.
    """

    source_image: str
    target_image: str
    append_tag: str
    ansible_role: str
    variables: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @property
    def result(self) -> str:
        """What a role calls the image that it made."""
        return f"{self.target_image}{self.append_tag}"

    @property
    def other_result(self) -> str:
        """What roles call it that do not know ``target_image``."""
        return f"{self.source_image}{self.append_tag}"

    @property
    def tasks_from(self) -> str:
        """The file with the role's tasks; empty for the role's own choice."""
        return str(self.variables.get("tasks_from") or "")

    @property
    def secrets(self) -> frozenset[str]:
        """Texts among the variables that nothing may show."""
        return frozenset(_secrets(self.variables, False))


@dataclasses.dataclass(frozen=True, slots=True)
class Changed:
    """What became of one change.

    :ivar done: whether the role came to its end.
    :ivar error: why it did not; None when another failure ended it, too.
    """

    change: ImageChange
    done: bool
    error: errors.ModifyError | None = None


class Modifier(Protocol):
    """Changes images in local storage."""

    def modify(
        self,
        changes: Sequence[ImageChange],
        *,
        concurrency: int,
        keep_going: bool,
        observer: Observer,
    ) -> Sequence[Changed]:
        """Make all the changes; one answer for each, in their order.

        Nothing that was started for it is left when this returns or raises.

        :param concurrency: images at once, at most.
        :param keep_going: whether a failed image leaves the others to be
            changed.
        :raises ModifyError: when no image could be changed.
        """
        ...


def _secrets(value: object, secret: bool) -> list[str]:
    if isinstance(value, Mapping):
        return [
            text
            for name, part in value.items()
            for text in _secrets(part, secret or _is_secret(str(name)))
        ]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _secrets(part, secret)]
    return [str(value)] if secret and value not in (None, "") else []


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRETS)
