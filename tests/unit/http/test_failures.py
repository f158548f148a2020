"""Messages and remedies of failed connections."""

from __future__ import annotations

import ssl

from imageprep_client.http import failures


def test_client_certificate_is_wanted() -> None:
    """The remedy for a server that wants one is told."""
    error = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    failure = failures.unreachable("https://reg.example:5000/v2/", error)
    assert "tlsv13 alert certificate required" in str(failure)
    assert failure.hint is not None
    assert failure.hint.endswith("/etc/containers/certs.d/reg.example:5000")
