"""Challenges: the methods of authentication that a registry offers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

# It never backtracks: a header could otherwise take very long to parse.
_PART = re.compile(
    r"""\s*+,?+\s*+(?:
        (?P<key>[\w!#$%&'*+.^`|~-]++)\s*+=\s*+
          (?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<plain>(?!")[^\s,"]*+))
        |(?P<scheme>[\w!#$%&'*+.^`|~-]++)(?=\s|,|$)
    )""",
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Challenge:
    """A method of authentication that a registry offers.

    :ivar scheme: in lower case.
    :ivar parameters: keys in lower case.
    """

    scheme: str
    parameters: dict[str, str]

    def without_scope(self) -> Challenge:
        """The same for requests of which other scopes are known."""
        parameters = dict(self.parameters)
        parameters.pop("scope", None)
        return Challenge(self.scheme, parameters)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1).

    The list ends at the first syntax error.
    """
    challenges: list[Challenge] = []
    position = 0
    while match := _PART.match(header, position):
        position = match.end()
        if match["scheme"]:
            challenges.append(Challenge(match["scheme"].lower(), {}))
        elif challenges:
            value = match["plain"]
            if value is None:
                value = re.sub(r"\\(.)", r"\1", match["quoted"])
            challenges[-1].parameters[match["key"].lower()] = value
        else:
            break
    return challenges


def wanted_scopes(ours: Sequence[str], challenge: str) -> tuple[str, ...]:
    """The scopes of a token.

    Scopes of the challenge that `ours` lack are added, and replace those of
    `ours` for the same resource.

    :param challenge: the scopes in the challenge, separated by spaces.
    """
    actions: dict[str, set[str]] = {}
    for scope in ours:
        name, _, allowed = scope.rpartition(":")
        actions.setdefault(name, set()).update(allowed.split(","))
    lacking = []
    for scope in challenge.split():
        name, _, allowed = scope.rpartition(":")
        if not set(allowed.split(",")) <= actions.get(name, set()):
            lacking.append(scope)
    names = {scope.rpartition(":")[0] for scope in lacking}
    kept = [scope for scope in ours if scope.rpartition(":")[0] not in names]
    return (*kept, *lacking)
