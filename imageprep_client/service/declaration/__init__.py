"""The declaration of service containers: its model, reader and writer."""

from imageprep_client.service.declaration.applied import AppliedDeclaration
from imageprep_client.service.declaration.model import (
    HostRequirements,
    NodeDeclaration,
    Probe,
    Service,
)
from imageprep_client.service.declaration.options import (
    OPTIONS,
    Option,
    OptionKind,
    OptionValue,
)
from imageprep_client.service.declaration.reading import (
    KEPT,
    load,
    parse,
    service_from,
)
from imageprep_client.service.declaration.writing import as_data, render

__all__ = [
    "KEPT",
    "OPTIONS",
    "AppliedDeclaration",
    "HostRequirements",
    "NodeDeclaration",
    "Option",
    "OptionKind",
    "OptionValue",
    "Probe",
    "Service",
    "as_data",
    "load",
    "parse",
    "render",
    "service_from",
]
