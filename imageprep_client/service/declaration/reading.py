"""Reading declarations; each mistake is named with its file and key."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.heat.value import Value
from imageprep_client.host import inputs
from imageprep_client.oci.reference import Reference
from imageprep_client.service.declaration.model import (
    HostRequirements,
    NodeDeclaration,
    Probe,
    Service,
    unordered,
)
from imageprep_client.service.declaration.options import (
    OPTIONS,
    Option,
    OptionKind,
    OptionValue,
)

#: The beginning of names that kept containers have.
KEPT = "image-prepare."
_OTHERS = "an option of podman without a key belongs in podman_args"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_URL = re.compile(r"https?://[^\s/?#]+\S*")
_MODULE = re.compile(r"[a-zA-Z0-9_-]+")
_UNIT = re.compile(r"[a-zA-Z0-9:_.@\\-]+")
#: Options of podman that are set here, or that would make it something else
#: than a service.
_OWN = frozenset(
    {"name", "replace", "rm", "rmi", "detach", "pull", "cidfile", "restart"}
)


def load(path: str) -> NodeDeclaration:
    """The declaration in a file.

    :raises InvalidFile: for the first mistake.
    """
    text = inputs.load(path)
    data = document.parse(text, path, numbers_as_written=True)
    declared = parse(data, path)
    return dataclasses.replace(declared, text=text)


def parse(data: object, path: str) -> NodeDeclaration:
    """The declaration in a parsed YAML document.

    :param path: the file to name in errors.
    :raises InvalidFile: for the first mistake.
    """
    services: dict[str, Service] = {}
    top = Value({} if data is None else data, path)
    for key, value in top.items():
        if key != "services":
            raise value.unknown(key, ["services"])
        for name, one in value.items():
            services[name] = service_from(name, one)
    if not services:
        raise top.error("no services", "write services: {name: {image: ...}}")
    for name, service in services.items():
        place = Value(None, path, f"services.{name}.depends_on")
        for other in service.depends_on:
            if other not in services:
                raise place.error(f"{other}: no such service")
    if circle := unordered(services.values()):
        place = Value(None, path, f"services.{circle[0]}.depends_on")
        raise place.error("these depend on each other: " + ", ".join(circle))
    return NodeDeclaration(path, services)


def service_from(name: str, value: Value) -> Service:
    """One service.

    :raises InvalidFile: for the first mistake.
    """
    if not _NAME.fullmatch(name):
        raise value.error(
            "cannot be the name of a container",
            "use letters, digits, dots, hyphens and underscores",
        )
    if name.startswith(KEPT):
        raise value.error(
            "cannot be the name of a service",
            f"names with {KEPT} are those of kept containers",
        )
    given: dict[str, Any] = {}
    options: dict[str, OptionValue] = {}
    for key, part in value.items():
        if key in OPTIONS:
            options[key] = _option(OPTIONS[key], part)
        elif key in _KEYS:
            given[key] = _KEYS[key](part)
        else:
            raise part.unknown(key, [*_KEYS, *OPTIONS], _OTHERS)
    if bool(given.get("image")) == bool(given.get("parameter")):
        raise value.error(
            "has both an image and a parameter"
            if given.get("image")
            else "has no image",
            "write image: REFERENCE, or parameter: HEAT_PARAMETER",
        )
    twice = set(given.get("env_from", ())) & set(given.get("environment", ()))
    for variable in sorted(twice):
        raise value.child("env_from", None).error(
            f"{variable} is in environment, too"
        )
    return Service(name=name, options=options, **given)


def _option(option: Option, value: Value) -> OptionValue:
    if option.kind is OptionKind.FLAG:
        return value.flag()
    if option.kind is OptionKind.NUMBER:
        return _positive(value)
    if option.kind is OptionKind.MAP:
        return _mapping(value)
    if option.kind is OptionKind.LIST:
        # One element needs no list, as for networks.
        elements = [value] if isinstance(value.data, str) else value.elements()
        return tuple(_matched(option, element) for element in elements)
    return _matched(option, value)


def _matched(option: Option, value: Value) -> str:
    data = value.data
    if isinstance(data, int) and not isinstance(data, bool):
        # user: 42436, memory: 536870912
        data = str(data)
    text = Value(data, value.path, value.key).text()
    if not text:
        raise value.error("is empty")
    _check_plain(value, text)
    if option.pattern and not option.pattern.fullmatch(text):
        raise value.error(f"expected {option.form}")
    return text


def _check_plain(value: Value, text: str) -> None:
    if "\0" in text or "\n" in text:
        raise value.error("has a line break or a zero byte in it")


def _positive(value: Value) -> int:
    number = value.whole()
    if number < 0:
        raise value.error("expected a number from 0 on")
    return number


def _seconds(value: Value) -> float:
    try:
        number = float(value.scalar())
    except ValueError:
        raise value.expected("a number of seconds") from None
    if not 0 <= number < 1e6:
        raise value.error("expected a number of seconds from 0 on")
    return number


def _mapping(value: Value) -> dict[str, str]:
    """A mapping of strings; a list of NAME=VALUE is one, too."""
    if isinstance(value.data, list):
        pairs = {}
        for element in value.elements():
            name, equals, text = element.text().partition("=")
            if not equals:
                raise element.error("expected NAME=VALUE")
            pairs[name] = text
        return pairs
    return {name: _scalar(part) for name, part in value.items()}


def _scalar(value: Value) -> str:
    text = value.scalar()
    if "\0" in text:
        raise value.error("has a zero byte in it")
    return text


def _environment(value: Value) -> dict[str, str]:
    pairs = _mapping(value)
    for name in pairs:
        if not _VARIABLE.fullmatch(name):
            raise value.child(name, None).error(
                "cannot be the name of a variable"
            )
    return pairs


def _env_from(value: Value) -> dict[str, str]:
    origins = {}
    for name, part in value.items():
        if not _VARIABLE.fullmatch(name):
            raise part.error("cannot be the name of a variable")
        for key, parameter in part.items():
            if key != "parameter":
                raise parameter.unknown(key, ["parameter"])
            origins[name] = _parameter(parameter)
        if name not in origins:
            raise part.error("names no parameter", "write {parameter: NAME}")
    return origins


def _parameter(value: Value) -> str:
    text = value.text()
    if not _PARAMETER.fullmatch(text):
        raise value.error("cannot be the name of a heat parameter")
    return text


def _image(value: Value) -> str:
    text = value.text()
    try:
        Reference.parse(text.removeprefix("docker://"))
    except errors.InvalidReference as error:
        raise value.error(str(error), error.hint) from None
    return text.removeprefix("docker://")


def _words(value: Value) -> tuple[str, ...]:
    """A command: a list of words, since a string would need a shell."""
    return tuple(map(_scalar, value.elements()))


def _names(value: Value) -> tuple[str, ...]:
    for element in value.elements():
        text = element.text()
        if not text:
            raise element.error("is empty")
        _check_plain(element, text)
    return tuple(dict.fromkeys(value.texts()))


def _files(value: Value) -> tuple[str, ...]:
    elements = [value] if isinstance(value.data, str) else value.elements()
    paths = []
    for element in elements:
        text = element.text()
        if not text.startswith("/"):
            raise element.error("expected an absolute path")
        paths.append(text)
    return tuple(paths)


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Value], Any]:
    def read(value: Value) -> tuple[str, ...]:
        for element in value.elements():
            if not pattern.fullmatch(element.text()):
                raise element.error(f"is no {what}")
        return value.texts()

    return read


def _ports(value: Value) -> tuple[int, ...]:
    for element in value.elements():
        if not 0 < element.whole() < 65536:
            raise element.error("expected a port from 1 to 65535")
    return tuple(element.whole() for element in value.elements())


def _preflight(value: Value) -> HostRequirements:
    readers: Mapping[str, Callable[[Value], Any]] = {
        "modules": _matching(_MODULE, "name of a kernel module"),
        "inactive_units": _matching(_UNIT, "name of a unit of systemd"),
        "ports": _ports,
    }
    return HostRequirements(**_fields(value, readers))


def _fields(
    value: Value, readers: Mapping[str, Callable[[Value], Any]]
) -> dict[str, Any]:
    fields = {}
    for key, part in value.items():
        if key not in readers:
            raise part.unknown(key, readers, _OTHERS)
        fields[key] = readers[key](part)
    return fields


def _tcp(value: Value) -> str:
    match = _ADDRESS.fullmatch(value.text())
    if not match or not 0 < int(match[2]) < 65536:
        raise value.error("expected HOST:PORT")
    return match[0]


def _http(value: Value) -> str:
    if not _URL.fullmatch(value.text()):
        raise value.error("expected a URL, http://... or https://...")
    return value.text()


def _probe_command(value: Value) -> tuple[str, ...]:
    words = _words(value)
    if not words:
        raise value.error("is empty")
    return words


_WAYS: Mapping[str, Callable[[Value], Any]] = {
    "tcp": _tcp,
    "http": _http,
    "command": _probe_command,
}


def _interval(value: Value) -> float:
    seconds = _seconds(value)
    if seconds < 0.01:
        raise value.error("expected at least 0.01 seconds")
    return seconds


_PROBE: Mapping[str, Callable[[Value], Any]] = {
    **_WAYS,
    "interval": _interval,
    "retries": _positive,
    "start_period": _seconds,
}


def _probe(value: Value) -> Probe:
    given = _fields(value, _PROBE)
    if len(_WAYS.keys() & given.keys()) != 1:
        raise value.error("expected one of tcp, http and command")
    return Probe(**given)


def _podman_args(value: Value) -> tuple[str, ...]:
    words = _words(value)
    before = ""
    for word, element in zip(words, value.elements(), strict=True):
        takes_value = before.startswith("-") and "=" not in before
        if not word.startswith("-") and not takes_value:
            # podman would take it for the image.
            raise element.error("is no option, and follows none")
        before = word
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name in _OWN:
            raise element.error(
                f"{word.partition('=')[0]} cannot be given here",
                "there is a key for it, or it is set for every service",
            )
    return words


#: The keys that are not options of podman.
_KEYS: Mapping[str, Callable[[Value], Any]] = {
    "image": _image,
    "parameter": _parameter,
    "command": _words,
    "environment": _environment,
    "env_from": _env_from,
    "env_file": _files,
    "depends_on": _names,
    "survivors": _names,
    "preflight": _preflight,
    "wait_for": _probe,
    "health": _probe,
    "podman_args": _podman_args,
}
