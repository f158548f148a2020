"""The parameters of image preparation, typed; and parameters as YAML.

This is the one place that knows the names which users write: the keys of
``ContainerImagePrepare`` and the parameters beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.heat.environment import Environment
from imageprep_client.heat.value import Value, describe
from imageprep_client.heat.verbatim import PREPARE, TEXT_VARIABLE

Scalar = str | int | float | bool | None

#: Lists the registries that nodes may pull from without TLS.
INSECURE_REGISTRIES = "DockerInsecureRegistryAddress"
#: Names a mirror of Docker Hub.
MIRROR = "DockerRegistryMirror"
#: Names the host of the undercloud's registry.
LOCAL_REGISTRY = "LocalContainerRegistry"

#: Words that are booleans in YAML, unless they are in quotes.
_BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off"})
_PART = re.compile(r"[a-zA-Z0-9]+(_[a-zA-Z0-9]+)*")
#: Variables of the image table that may be null.
_NULLABLE = ("ceph_images", "neutron_driver")
#: Variables that users write beside ``set`` instead of in it.
_BELONG_IN_SET = re.compile(r"(ceph_.*|name_.*|namespace.*|tag|.*_driver)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A user and a password of a registry."""

    username: str
    password: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrepareEntry:
    """One element of ``ContainerImagePrepare``, named as users know it.

    :ivar path: the file that it is written in.
    :ivar key: where in the file, ``...ContainerImagePrepare[0]``.
    :ivar push_destination: a registry; True for that of the undercloud,
        False to copy nothing.
    :ivar pull_source: another registry to copy from, or None.
    :ivar values: variables of the image table, the ``set``.
    :ivar tag_from_label: a label, or a format string over labels, or None.
    :ivar includes: regular expressions, as `excludes`.
    :ivar multi_arch: None where it is not said.
    :ivar modify_role: an ansible role, or None.
    :ivar modify_append_tag: None for the default, which holds the time;
        empty to append nothing.
    """

    path: str
    key: str
    push_destination: bool | str = False
    pull_source: str | None = None
    values: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)
    tag_from_label: str | None = None
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    multi_arch: bool | None = None
    modify_role: str | None = None
    modify_append_tag: str | None = None
    modify_vars: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, repr=False
    )
    modify_only_with_labels: tuple[str, ...] = ()
    modify_only_with_source: tuple[str, ...] = ()

    def error(
        self, problem: str, key: str = "", hint: str | None = None
    ) -> errors.InvalidFile:
        """The error to raise for a key, or for the whole entry."""
        where = f"{self.key}.{key}" if key else self.key
        return errors.InvalidFile(self.path, problem, key=where, hint=hint)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrepareParameters:
    """The parameters of image preparation in an environment.

    :ivar entries: None to use the release's default.
    :ivar credentials: by registry.
    :ivar insecure_registries: may be used without TLS or unverified.
    :ivar docker_hub_mirror: a URL or a registry, or None.
    :ivar local_registry: the undercloud's address, or None.
    :ivar neutron_mechanism_drivers: None where the parameter is not set.
    :ivar role_entries: by role, those of its ``<Role>ContainerImagePrepare``;
        roles whose parameter is empty are left out.
    :ivar sources: by parameter, the file that has its value.
    """

    entries: tuple[PrepareEntry, ...] | None
    credentials: Mapping[str, Credential]
    insecure_registries: tuple[str, ...]
    docker_hub_mirror: str | None
    additional_architectures: tuple[str, ...]
    local_registry: str | None
    neutron_mechanism_drivers: tuple[str, ...] | None
    role_entries: Mapping[str, tuple[PrepareEntry, ...]] = dataclasses.field(
        default_factory=dict
    )
    sources: Mapping[str, str] = dataclasses.field(
        default_factory=dict, compare=False
    )

    @contextlib.contextmanager
    def blamed(self, name: str) -> Iterator[None]:
        """Turn `InvalidReference` into `InvalidFile`, which names it."""
        try:
            yield
        except errors.InvalidReference as error:
            raise errors.InvalidFile(
                self.sources.get(name, "environment"),
                str(error),
                key=f"parameter_defaults.{name}",
                hint=error.hint,
            ) from error

    @property
    def all_entries(self) -> Iterator[PrepareEntry]:
        """The entries for all roles, and those of single ones."""
        yield from self.entries or ()
        for entries in self.role_entries.values():
            yield from entries


def parse(environment: Environment) -> PrepareParameters:
    """The parameters of the environment, typed and checked.

    :raises InvalidFile: for the first invalid value; the error names
        the file that set the parameter and the key path.
    """
    role_entries = {
        name.removesuffix(PREPARE): _entries(environment.value(name))
        for name in environment.parameter_defaults
        if name.endswith(PREPARE) and name != PREPARE
    }
    return PrepareParameters(
        entries=_entries(environment.value(PREPARE)),
        role_entries={k: v for k, v in role_entries.items() if v},
        sources=environment.sources,
        credentials=_credentials(
            environment.value("ContainerImageRegistryCredentials")
        ),
        insecure_registries=_delimited(environment.value(INSECURE_REGISTRIES)),
        docker_hub_mirror=_name(environment.value(MIRROR)),
        additional_architectures=_delimited(
            environment.value("AdditionalArchitectures")
        ),
        local_registry=_name(environment.value(LOCAL_REGISTRY)),
        neutron_mechanism_drivers=_mechanism_drivers(
            environment.value("NeutronMechanismDrivers")
        ),
    )


def parse_entries(
    data: object, path: str, key: str
) -> tuple[PrepareEntry, ...]:
    """The entries of a ``ContainerImagePrepare`` outside of an environment.

    :param path: the file to name in errors.
    :param key: where in the file.
    :raises InvalidFile: as `parse`.
    """
    return tuple(
        _entry(element) for element in Value(data, path, key).elements()
    )


def _entries(prepare: Value) -> tuple[PrepareEntry, ...] | None:
    # {} is what the heat templates have as default.
    if prepare.data in (None, [], {}):
        return None
    return tuple(_entry(element) for element in prepare.elements())


def _entry(entry: Value) -> PrepareEntry:
    given: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _KEYS:
            raise _unknown_key(name, value)
        # Null is the default, but the predecessor appends nothing for it.
        if value.data is not None or name == "modify_append_tag":
            field, read = _KEYS[name]
            given[field] = read(value)
    return PrepareEntry(path=entry.path, key=entry.key, **given)


def _unknown_key(name: str, value: Value) -> errors.InvalidFile:
    if _BELONG_IN_SET.fullmatch(name):
        return value.error("unknown key", f"write {name} below set")
    return value.unknown(
        name, _KEYS, "an entry has the keys " + ", ".join(sorted(_KEYS))
    )


def _text(value: Value) -> str:
    return "" if value.data is None else value.text()


def _name(value: Value) -> str | None:
    return _text(value) or None


def _role(value: Value) -> str | None:
    """The name of an ansible role, or its absolute path."""
    name = _name(value)
    if name and not name.startswith("/") and {".", ".."} & {*name.split("/")}:
        raise value.error(
            "is a relative path, expected the name of an ansible role",
            "put the directory above the role into ANSIBLE_ROLES_PATH",
        )
    return name


def _label(value: Value) -> str | None:
    """A label, or a template in which each pair of braces names one."""
    if isinstance(value.data, dict) and not any(value.data.values()):
        names = ", ".join(str(name) for name in value.data)
        raise value.error(
            "is a mapping to YAML, expected a string",
            f"put the template in quotes: tag_from_label: '{{{names}}}'",
        )
    text = _name(value)
    if text is None or ("{" not in text and "}" not in text):
        return text
    try:
        for _, name, spec, conversion in string.Formatter().parse(text):
            if spec or conversion or (name is not None and not _is_name(name)):
                raise ValueError("a brace has no plain name of a label in it")
    except ValueError as error:
        raise value.error(
            f"is no label template: {error}",
            "write the names of labels in braces, such as"
            " '{version}-{release}'",
        ) from None
    return text


def _is_name(text: str) -> bool:
    """Whether this can be the name of a label, such as ``org.x.version``."""
    parts = re.split(r"[./-]", text)
    return text[:1].isalpha() and all(map(_PART.fullmatch, parts))


def _delimited(value: Value) -> tuple[str, ...]:
    return () if value.data is None else value.delimited()


def _mechanism_drivers(value: Value) -> tuple[str, ...] | None:
    """The drivers; ``ovn`` is one of them where a string has it anywhere.

    Deployments have always been prepared like this, and one whose string is
    ``sriovnicswitch,...`` has got the images of ovn. In a list only an
    element counts.
    """
    if value.data is None:
        return None
    drivers = value.delimited()
    if isinstance(value.data, str) and "ovn" in value.data:
        return tuple(dict.fromkeys((*drivers, "ovn")))
    return drivers


def _mapping(value: Value) -> dict[str, Any]:
    return {name: part.data for name, part in value.items()}


def _push_destination(value: Value) -> bool | str:
    if value.data == "":
        return False
    if isinstance(value.data, bool):
        return value.data
    if isinstance(value.data, str) and value.data.lower() in _BOOLEANS:
        raise value.error(
            "is a string, not a boolean",
            "write true or false without quotes, or a registry",
        )
    if isinstance(value.data, str):
        return value.data
    raise value.expected("true, false or a registry")


def _values(value: Value) -> dict[str, Scalar]:
    for name, part in value.items():
        if part.data is None and name not in _NULLABLE:
            raise part.expected("a string", "write '' for an empty value")
        if isinstance(part.data, bool) and TEXT_VARIABLE.fullmatch(name):
            raise part.expected("a string", "put the value in quotes")
        if not isinstance(part.data, (str, int, float, bool, type(None))):
            raise part.expected("a string, number or boolean")
    return dict(value.data)


def _patterns(value: Value) -> tuple[str, ...]:
    for element in value.elements():
        try:
            re.compile(element.text())
        except (re.error, OverflowError, RecursionError) as error:
            raise element.error(
                f"is no regular expression: {error}",
                "these are regular expressions, not shell patterns: .* stands"
                " for anything, + and . need a backslash before them",
            ) from None
    return value.texts()


#: The keys of an entry: the field of each and the function that reads it.
_KEYS: Mapping[str, tuple[str, Callable[[Value], Any]]] = {
    "push_destination": ("push_destination", _push_destination),
    "pull_source": ("pull_source", _name),
    "set": ("values", _values),
    "tag_from_label": ("tag_from_label", _label),
    "includes": ("includes", _patterns),
    "excludes": ("excludes", _patterns),
    "multi_arch": ("multi_arch", Value.flag),
    "modify_role": ("modify_role", _role),
    "modify_append_tag": ("modify_append_tag", _text),
    "modify_vars": ("modify_vars", _mapping),
    "modify_only_with_labels": ("modify_only_with_labels", Value.texts),
    "modify_only_with_source": ("modify_only_with_source", Value.texts),
}
#: The names of the keys of an entry.
ENTRY_KEYS = frozenset(_KEYS)


def _credentials(value: Value) -> dict[str, Credential]:
    if value.data is None:
        return {}
    return {name: _credential(users) for name, users in value.items()}


def _credential(users: Value) -> Credential:
    """One registry's; messages name the registry and nothing below it.

    A user's name may be a password when a user has mixed them up.
    """
    shape = "one user name with one password"
    if not isinstance(users.data, dict) or not users.data:
        raise users.expected(shape, "write registry: {user: password}")
    if len(users.data) != 1:
        raise users.error(
            f"expected {shape}, found {len(users.data)}",
            "a registry takes one user; use the longer form"
            " registry: {user: password}"
            if set(users.data) <= {"username", "password"}
            else "keep one user for each registry",
        )
    ((username, password),) = users.data.items()
    for what, data in (("user name", username), ("password", password)):
        if not data or not isinstance(data, str):
            state = "empty" if not data else describe(data)
            raise users.error(
                f"the {what} is {state}, expected a string",
                f"write registry: {{user: password}}, the {what} in quotes",
            )
    if ":" in username or not username.isprintable():
        raise users.error(
            "the user name has a colon or a control character in it",
            "write registry: {user: password}",
        )
    return Credential(username=username, password=password)


def of_role(role: str, name: str) -> str:
    """A parameter of one role alone, ``<Role>Parameters.<name>``."""
    return f"{role}Parameters.{name}"


def nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with those of roles in the mappings that heat reads."""
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        group, _, own = name.rpartition(".")
        (values.setdefault(group, {}) if group else values)[own] = value
    return values


def flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `nested`, for any parameters."""
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and str(name).endswith("Parameters"):
            values.update({f"{name}.{own}": v for own, v in value.items()})
        else:
            values[name] = value
    return values


def overridden(
    parameters: Iterable[str], environment: Environment
) -> Iterator[str]:
    """Warnings about parameters that roles of a deployment override.

    :param parameters: the names of those that are written, as `flat` has
        them.
    """
    names = set(parameters)
    for name, value in flat(environment.parameter_defaults).items():
        group, _, own = name.rpartition(".")
        if group and own in names and name not in names:
            yield (
                f"{environment.value(group).path}: {name} is"
                f" {errors.printable(str(value))[:300]}, which nodes of the"
                f" role use in place of {own}"
            )


def render(parameters: Mapping[str, Any], header: Sequence[str] = ()) -> str:
    """An environment file with these ``parameter_defaults``.

    Names are sorted, and equal parameters give equal text.

    :param parameters: strings, numbers, booleans, null, lists and mappings.
    :param header: lines to put above, as comments.
    """
    return _under(header, {"parameter_defaults": dict(parameters)})


def render_images(
    images: Sequence[Mapping[str, str]], header: Sequence[str] = ()
) -> str:
    """The list of images for programs that fill a mirror."""
    return _under(header, {"container_images": [dict(one) for one in images]})


def _under(header: Sequence[str], data: Mapping[str, Any]) -> str:
    lines = [
        f"# {errors.printable(line)}".rstrip()
        for text in header
        for line in text.splitlines() or [""]
    ]
    body = document.dump(data)
    return "\n".join([*lines, "", body]) if lines else body
