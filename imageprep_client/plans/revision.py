"""One state of the file with the image parameters; no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.errors import printable
from imageprep_client.heat import document, parameters
from imageprep_client.plans import base

_IMAGE = re.compile(r"\w*(Container|Docker)\w*Image")
#: The other parameter that image preparation writes.
_REGISTRIES = "DockerInsecureRegistryAddress"
_MASK = "***"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?")
_COMMAND = re.compile(r"#\s*(openstack .*)")
#: The first line that is neither empty nor a comment.
_BODY = re.compile(rb"^[ \t]*[^#\s]", re.M)


class State:
    """Present or earlier content of the file.

    :ivar content: its bytes.
    :ivar problem: the reason why it has no parameters, or empty.
    :ivar time: the creation time in its header, or empty.
    :ivar command: the command line in its header, or empty.
    """

    def __init__(
        self, content: bytes, together: document.DocumentBudget | None = None
    ) -> None:
        """Parse it.

        :param together: what this state and others may hold together.
        """
        self.content = content
        self.problem = ""
        self._document: Any = None
        try:
            self._document = document.parse(content, base.PARAMETERS, together)
            if not isinstance(self._document, dict):
                self.problem = "expected a mapping"
            elif not isinstance(self._section(), dict):
                self.problem = "parameter_defaults: expected a mapping"
        except errors.InvalidFile as error:
            self.problem = error.problem
        head = _head(content).decode(errors="replace")
        time = _TIME.search(head)
        self.time = time[0] if time else ""
        command = _COMMAND.search(head)
        self.command = printable(command[1].strip()) if command else ""

    @classmethod
    def broken(cls, problem: str) -> Self:
        """A state that cannot be read."""
        state = cls(b"")
        state.problem = problem
        return state

    @property
    def values(self) -> dict[str, Any]:
        """The parameters; empty when the file is broken."""
        return {} if self.problem else self._section()

    def says(self, other: State) -> bool:
        """Whether both have the same values, comments aside."""
        if self.problem or other.problem:
            return self.content == other.content
        # A YAML text tells 1 from true and "1"; Python's == does not.
        return document.dump(self._document) == document.dump(other._document)

    def changes(self, old: State | None) -> list[base.ParameterChange]:
        """The changes from an older state; None stands for no file."""
        before = parameters.flat(old.values) if old else {}
        now = parameters.flat(self.values)
        return [
            base.ParameterChange(
                printable(str(name)),
                _shown(name, before[name]) if name in before else "",
                _shown(name, now[name]) if name in now else "",
            )
            for name in sorted(before.keys() | now.keys(), key=str)
            if name not in before
            or name not in now
            or document.dump(before[name]) != document.dump(now[name])
        ]

    def under(self, header: Sequence[str]) -> bytes:
        """The content with another header."""
        lines = [f"# {printable(line)}".rstrip() for line in header]
        body = self.content[len(_head(self.content)) :]
        return "\n".join([*lines, "", ""]).encode() + body

    def _section(self) -> Any:
        section = self._document.get("parameter_defaults")
        return {} if section is None else section


def is_image(parameter: object, value: object) -> bool:
    """Whether a heat parameter names a container image."""
    return (
        isinstance(parameter, str)
        and isinstance(value, str)
        and _IMAGE.fullmatch(parameter.rpartition(".")[2]) is not None
    )


def _head(content: bytes) -> bytes:
    """The comments and empty lines at the top."""
    body = _BODY.search(content)
    return content[: body.start()] if body else content


def _shown(name: str, value: Any) -> str:
    """A printable value, masked unless it is an image."""
    if is_image(name, value) and value:
        return printable(value)
    # Others may have put anything into the file, passwords as well.
    if name != _REGISTRIES and not is_image(name, ""):
        return _MASK
    return json.dumps(value, default=str)
