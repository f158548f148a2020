"""A cache for Swift's proxy in its own memory, as a filter of its pipeline.

Without one, where a deployment has memcached, the proxy looks at the account
and the container at each request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Cache:
    """The calls of Swift's client of memcached that the proxy needs."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, float]] = {}

    def get(self, key: str, **options: object) -> Any:
        """The value of a key, or None."""
        text, end = self._values.get(key, ("null", 0.0))
        return json.loads(text) if monotonic() < end else None

    def set(
        self, key: str, value: object, *, time: float, **_: object
    ) -> None:
        """Keep a value for so many seconds."""
        self._values[key] = (json.dumps(value), monotonic() + time)

    def delete(self, key: str, **options: object) -> None:
        """Forget a value."""
        self._values.pop(key, None)


def filter_factory(conf: object, **options: object) -> Callable[[App], App]:
    """Called by paste."""
    cache = Cache()

    def with_cache(app: App) -> App:
        return lambda env, respond: app({**env, "swift.cache": cache}, respond)

    return with_cache
