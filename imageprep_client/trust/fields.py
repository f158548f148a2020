"""JSON objects, read strictly: each key and type must be the expected one."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def decoded(text: str) -> bytes:
    """Decode base64; line ends in it are ignored, as in Go.

    :raises ValueError: when the text is not base64.
    """
    text = text.replace("\r", "").replace("\n", "")
    return base64.b64decode(text.encode("ascii"), validate=True)


class Malformed(Exception):
    """A part of a document is not as specified.

    :param key: its path in the document, such as ``transports.docker``.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.key = key
        self.reason = reason


class Fields:
    """The fields of one object.

    :param key: the path of the object in its document; empty for the root.
    """

    def __init__(self, value: object, key: str = "") -> None:
        if not isinstance(value, dict):
            raise Malformed(key, "not an object")
        self._value: Mapping[str, Any] = value
        self.key = key

    def __contains__(self, name: str) -> bool:
        return name in self._value

    @property
    def names(self) -> Collection[str]:
        return self._value.keys()

    def path(self, name: str) -> str:
        """The path of a field in the document."""
        return f"{self.key}.{name}" if self.key else name

    def only(self, *names: str) -> None:
        """Refuse fields of any other name.

        :raises Malformed: when there is one.
        """
        for name in self._value:
            if name not in names:
                raise Malformed(self.path(name[:50]), "unknown key")

    def exactly(self, *names: str) -> None:
        """Refuse other fields, and require these.

        :raises Malformed: when one is missing or unknown.
        """
        self.only(*names)
        for name in names:
            if name not in self._value:
                raise Malformed(self.path(name), "missing")

    def part(self, name: str) -> Fields:
        """A field that is an object."""
        return Fields(self._value.get(name), self.path(name))

    def value(self, name: str) -> Any:
        """The value of a field of any type; None when it is missing."""
        return self._value.get(name)

    def text(self, name: str) -> str:
        """A field that is a non-empty string."""
        value = self._value.get(name)
        if not isinstance(value, str) or not value:
            raise Malformed(self.path(name), "not a string, or empty")
        return value

    def texts(self, name: str) -> Sequence[str]:
        """A field that is a non-empty list of non-empty strings."""
        value = self._value.get(name)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(one, str) and one for one in value)
        ):
            raise Malformed(self.path(name), "not a list of strings")
        return value

    def data(self, name: str) -> bytes:
        """A field that is bytes in base64."""
        return self._decoded(name, self.text(name))

    def datas(self, name: str) -> Sequence[bytes]:
        """A field that is a list of bytes in base64."""
        return [self._decoded(name, text) for text in self.texts(name)]

    def _decoded(self, name: str, text: str) -> bytes:
        try:
            return decoded(text)
        except ValueError:
            raise Malformed(self.path(name), "not base64") from None
