"""Nothing is tried again: for tests of the first attempt."""

from __future__ import annotations

from imageprep_client.retry import RetryPolicy

ONE_ATTEMPT = RetryPolicy(attempts=1)
