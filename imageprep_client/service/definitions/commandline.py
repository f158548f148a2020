"""Parse the command line that created a container."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.service.declaration import (
    OPTIONS,
    OptionKind,
    OptionValue,
    Service,
)

#: Options that take no value, beside those that `OPTIONS` has.
_FLAGS = frozenset(
    str.split("""
    detach disable-content-trust env-host help http-proxy init interactive
    no-healthcheck no-hostname no-hosts oom-kill-disable passwd publish-all
    quiet read-only read-only-tmpfs replace rm rmi rootfs sig-proxy tls-verify
    tty unsetenv-all
""")
)
_SHORT = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "P": "publish-all",
    "p": "publish",
    "q": "quiet",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}
_ALIASES = {"net": "network", "healthcheck-command": "health-cmd"}
#: Options that do not make the container another one.
_WITHOUT_EFFECT = frozenset(
    str.split("""
    attach authfile cidfile detach detach-keys disable-content-trust name pull
    quiet replace rm sig-proxy tls-verify
""")
)
#: Options whose value may be several, with commas.
_DELIMITED = frozenset({"cap-add", "cap-drop"})
_KEYS = {option.name: key for key, option in OPTIONS.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class CreateCommand:
    """A parsed command line of ``podman create`` or ``podman run``.

    :ivar service: without an image.
    :ivar image: as it is named there.
    :ivar inherited: variables whose values were those of podman itself.
    """

    service: Service
    image: str
    inherited: tuple[str, ...]


def parse(words: Sequence[str], name: str) -> CreateCommand:
    """The arguments of ``podman create`` or ``podman run``.

    :param words: with ``podman`` at their beginning, or only the arguments.
    :param name: of the container.
    :raises InvalidArgument: when there is no image in it, or no number where
        one is expected.
    """
    reader = _Reader(_arguments(words))
    options: dict[str, OptionValue] = {}
    environment: dict[str, str] = {}
    files: list[str] = []
    inherited: list[str] = []
    others: list[str] = []
    for option, value in reader.options():
        if option == "env":
            variable, equals, text = value.partition("=")
            if equals:
                environment[variable] = text
            else:
                inherited.append(variable)
        elif option == "env-file":
            files.append(value)
        elif option in _KEYS:
            _add(options, _KEYS[option], value)
        elif option not in _WITHOUT_EFFECT:
            others.append(_word(option, value))
    if not reader.rest:
        raise errors.InvalidArgument(f"{name}: its command line has no image")
    image, *command = reader.rest
    service = Service(
        name=name,
        options=options,
        environment=environment,
        env_file=tuple(files),
        podman_args=tuple(others),
        command=tuple(command),
    )
    return CreateCommand(service, image, tuple(inherited))


def secret_variables(words: Sequence[str]) -> Iterator[str]:
    """The variables that a command line takes from secrets of podman."""
    for option, value in _Reader(_arguments(words)).options():
        if option == "secret":
            # The name of the secret needs no key.
            given = dict(
                (part if "=" in part else f"source={part}").split("=", 1)
                for part in value.split(",")
            )
            if given.get("type") == "env":
                yield given.get("target") or given.get("source", "")


def _arguments(words: Sequence[str]) -> list[str]:
    """The words after ``create`` or ``run``."""
    for place, word in enumerate(words):
        if word in ("create", "run") and place:
            return list(words[place + 1 :])
    return list(words)


class _Reader:
    """Reads options until the first word that is none.

    :ivar rest: the image and what comes after it, when all are read.
    """

    def __init__(self, words: list[str]) -> None:
        self.rest = words

    def options(self) -> Iterator[tuple[str, str]]:
        """Long names of options with their values; ``true`` for flags."""
        while self.rest and self.rest[0].startswith("-"):
            word = self.rest.pop(0)
            if word == "--":
                return
            if word.startswith("--"):
                yield self._long(word[2:])
            else:
                yield from self._short(word[1:])

    def _long(self, word: str) -> tuple[str, str]:
        name, equals, value = word.partition("=")
        name = _ALIASES.get(name, name)
        if equals:
            return name, value
        return name, "true" if _is_flag(name) else self._value()

    def _short(self, letters: str) -> Iterator[tuple[str, str]]:
        """Letters such as ``-it``, the last of which may take a value."""
        while letters:
            letter, letters = letters[0], letters[1:]
            name = _SHORT.get(letter, letter)
            if _is_flag(name):
                yield name, "true"
            else:
                yield name, letters.removeprefix("=") or self._value()
                return

    def _value(self) -> str:
        return self.rest.pop(0) if self.rest else ""


def _is_flag(name: str) -> bool:
    key = _KEYS.get(name)
    is_known_flag = key and OPTIONS[key].kind is OptionKind.FLAG
    return name in _FLAGS or bool(is_known_flag)


def _word(option: str, value: str) -> str:
    if option in _FLAGS and value == "true":
        return f"--{option}"
    return f"--{option}={value}"


def _add(options: dict[str, OptionValue], key: str, value: str) -> None:
    """Add an option as podman does when it is given again."""
    kind = OPTIONS[key].kind
    before = options.get(key)
    if kind is OptionKind.FLAG:
        options[key] = value.lower() in ("true", "1", "t")
    elif kind is OptionKind.NUMBER:
        if not value.isdecimal():
            raise errors.InvalidArgument(
                f"--{OPTIONS[key].name}={errors.printable(value)[:50]}:"
                " expected a number"
            )
        options[key] = int(value)
    elif kind is OptionKind.TEXT:
        options[key] = value
    elif kind is OptionKind.LIST:
        several = OPTIONS[key].name in _DELIMITED
        values = tuple(value.split(",")) if several else (value,)
        options[key] = (
            (*before, *values) if isinstance(before, tuple) else values
        )
    else:
        name, _, text = value.partition("=")
        old = dict(before) if isinstance(before, dict) else {}
        options[key] = {**old, name: text}
