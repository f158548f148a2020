"""The composition root of images of machines on this host."""

from __future__ import annotations

from imageprep_client.machine import names, roots
from imageprep_client.machine.roots import MachineRoot

__all__ = ["MachineRoot", "find", "list_roots", "service"]

find = roots.find
list_roots = roots.list_roots
service = names.service
