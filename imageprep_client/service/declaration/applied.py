"""A declaration with the values of heat parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from imageprep_client import errors
from imageprep_client.heat.value import Value
from imageprep_client.service.declaration.model import NodeDeclaration, Service


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedDeclaration:
    """A declaration with the values of the heat parameters it names.

    :ivar values: the value of a parameter, by its name.
    """

    declaration: NodeDeclaration
    values: Mapping[str, Value] = dataclasses.field(repr=False)

    def image(self, service: Service) -> str:
        """The reference of a service's image.

        :raises InvalidFile: when the parameter has no such value.
        """
        if service.image:
            return service.image
        return self._value(service.parameter, service, "parameter").text()

    def environment(self, service: Service) -> dict[str, str]:
        """The values of the variables that come from parameters.

        :raises InvalidFile: when a parameter has no such value.
        """
        variables = {}
        for name, parameter in service.env_from.items():
            value = self._value(parameter, service, f"env_from.{name}")
            data = value.data
            if isinstance(data, bool):
                data = str(data).lower()
            elif isinstance(data, int | float):
                data = str(data)
            if not isinstance(data, str):
                raise value.expected("a string, number or boolean")
            if "\0" in data:
                raise value.error("has a zero byte in it")
            variables[name] = data
        return variables

    def _value(self, parameter: str, service: Service, key: str) -> Value:
        value = self.values.get(parameter)
        if value is None or value.data is None:
            raise errors.InvalidFile(
                self.declaration.path,
                f"no environment sets the parameter {parameter}",
                key=f"services.{service.name}.{key}",
                hint="name the environment with -e, or a plan",
            )
        return value
