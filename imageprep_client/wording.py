"""Amounts, times and groups of messages as people read them."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence

#: The names after the first one in a line for several images.
_NAMES = 3

# The start of a message names its image; then it may come once more, as a
# whole or in a URL, with a digest of its own.
_URL_PATH = re.compile(r"(https?://[^/\s]+)/[^\s:,;)]*")
#: The part after the name of an image where its digest matters.
_PINNED = re.compile(r" \(sha[0-9]+:[0-9a-f]+\)$")
_AMOUNT = re.compile(
    r"(\d+ bytes needed, )?\d+(\.\d+)? (bytes|[KMGTPE]?i?B)\b"
)
_DIGEST = re.compile(r"sha(256|512):[0-9a-f]+")


def size(count: int) -> str:
    """Bytes in powers of 1024, such as ``1.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds, and minutes where there are some."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def age(seconds: float) -> str:
    """The largest unit of a time span, such as ``3 weeks``."""
    units = (
        ("year", 365 * 86400),
        ("month", 30 * 86400),
        ("week", 7 * 86400),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
    )
    for name, length in units:
        if seconds >= length:
            return counted(int(seconds // length), name)
    return "now"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun.

    :param many: the plural, where it is not `one` and an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def tally(states: Iterable[object]) -> str:
    """Each state with its number, the most frequent one first."""
    counts = collections.Counter(map(str, states))
    return ", ".join(f"{n} {state}" for state, n in counts.most_common())


def alike(messages: Iterable[str]) -> list[list[str]]:
    """Messages that tell one cause of several images, grouped.

    A message begins with the name of its image; two are alike when nothing
    but names, digests and numbers of bytes differs. The largest group comes
    first.
    """
    groups: dict[str, list[str]] = {}
    for message in messages:
        groups.setdefault(cause(message), []).append(message)
    return sorted(groups.values(), key=len, reverse=True)


def line(group: Sequence[str], noun: str) -> str:
    """One line for messages that are alike: the first, and other names.

    :param noun: what the messages are about, such as ``image``.
    """
    first, *others = group
    if not others:
        return first
    names = [_PINNED.sub("", other.partition(": ")[0]) for other in others]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    some = ", ".join(names[:_NAMES])
    return f"{counted(len(group), noun)}: {first}; also {some}{more}"


def is_one_cause(failures: Iterable[Exception]) -> bool:
    """Whether all failures are alike."""
    return len(alike(map(str, failures))) == 1


def cause(message: str) -> str:
    """The message without what concerns only its image."""
    message = _URL_PATH.sub(r"\1/*", message)
    name, separator, rest = message.partition(": ")
    image, to, place = name.partition(" to ")
    image = _PINNED.sub("", image)
    if not separator or " " in image:
        return message
    path = image.removeprefix("docker://").partition("@")[0]
    path = re.sub(r":[^:/]*$", "", path)
    repository = path.partition("/")[2]
    for part in (path, repository, repository.rpartition("/")[2]):
        if part:
            rest = rest.replace(part, "*")
    return to + place + _AMOUNT.sub("*", _DIGEST.sub("*", rest))
