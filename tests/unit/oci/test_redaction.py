"""Messages about names that contain a password."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.redaction import redacted

DIGEST = "sha256:" + "a" * 64
SECRET = "p:a/s@s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("q.io:5000/ns/a:1", "q.io:5000/ns/a:1"),
        (f"q.io:5000/a:1@{DIGEST}", f"q.io:5000/a:1@{DIGEST}"),
        ("q.io:5000/a:1@sha256:short", "q.io:5000/a:1@sha256:short"),
        (f"q.io/a@md5:{'a' * 32}", f"q.io/a@md5:{'a' * 32}"),
        ("user:pw@q.io", "user:***@q.io"),
        (f"user:{SECRET}@q.io:5000/a:1", "user:***@q.io:5000/a:1"),
        (f"u:pw@q.io/a@{DIGEST}", f"u:***@q.io/a@{DIGEST}"),
        ("https://user:pw@q.io/a", "https://user:***@q.io/a"),
        ("https://token@q.io", "https://***@q.io"),
        (":pw@q.io", ":***@q.io"),
        ("user@q.io/a", "user@q.io/a"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    """The password goes, whatever is in it, and all else stays."""
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "check",
    [
        references.Reference.parse,
        references.check_registry,
        references.check_repository,
        references.check_tag,
    ],
)
@pytest.mark.parametrize("scheme", ["", "https://"])
def test_errors_hide_passwords(check, scheme):
    """No part of a name is quoted with what may be a password."""
    with pytest.raises(errors.InvalidReference) as caught:
        check(f"{scheme}user:{SECRET}@q.io/a")
    assert f"'{scheme}user:***@q.io/a'" in str(caught.value)


def test_user_in_a_registry():
    """The error tells where a user and a password belong."""
    with pytest.raises(errors.InvalidReference) as caught:
        references.check_registry(f"user:{SECRET}@q.io")
    assert caught.value.hint
    assert caught.value.hint.startswith("leave the user and the password out")
