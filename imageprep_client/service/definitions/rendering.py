"""Write services as command lines that create their containers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from imageprep_client.service.declaration import (
    OPTIONS,
    Option,
    OptionValue,
    Service,
)


def words(
    service: Service, image: str, *, environment: Sequence[str] | None = None
) -> list[str]:
    """The arguments of ``podman create``.

    :param image: the image, in place of that of the declaration.
    :param environment: options that give the environment, in place of the
        values of the declaration.
    """
    given = [f"--name={service.name}"]
    for key, option in OPTIONS.items():
        if key in service.options:
            given += option_words(option, service.options[key])
    if environment is None:
        environment = [
            *(f"--env-file={path}" for path in service.env_file),
            *(f"--env={k}={v}" for k, v in service.environment.items()),
        ]
    return [
        *given,
        *environment,
        *service.podman_args,
        image,
        *service.command,
    ]


def option_words(option: Option, value: OptionValue) -> list[str]:
    """The words of one option."""
    name = f"--{option.name}"
    if isinstance(value, bool):
        return [name] if value else []
    if isinstance(value, Mapping):
        return [f"{name}={key}={text}" for key, text in value.items()]
    if isinstance(value, tuple):
        return [f"{name}={text}" for text in value]
    return [f"{name}={value}"]


def command_line(service: Service, image: str, files: Sequence[str]) -> str:
    """The command for a shell, an option on each line.

    :param files: files with values that are given nowhere else.
    """
    name, *others = words(service, image)
    given = [name, *(f"--env-file={path}" for path in files), *others]
    return " \\\n    ".join(["podman create", *map(shlex.quote, given)]) + "\n"
