"""Rewrite Dockerfiles so that they build on top of another image."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import errors

# White space of Go, which docker ignores before an instruction.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# The separator of words in an instruction.
_GAP = r"[\t\v\f\r ]+"
# The begin of a stage: FROM [--platform=...] IMAGE [AS NAME].
_FROM = re.compile(
    rf"FROM{_GAP}(?:--\S+{_GAP})*[^\s\\`]+(?P<name>{_GAP}AS{_GAP}\S+)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\t\v\f\r ]+")
# Comments at the very top that have a meaning.
_DIRECTIVE = re.compile(
    r"#\s*(?P<key>escape|syntax|check)\s*=\s*(?P<value>.+?)\s*", re.IGNORECASE
)
_HEREDOC = re.compile(r"[0-9]*<<(?P<chomp>-?)(?P<name>[^<]+)")
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
# A shell word: quoted parts, escaped characters, and others.
_SHELL_WORD = re.compile(
    r"""(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])+|(?P<open>\S)"""
)
# Names and numbers without characters that a Dockerfile interprets.
_USER = re.compile(r"[\w.@+-]*(?::[\w.@+-]*)?", re.ASCII)
_PLAIN = re.compile(r"[\w.:/@+-]*", re.ASCII)


def modified(
    text: str, image: str, user: str, labels: Mapping[str, str]
) -> str:
    """Rewrite a Dockerfile so that its last stage is built on `image`.

    Other stages are not changed. If there is no stage, one begins at the
    first instruction.

    :param user: the user of the built image; empty for root.
    :param labels: additional labels of the built image.
    :raises InvalidArgument: when the last stage has no clear begin or end, or
        a value has characters that a Dockerfile interprets.
    """
    if not _USER.fullmatch(user):
        raise errors.InvalidArgument(
            f"{image}: its user cannot be kept: {user!r} is not a name or a"
            " number, with or without a group"
        )
    for value in (image, *labels, *labels.values()):
        if not _PLAIN.fullmatch(value):
            raise errors.InvalidArgument(
                f"Dockerfile: {value!r} cannot be a value in it"
            )
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    first, begin = len(lines), None
    for instruction in _instructions(lines):
        first = min(first, instruction.line)
        if instruction.word == "FROM":
            begin = instruction
    if begin is None:
        lines.insert(first, f"FROM {image}")
    else:
        line = lines[begin.line].strip(_SPACE)
        base = _FROM.fullmatch(line)
        if base is None or begin.goes_on:
            raise errors.InvalidArgument(
                f"Dockerfile: line {begin.line + 1}: not FROM IMAGE [AS NAME]:"
                f" {line!r}",
                hint="write it on one line",
            )
        lines[begin.line] = f"FROM {image}{base['name'] or ''}"
    lines += [f'LABEL "{key}"="{value}"' for key, value in labels.items()]
    return "\n".join((*lines, f'USER "{user}"', ""))


@dataclasses.dataclass(slots=True)
class _Instruction:
    """An instruction.

    :ivar line: the number of its first line.
    :ivar word: its first word, in upper case.
    :ivar text: the whole instruction on one line.
    :ivar goes_on: whether it has several lines.
    """

    line: int
    word: str
    text: str
    goes_on: bool = False


def _instructions(lines: Sequence[str]) -> Iterator[_Instruction]:
    """Split a Dockerfile into instructions as docker does.

    :raises InvalidArgument: when the last instruction does not end, or docker
        and buildah disagree about the end of one.
    """
    escape, number = _directives(lines)
    continued = re.compile(rf"{re.escape(escape)}[ \t]*$")
    current: _Instruction | None = None
    while number < len(lines):
        line = lines[number].removesuffix("\r")
        here = number
        number += 1
        stripped = line.lstrip(_SPACE)
        if not stripped or stripped.startswith("#"):
            continue
        if current is None:
            word = _WORD.match(stripped)
            current = _Instruction(here, word[0].upper() if word else "", "")
        more = continued.search(line)
        current.text += line[: more.start()] if more else line
        if more:
            current.goes_on = True
            if current.text.endswith(escape):
                raise errors.InvalidArgument(
                    f"Dockerfile: line {here + 1}: ends in {escape * 2}, which"
                    " docker and buildah understand differently",
                    hint="put another character at the end of the line",
                )
            continue
        for name, chomp in _heredocs(current):
            number = _end_of(lines, number, name, chomp=chomp)
        yield current
        current = None
    if current is not None:
        raise _unfinished()


def _directives(lines: Sequence[str]) -> tuple[str, int]:
    """The escape character, and the number of the line after directives."""
    escape = "\\"
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line.strip(_SPACE))
        if directive is None:
            return escape, number
        if directive["key"].lower() == "escape":
            escape = directive["value"]
            if escape not in ("\\", "`"):
                raise errors.InvalidArgument(
                    f"Dockerfile: line {number + 1}: escape is {escape!r},"
                    " neither \\ nor `"
                )
    return escape, len(lines)


def _heredocs(instruction: _Instruction) -> list[tuple[str, bool]]:
    """The names of the documents that follow an instruction.

    Each name comes with whether tabs before its end line are ignored.
    """
    text = instruction.text.strip(_SPACE)
    if instruction.word == "ONBUILD":
        text = text[len("ONBUILD") :].lstrip(_SPACE)
    word, _, rest = text.partition(" ")
    if word.strip(_SPACE).upper() not in _WITH_HEREDOCS or _is_json(rest):
        return []
    words = list(_SHELL_WORD.finditer(text))
    if any(word["open"] for word in words):
        return []  # a quote without its end
    return [
        (re.sub(r"""['"]|\\(.)""", r"\1", start["name"]), bool(start["chomp"]))
        for word in words
        if (start := _HEREDOC.fullmatch(word[0]))
    ]


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _end_of(
    lines: Sequence[str], number: int, name: str, *, chomp: bool
) -> int:
    """The number of the line after a document."""
    while number < len(lines):
        line = lines[number].removesuffix("\r")
        number += 1
        if (line.lstrip("\t") if chomp else line) == name:
            return number
    raise _unfinished()


def _unfinished() -> errors.InvalidArgument:
    return errors.InvalidArgument(
        "Dockerfile: its last instruction does not end",
        hint="look for an escape character at the end of its last line, or a"
        " document without its end",
    )
