"""Writing services as they are declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from imageprep_client.heat import document
from imageprep_client.service.declaration.model import Probe, Service


def render(services: Iterable[Service]) -> str:
    """A declaration of these services."""
    return document.dump(
        {"services": {one.name: as_data(one) for one in services}},
        sort_keys=False,
    )


def as_data(service: Service) -> dict[str, Any]:
    """A service with the keys of a declaration; what is empty is left out."""
    data: dict[str, Any] = {
        "image": service.image,
        "parameter": service.parameter,
        "command": service.command,
        **service.options,
        "environment": service.environment,
        "env_from": {
            name: {"parameter": parameter}
            for name, parameter in service.env_from.items()
        },
        "env_file": service.env_file,
        "depends_on": service.depends_on,
        "survivors": service.survivors,
        "preflight": _filled(dataclasses.asdict(service.preflight)),
        "wait_for": _probe(service.wait_for),
        "health": _probe(service.health),
        "podman_args": service.podman_args,
    }
    return _filled(data)


def _probe(probe: Probe | None) -> dict[str, Any]:
    if probe is None:
        return {}
    default = dataclasses.asdict(Probe())
    given = dataclasses.asdict(probe)
    return {key: given[key] for key in given if given[key] != default[key]}


def _filled(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value)
        for key, value in data.items()
        if value is not None and value not in ("", (), {}, [])
    }


def _plain(value: Any) -> Any:
    """A value of the types that YAML has without tags."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value
