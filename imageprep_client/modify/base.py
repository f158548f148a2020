"""The vocabulary of changed images: requests and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import redaction


class InvalidVariable(errors.InvalidArgument):
    """A variable of a role cannot be used.

    :ivar name: the name of the variable.
    """

    def __init__(
        self, name: str, message: str, *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.name = name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """One image in local storage and the change to make to it.

    :ivar source_image: the name of the image.
    :ivar target_image: the name of the result, without `append_tag`.
    :ivar ansible_role: the role that makes the change.
    :ivar variables: the variables of the role as the user wrote them;
        ``tasks_from`` selects a part of the role.
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
        """The name that a role gives to the result."""
        return f"{self.target_image}{self.append_tag}"

    @property
    def other_result(self) -> str:
        """The name given by roles that do not know ``target_image``."""
        return f"{self.source_image}{self.append_tag}"

    @property
    def tasks_from(self) -> str:
        """The file with the tasks; empty for the default of the role."""
        return str(self.variables.get("tasks_from") or "")

    @property
    def secrets(self) -> frozenset[str]:
        """Values of variables that must not be shown."""
        return frozenset(_secrets(self.variables, False))


@dataclasses.dataclass(frozen=True, slots=True)
class Changed:
    """The result of one change.

    :ivar done: whether the role finished.
    :ivar error: the reason if it did not; None if another failure ended it.
    """

    change: ImageChange
    done: bool
    error: errors.ModifyError | None = None


def _secrets(value: object, secret: bool) -> list[str]:
    if isinstance(value, Mapping):
        return [
            text
            for name, part in value.items()
            for text in _secrets(
                part, secret or redaction.is_secret(str(name).lower())
            )
        ]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _secrets(part, secret)]
    return [str(value)] if secret and value not in (None, "") else []
