"""Merging the values that several environments give one parameter.

Without a strategy heat's client decides: mappings are merged, other values
are replaced. ``parameter_merge_strategies`` in an environment selects the
behaviour of heat's server. The server uses the schema of a parameter, which is
a part of the templates and unknown here; the types of the values replace it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.heat.value import Value, describe

SECTION = "parameter_merge_strategies"
OVERWRITE = "overwrite"
MERGE = "merge"
DEEP_MERGE = "deep_merge"
ALL = (OVERWRITE, MERGE, DEEP_MERGE)

#: Parameters of the type ``comma_delimited_list`` that matter here; those
#: of roles are named ``<Role>Services``.
_COMMA_DELIMITED = frozenset(
    {
        "AdditionalArchitectures",
        "DockerInsecureRegistryAddress",
        "NeutronMechanismDrivers",
    }
)


class Strategies:
    """The strategies of the environments that are merged so far.

    A strategy applies from the file that sets it. One that names the
    parameter precedes the ``default`` of a file.
    """

    def __init__(self) -> None:
        self._named: dict[str, tuple[str, str]] = {}
        self._defaults: dict[str, str] = {}

    def choose(self, section: Value, parameter: str) -> str | None:
        """The strategy for this parameter in the file of `section`.

        :param section: the file's ``parameter_merge_strategies``, as `check`
            has accepted them.
        :returns: one of `ALL`, or None where no file asks for any.
        :raises InvalidFile: when an earlier file asks for another.
        """
        asked = section.data or {}
        if parameter in asked:
            strategy, path = self._named.setdefault(
                parameter, (asked[parameter], section.path)
            )
            if strategy != asked[parameter]:
                raise section.child(parameter, None).error(
                    f"{asked[parameter]} contradicts {strategy} in {path}",
                    "use the same strategy in all files",
                )
        elif "default" in asked:
            self._defaults.setdefault(parameter, asked["default"])
        if parameter in self._named:
            return self._named[parameter][0]
        return self._defaults.get(parameter)


def check(section: Value) -> None:
    """Check that a section maps parameters to strategies, or is null.

    :raises InvalidFile: for anything else.
    """
    if section.data is None:
        return
    for _, value in section.items():
        if value.data not in ALL:
            raise value.error(
                "unknown strategy", "use overwrite, merge or deep_merge"
            )


def combine(old: Any, new: Any, strategy: str | None, value: Value) -> Any:
    """The value of a parameter that has `old` and is given `new`.

    Neither is changed; the result may share parts with both.

    :param strategy: one of `ALL` or None.
    :param value: where `new` is written.
    :raises InvalidFile: when the two cannot be merged.
    """
    if strategy is None:
        return update(old, new)
    if new is None:
        return old
    if strategy == OVERWRITE:
        return new
    # heat refuses booleans even where there is nothing yet to merge with,
    # by the schema; the value alone is not reason enough.
    if old is None or old in ("", [], {}):
        return new
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _merge_mappings(old, new, strategy == DEEP_MERGE, value)
    if isinstance(old, list) or isinstance(new, list):
        return _merge_lists(old, new, value)
    if isinstance(old, str) and isinstance(new, str):
        separator = "," if _is_comma_delimited(value) and new else ""
        return f"{old}{separator}{new}"
    if _is_number(old) and _is_number(new):
        return old + new
    raise _mismatch(old, value, strategy)


def update(old: object, new: object) -> Any:
    """`old` updated by `new` as heat's client does it.

    Mappings are merged at all levels. Nothing (null, or a mapping without
    names) replaces no value that has content of its own: null no mapping,
    an empty mapping nothing at all.
    """
    if isinstance(new, Mapping):
        if not isinstance(old, Mapping):
            return new if new or old is None else old
        merged = dict(old)
        for name, value in new.items():
            merged[name] = update(old.get(name), value)
        return merged
    if new is None and isinstance(old, Mapping):
        return old
    return new


def _merge_mappings(
    old: Mapping[str, Any], new: Mapping[str, Any], deep: bool, value: Value
) -> dict[str, Any]:
    merged = dict(old)
    for name, part in new.items():
        if part is None:
            continue
        before = merged.get(name)
        if deep and before:
            part = _merge_parts(before, part, value.child(str(name), part))
        merged[name] = part
    return merged


def _merge_parts(before: Any, part: Any, value: Value) -> Any:
    """Two values of one name in a mapping, merged deeply."""
    if isinstance(before, Mapping) and isinstance(part, Mapping):
        return _merge_mappings(before, part, True, value)
    if isinstance(before, list) and isinstance(part, list):
        return before + part
    if isinstance(before, str) and isinstance(part, str):
        return before + part
    if isinstance(part, (Mapping, list, str)):
        raise _mismatch(before, value, DEEP_MERGE)
    return part


def _merge_lists(old: Any, new: Any, value: Value) -> list[Any]:
    """Both as one list; a string is a comma-delimited list beside a list."""
    merged: list[Any] = []
    for part in (old, new):
        if isinstance(part, str):
            merged += Value(part, value.path, value.key).delimited()
        elif isinstance(part, list):
            merged += part
        else:
            raise _mismatch(old, value, MERGE)
    return merged


def _is_number(data: object) -> bool:
    return isinstance(data, (int, float)) and not isinstance(data, bool)


def _is_comma_delimited(value: Value) -> bool:
    parameter = value.key.rpartition(".")[2]
    return parameter in _COMMA_DELIMITED or parameter.endswith("Services")


def _mismatch(old: object, value: Value, strategy: str) -> errors.InvalidFile:
    return value.error(
        f"{describe(value.data)} cannot be merged with {describe(old)} of an"
        f" earlier file (strategy {strategy})",
        "use values of the same type, or the strategy overwrite",
    )
