"""Files fetched over HTTP."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import TLS, Transport
from imageprep_client.machine.sources.fetching import Fetcher
from tests import servers
from tests.recorder import Recorder


def test_refused_connection_is_named_soon() -> None:
    """A server that is down is told by the URL after three attempts."""
    url = f"http://127.0.0.1:{servers.free_port()}/images/root.tar.xz"
    pauses: list[float] = []
    fetcher = Fetcher(
        Transport(TLS(), 1), Recorder(), limit=100, sleep=pauses.append
    )
    with pytest.raises(errors.StoreError) as caught:
        fetcher.small(url, 100)
    assert str(caught.value).startswith(f"{url}: ")
    assert "connection refused" in str(caught.value)
    assert len(pauses) == 2
