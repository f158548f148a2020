"""Read files in the syntax of systemd's units, as Quadlet does.

The rules are in systemd.syntax(7) and systemd.unit(5).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping

from imageprep_client import errors
from imageprep_client.host import inputs

_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]")
_PIECE = re.compile(
    r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^\s"'\\]|\\.)+)""",
    re.DOTALL,
)
#: The rest is a quotation mark that is not closed, or a last backslash.
_WORD = re.compile(rf"(?:{_PIECE.pattern})+|(?P<rest>\S)", re.DOTALL)
_ESCAPE = re.compile(
    r"""\\(?:x(?P<hex>[0-9A-Fa-f]{2})|u(?P<short>[0-9A-Fa-f]{4})
    |U(?P<long>00(?:0[0-9A-Fa-f]|10)[0-9A-Fa-f]{4})|(?P<octal>[0-7]{3})|(?P<one>.))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = dict(zip("abfnrtvs\\\"'", "\a\b\f\n\r\t\v \\\"'", strict=True))
#: Specifiers whose values are fixed for units of the system.
_SPECIFIERS = {
    "%": "%",
    "C": "/var/cache",
    "E": "/etc",
    "G": "0",
    "L": "/var/log",
    "S": "/var/lib",
    "T": "/tmp",  # noqa: S108
    "U": "0",
    "V": "/var/tmp",  # noqa: S108
    "g": "root",
    "h": "/root",
    "t": "/run",
    "u": "root",
}


def load(path: str) -> dict[str, list[tuple[str, str]]]:
    """The keys and values of each section, in order.

    An empty value removes the earlier values of its key.

    :raises InvalidFile: for the first mistake.
    """
    text = inputs.load(path).decode(errors="replace")
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for number, line in enumerate(_lines(text), 1):
        if match := _SECTION.fullmatch(line):
            current = sections.setdefault(match["name"], [])
            continue
        key, equals, value = map(str.strip, line.partition("="))
        if current is None or not equals:
            raise errors.InvalidFile(
                path, f"statement {number} is no Key=value of a section"
            )
        if value:
            current.append((key, value))
        else:
            current[:] = [pair for pair in current if pair[0] != key]
    return sections


def _lines(text: str) -> Iterator[str]:
    """Lines without comments; a backslash at the end joins two."""
    joined = ""
    for raw in text.splitlines():
        line = raw.strip()
        if (not line and not joined) or line[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        yield (joined + line).strip()
        joined = ""
    if joined:
        yield joined.strip()


def split(text: str) -> list[str]:
    """The words of a value, without quotation marks and escapes.

    :raises ValueError: when a quotation mark is not closed, or a backslash
        is the last character.
    """
    words = []
    for word in _WORD.finditer(text):
        if word["rest"]:
            raise ValueError(
                "a quotation mark or a backslash at the end is not complete"
            )
        pieces = ("".join(piece) for piece in _PIECE.findall(word[0]))
        words.append("".join(_ESCAPE.sub(_unescaped, one) for one in pieces))
    return words


def _unescaped(escape: re.Match[str]) -> str:
    if escape["one"]:
        return _ESCAPED.get(escape["one"], escape[0])
    if escape["octal"]:
        return chr(int(escape["octal"], 8))
    return chr(int(escape["hex"] or escape["short"] or escape["long"], 16))


def expand(text: str, unit: str) -> str:
    """The text with its specifiers replaced, as for a unit of the system.

    :param unit: the name of the unit without its suffix.
    :raises ValueError: for a specifier whose value is not known.
    """
    host = socket.gethostname()
    values: Mapping[str, str] = {
        **_SPECIFIERS,
        "H": host,
        "N": unit,
        "l": host.partition(".")[0],
        "n": f"{unit}.service",
        "p": unit.partition("@")[0],
    }

    def value(specifier: re.Match[str]) -> str:
        if specifier[1] != "%" and not specifier[1].isalpha():
            return specifier[0]
        try:
            return values[specifier[1]]
        except KeyError:
            raise ValueError(
                f"the value of {specifier[0]} is not known"
            ) from None

    return re.sub(r"%(.?)", value, text)
