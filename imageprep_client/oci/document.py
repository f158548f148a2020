"""JSON documents from others, read in the one way that all readers share.

JSON leaves open what a repeated key means, decoders of other languages match
the names of fields whatever their case, and Python's own reads more than JSON
allows. A document that two readers could take differently is refused: one of
them could check a signature, and the other one run the image.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from imageprep_client import errors

#: Keys of all objects of a document together. The largest manifest has some
#: ten for each of its entries; a parsed key takes twenty times its bytes.
MAX_KEYS = 100_000
# Digits of the largest numbers that fit into 64 bits.
_MAX_DIGITS = 20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(content: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object.

    :param what: what messages call the document.
    :raises InvalidContent: when it is not UTF-8, not JSON, no object, or could
        be read in two ways: with a key twice in one object, ``NaN``, numbers
        that no 64 bits hold, or half a surrogate pair.
    """
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_Objects(),
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if _SURROGATE.search(content):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        # The causes of json and codecs carry the whole content.
        raise errors.InvalidContent(f"{what}: {_reason(error)}") from None
    if not isinstance(document, dict):
        raise errors.InvalidContent(f"{what}: not a JSON object")
    return document


def dump(document: Mapping[str, Any]) -> bytes:
    """A document in its shortest form, whose digest may become its name."""
    return json.dumps(document, separators=(",", ":")).encode()


def misreadable(document: Mapping[str, Any], names: frozenset[str]) -> str:
    """The problem of a field that differs from these in case only.

    Decoders such as that of Go take ``Layers`` for ``layers``, and the last
    one where there are both.

    :param names: the fields that are read.
    :returns: empty when there is no such field.
    """
    known = _folded(names)
    for key in sorted(document.keys() - names):
        name = known.get(key.casefold(), key)
        if name != key:
            return f"field {key[:50]!r} could be read as {name!r}"
    return ""


@functools.cache
def _folded(names: frozenset[str]) -> Mapping[str, str]:
    return {name.casefold(): name for name in names}


class _Objects:
    """Makes the objects of one document, and counts their keys."""

    def __init__(self) -> None:
        self._keys = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._keys += len(pairs)
        if self._keys > MAX_KEYS:
            raise _Unreadable(f"has over {MAX_KEYS} keys")
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(n for n in names if names.count(n) > 1)
            raise _Unreadable(f"has the key {twice[:50]!r} twice")
        return members


class _Unreadable(ValueError):
    """Something that JSON or this module does not allow."""


def _constant(text: str) -> NoReturn:
    raise _Unreadable(f"has {text}, which JSON does not know")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _Unreadable(f"has a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Unreadable(f"has the number {text[:20]}, which is too large")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, _Unreadable):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno} column {error.colno}"
        return f"no JSON: {error.msg.lower()} at {where}"
    if isinstance(error, UnicodeDecodeError):
        return f"no JSON: no UTF-8 at byte {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return "has half a surrogate pair"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "no JSON"
