"""Heat environments: finding the files, reading and merging them."""

from __future__ import annotations

import codecs
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document, strategies
from imageprep_client.heat.value import Value
from imageprep_client.host import inputs

#: Sections that are merged here.
_MERGED = ("parameter_defaults", "parameters", "resource_registry")
#: Sections that a file may have and that do not concern images.
_OTHER = ("encrypted_param_names", "event_sinks")
#: Begins the line of a header that names the release.
RELEASE = "Release: "
_RELEASE = re.compile(rf"# {RELEASE}(\w{{1,100}})\s*".encode())
SECTIONS = (*_MERGED, strategies.SECTION, *_OTHER)


@dataclasses.dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """One environment file, not merged yet.

    :ivar path: the file, as the user named it.
    :ivar sections: its top level; a section may be None.
    :ivar release: the one that its header names.
    """

    path: str
    sections: Mapping[str, Any] = dataclasses.field(repr=False)
    release: str | None = None

    def section(self, name: str) -> Value:
        """One section; its data is None when it is absent or empty."""
        return Value(self.sections.get(name), self.path, name)


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """The merged environments of a deployment.

    :ivar sources: the file that last set each of `parameter_defaults`.
    """

    parameter_defaults: Mapping[str, Any] = dataclasses.field(repr=False)
    parameters: Mapping[str, Any] = dataclasses.field(repr=False)
    resource_registry: Mapping[str, Any] = dataclasses.field(repr=False)
    sources: Mapping[str, str]

    def value(self, parameter: str) -> Value:
        """A parameter default and its origin; its data may be None."""
        return Value(
            self.parameter_defaults.get(parameter),
            self.sources.get(parameter, "environment"),
            f"parameter_defaults.{parameter}",
        )


def collect(files: Sequence[str], directories: Sequence[str]) -> list[str]:
    """The environment files in the order of merging.

    First the ``*.yaml`` of the directories, sorted by name in each, then
    `files`. Hidden files and files that are not regular are left out.

    :raises InvalidArgument: for a directory that cannot be listed.
    """
    paths: list[str] = []
    for directory in directories:
        try:
            names = os.listdir(os.path.expanduser(directory))
        except OSError as error:
            raise errors.InvalidArgument(
                f"environment directory {directory}: {errors.reason(error)}"
            ) from error
        for name in sorted(names):
            path = os.path.join(os.path.expanduser(directory), name)
            hidden = name.startswith(".")
            if name.endswith(".yaml") and not hidden and os.path.isfile(path):
                paths.append(path)
    return [*paths, *files]


def load(path: str) -> EnvironmentFile:
    """The environment in the file at `path`.

    :raises InvalidFile: when it cannot be read or is no environment.
    """
    if os.path.isdir(path):
        raise errors.InvalidFile(
            path,
            "is a directory, not a file",
            hint="name the files in it, or use --environment-directory",
        )
    content = inputs.load(path, document.MAX_SIZE)
    loaded = from_data(document.parse(content, path), path)
    return dataclasses.replace(loaded, release=_header_release(content))


def release_of(layers: Iterable[EnvironmentFile]) -> str | None:
    """The release that headers of the files name; None where none does.

    :raises InvalidFile: when two name different ones.
    """
    named: EnvironmentFile | None = None
    for one in layers:
        if one.release is None:
            continue
        if named and named.release != one.release:
            raise errors.InvalidFile(
                one.path,
                f"is for release {one.release}, and {named.path} for"
                f" {named.release}",
                hint="select one with --release",
            )
        named = one
    return named.release if named else None


def _header_release(content: bytes) -> str | None:
    """The release in the comments above the document in a file."""
    for line in content.removeprefix(codecs.BOM_UTF8).splitlines():
        if line.strip() not in (b"", b"---") and not line.startswith(b"#"):
            return None
        if match := _RELEASE.fullmatch(line):
            return match[1].decode()
    return None


def from_data(data: object, name: str) -> EnvironmentFile:
    """The environment of a parsed document, which may be None.

    :param name: the file to name in errors.
    :raises InvalidFile: when it is no environment.
    """
    sections = {}
    for section, value in Value({} if data is None else data, name).items():
        if section not in SECTIONS:
            raise _unknown_section(value, section)
        if section in _MERGED and value.data is not None:
            for _ in value.items():
                pass  # iterating checks that each name is a string
        sections[section] = value.data
    result = EnvironmentFile(name, sections)
    strategies.check(result.section(strategies.SECTION))
    return result


def _unknown_section(value: Value, section: str) -> errors.InvalidFile:
    hint = errors.did_you_mean(section, SECTIONS)
    if section in ("heat_template_version", "resources", "outputs"):
        hint = "this is a heat template, not an environment"
    return value.error(
        "unknown section", hint or "parameters belong under parameter_defaults"
    )


def merge(layers: Iterable[EnvironmentFile]) -> Environment:
    """Merge layers, later ones over earlier ones; none is changed.

    Without ``parameter_merge_strategies`` the result is what heat's client
    makes of the files: see `strategies.update`.

    :raises InvalidFile: when two files contradict each other in a strategy,
        or have values that a strategy cannot merge.
    """
    merged: dict[str, dict[str, Any]] = {name: {} for name in _MERGED}
    sources: dict[str, str] = {}
    chosen = strategies.Strategies()
    for one in layers:
        registry = one.section("resource_registry").data
        merged["resource_registry"] = strategies.update(
            merged["resource_registry"], registry
        )
        for section in ("parameter_defaults", "parameters"):
            names = _merge_parameters(merged[section], one, section, chosen)
            if section == "parameter_defaults":
                sources.update(dict.fromkeys(names, one.path))
    return Environment(**merged, sources=sources)


def _merge_parameters(
    into: dict[str, Any],
    one: EnvironmentFile,
    section: str,
    chosen: strategies.Strategies,
) -> list[str]:
    """Merge one section of one layer; the names that it sets."""
    asked = one.section(strategies.SECTION)
    written = one.section(section)
    changed = []
    for name, value in () if written.data is None else written.items():
        strategy = chosen.choose(asked, name)
        old = into.get(name)
        new = strategies.combine(old, value.data, strategy, value)
        kept = value.data in (None, {}) and new is old
        if not kept or name not in into:
            changed.append(name)
        into[name] = new
    return changed
