"""Renders one jinja2 template in a process of its own, within bounds.

A program: it reads a request from standard input and writes the result to
standard output, both JSON. A template may loop without end or ask for more
memory than there is, which the sandbox of jinja2 does not prevent; here the
kernel does.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

import jinja2
import jinja2.exceptions
import jinja2.sandbox

#: Bytes of memory, and seconds of processor time.
MEMORY = 512 * 1024 * 1024
SECONDS = 10

# Errors that an expression in a template can raise when it is evaluated.
_RENDER_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    # A table needs no arithmetic, and these can use much memory.
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


def render(
    path: str, text: str, values: Mapping[str, object], limit: int
) -> dict[str, str]:
    """Render a template: ``text``, or the ``problem``.

    :param path: its file, in whose directory includes are looked for.
    :param text: its text.
    :param limit: characters that it may make.
    """
    directory, name = os.path.split(path)
    files = jinja2.FileSystemLoader(directory or ".")
    own = jinja2.FunctionLoader(
        lambda wanted: (text, path, None) if wanted == name else None
    )
    environment = _Environment(
        loader=jinja2.ChoiceLoader([own, files]),
        autoescape=False,  # the result is YAML, not HTML
    )
    parts, size = [], 0
    try:
        for part in environment.get_template(name).generate(dict(values)):
            parts.append(part)
            size += len(part)
            if size > limit:
                return {"problem": f"makes over {limit} characters"}
    except MemoryError:
        parts.clear()
        return {"problem": "needs too much memory"}
    except _RENDER_ERRORS as error:
        return {"problem": _problem(error)}
    return {"text": "".join(parts)}


def _problem(error: BaseException) -> str:
    """The error in a template, with its line and file."""
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


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(render(**request), sys.stdout)


if __name__ == "__main__":
    main()
