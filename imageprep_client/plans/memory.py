"""A plan in memory, for tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client.heat import parameters as heat_parameters
from imageprep_client.plans import base, content


class MemoryPlan:
    """A plan made of texts.

    :ivar files: path -> text.
    """

    def __init__(
        self, files: Mapping[str, str], name: str = "overcloud"
    ) -> None:
        self.name = name
        self.files = dict(files)
        self._lock = threading.Lock()

    def read(self) -> base.PlanContent:
        with self._lock:
            return content.read(self.name, self._read)

    def check_writable(self) -> None:
        with self._lock:
            content.listing_parameters(self.name, self._read)

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> None:
        with self._lock:
            plan_environment = content.listing_parameters(
                self.name, self._read
            )
            self.files[base.PARAMETERS] = heat_parameters.render(
                parameters, header
            )
            if plan_environment is not None:
                self.files[base.PLAN_ENVIRONMENT] = plan_environment

    def _read(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode()
