"""An image table of the user's own: a jinja2 template that makes YAML.

The YAML has one key, ``container_images_template``, a list of images with
``imagename``, ``image_source``, ``params`` and ``services``. What it includes
is looked for in the template's own directory.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn, Self

import jinja2
import jinja2.exceptions
import jinja2.sandbox
import yaml

from imageprep_client import errors
from imageprep_client.catalog.entry import Entry

# The loader over libyaml, which some builds of PyYAML lack, is ten times as
# fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: A rendered table may have this many characters; a release has 30,000.
MAX_RENDERED = 4 * 1024 * 1024
#: And a template file this many bytes.
MAX_FILE = 1024 * 1024

_MAX_DEPTH = 16
_ROOT = "container_images_template"
_KEYS = ("imagename", "image_source", "params", "services")
# What an expression in a template can raise when it is evaluated.
_RENDER_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    # Jinja2 computes these with constants while it compiles: one line can
    # ask for more memory than there is, and a table needs no arithmetic.
    intercepted_binops = frozenset(("*", "**"))

    def call_binop(
        self, context: Any, operator: str, left: Any, right: Any
    ) -> NoReturn:
        raise jinja2.exceptions.SecurityError(
            f"operator {operator} is not allowed"
        )

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        # The sandbox would print such an attribute as empty.
        raise jinja2.exceptions.SecurityError(
            f"access to attribute {attribute!r} of a"
            f" {type(obj).__name__} is not allowed"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class TemplateTable:
    """A `catalog.entry.Table` that a user brought.

    :ivar path: the template file, as the user named it.
    """

    path: str
    _template: jinja2.Template

    @classmethod
    def read(cls, path: str) -> Self:
        """Read and compile a template; nothing of it is evaluated yet.

        :raises InvalidFile: when it cannot be read or is no template; the
            message has the line.
        """
        directory, name = os.path.split(path)
        environment = _Environment(
            loader=jinja2.FileSystemLoader(directory or "."),
            autoescape=False,  # the result is YAML, not HTML
        )
        try:
            status = os.stat(path)
        except OSError as error:
            raise errors.InvalidFile(path, str(error.strerror)) from error
        if not stat.S_ISREG(status.st_mode):
            raise errors.InvalidFile(path, "is not a file")
        if status.st_size > MAX_FILE:
            raise errors.InvalidFile(path, f"has over {MAX_FILE} bytes")
        try:
            return cls(path, environment.get_template(name))
        except _RENDER_ERRORS as error:
            raise errors.InvalidFile(path, _problem(error)) from error

    def render(self, values: Mapping[str, object]) -> tuple[Entry, ...]:
        """See `catalog.entry.Table.render`.

        :raises InvalidFile: when it cannot be evaluated with these values,
            does something the sandbox forbids, or makes no table.
        """
        document = _parse(self.path, self._text(values))
        return tuple(
            _entry(self.path, f"{_ROOT}[{number}]", item)
            for number, item in enumerate(document)
        )

    def _text(self, values: Mapping[str, object]) -> str:
        parts, size = [], 0
        try:
            for part in self._template.generate(dict(values)):
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED:
                    raise errors.InvalidFile(
                        self.path, f"makes over {MAX_RENDERED} characters"
                    )
        except _RENDER_ERRORS as error:
            raise errors.InvalidFile(self.path, _problem(error)) from error
        return "".join(parts)


def _problem(error: BaseException) -> str:
    """What went wrong in a template, and in which line of which file."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if isinstance(error, jinja2.TemplateNotFound):
        return f"includes {error.name!r}, which is not in its directory"
    reason = str(error) or type(error).__name__
    if isinstance(error, jinja2.TemplateSyntaxError):
        file, line = error.name or "", error.lineno
        reason = error.message or reason
    else:
        # jinja2 puts the template's own lines into the traceback; the last
        # one outside of Python files is where the evaluation was.
        file, line = "", 0
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.endswith(".py"):
                file = os.path.basename(frame.filename)
                line = frame.lineno or 0
    return f"line {line} of {file}: {reason}" if line else reason


def _parse(path: str, text: str) -> list[Any]:
    """The list of images in the rendered text."""
    try:
        _check_shape(path, text)
        document = yaml.load(text, _Loader)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise errors.InvalidFile(path, _yaml_problem(error)) from error
    except ValueError as error:
        raise errors.InvalidFile(path, f"no YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(
        document.get(_ROOT), list
    ):
        raise errors.InvalidFile(
            path,
            "makes no list of images",
            key=_ROOT,
            hint=f"each is a mapping with {', '.join(_KEYS)}",
        )
    images: list[Any] = document[_ROOT]
    return images


def _check_shape(path: str, text: str) -> None:
    """Refuse what a table does not need and a loader can choke on."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise errors.InvalidFile(
                path, "makes YAML with aliases, which is not allowed"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise errors.InvalidFile(
                path, f"makes YAML nested over {_MAX_DEPTH} levels deep"
            )


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "makes no YAML: control characters are not allowed"
    problem = getattr(error, "problem", None)
    return f"line {mark.line + 1} of what it makes: no YAML: {problem}"


def _entry(path: str, key: str, item: object) -> Entry:
    if not isinstance(item, dict):
        raise errors.InvalidFile(path, "expected a mapping", key=key)
    for name in item:
        if name not in _KEYS:
            raise errors.InvalidFile(
                path,
                "unknown key",
                key=f"{key}.{name}",
                hint=f"an image has {', '.join(_KEYS)}",
            )
    return Entry(
        image=_string(path, f"{key}.imagename", item.get("imagename")),
        source=_string(
            path, f"{key}.image_source", item.get("image_source", "")
        ),
        parameters=_strings(path, f"{key}.params", item.get("params")),
        services=frozenset(
            _strings(path, f"{key}.services", item.get("services"))
        ),
    )


def _string(path: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise errors.InvalidFile(path, "expected a string", key=key)
    return value


def _strings(path: str, key: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise errors.InvalidFile(path, "expected a list", key=key)
    return tuple(
        _string(path, f"{key}[{number}]", item)
        for number, item in enumerate(value)
    )
