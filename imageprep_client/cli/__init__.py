"""The commands: words in, one call of the client, rows out.

Every ``openstack`` command imports the modules of all commands that there
are. What is behind ours, `imageprep_client.client`, is therefore loaded when
it is first used.
"""

from __future__ import annotations

import importlib.util
import sys


def _load_later(name: str) -> None:
    """Let a module of the package be loaded by the first use of it."""
    package = __name__.rpartition(".")[0]
    full = f"{package}.{name}"
    spec = importlib.util.find_spec(full)
    if full in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    # An import statement that had to look for it would load it.
    setattr(sys.modules[package], name, module)
    spec.loader.exec_module(module)


_load_later("client")
