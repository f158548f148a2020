"""Dockerfiles that are built on top of another image than they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imageprep_client import errors

# A stage begins: FROM [--platform=...] IMAGE [AS NAME].
_FROM = re.compile(
    r"\s*FROM\s+(?:--\S+\s+)*[^\s\\]+(?P<name>\s+AS\s+\S+)?\s*", re.IGNORECASE
)
_INSTRUCTION = re.compile(r"\s*(?P<word>[A-Za-z]+)\s")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
# Names and numbers; what has a meaning in a Dockerfile is not among them.
_USER = re.compile(r"[\w.@+-]*(?::[\w.@+-]*)?", re.ASCII)
_PLAIN = re.compile(r"[\w.:/@+-]*", re.ASCII)


def modified(
    text: str, image: str, user: str, labels: Mapping[str, str]
) -> str:
    """A Dockerfile whose last stage is built on `image`.

    Other stages stay as they are. Where no stage is begun, one is, at the
    first instruction.

    :param user: who the built image's processes run as; empty for root.
    :param labels: of the built image, too.
    :raises InvalidArgument: when it cannot be told where the last stage
        begins or ends, or a value cannot be written without a meaning.
    """
    if not _USER.fullmatch(user):
        raise errors.InvalidArgument(
            f"{image}: its user cannot be kept: {user!r} is not a name or a"
            " number, with or without a group"
        )
    for each in (image, *labels, *labels.values()):
        if not _PLAIN.fullmatch(each):
            raise errors.InvalidArgument(
                f"Dockerfile: {each!r} cannot be a value in it"
            )
    lines = text.splitlines()
    first, begin = len(lines), None
    for number in _instructions(lines):
        first = min(first, number)
        matched = _INSTRUCTION.match(lines[number])
        if matched and matched["word"].upper() == "FROM":
            begin = number
    if begin is None:
        lines.insert(first, f"FROM {image}")
    else:
        found = _FROM.fullmatch(lines[begin])
        if found is None:
            raise errors.InvalidArgument(
                f"Dockerfile: line {begin + 1}: not FROM IMAGE [AS NAME]:"
                f" {lines[begin]!r}",
                hint="write it on one line",
            )
        lines[begin] = f"FROM {image}{found['name'] or ''}"
    lines += [f'LABEL "{key}"="{value}"' for key, value in labels.items()]
    return "\n".join((*lines, f'USER "{user}"', ""))


def _instructions(lines: list[str]) -> Iterator[int]:
    """The numbers of the lines that instructions begin on.

    :raises InvalidArgument: when the last one does not end.
    """
    going_on = False
    documents: list[str] = []
    for number, line in enumerate(lines):
        if documents:
            if line.strip() == documents[0]:
                del documents[0]
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not going_on:
            yield number
        going_on = line.rstrip().endswith("\\")
        documents = [name for _, name in _HEREDOC.findall(line)]
    if going_on or documents:
        raise errors.InvalidArgument(
            "Dockerfile: its last instruction does not end",
            hint="look for a backslash at the end of its last line",
        )
