"""The text of the virtual host; what Apache makes of it is tested in
``tests/conformance/test_serving.py``."""

from __future__ import annotations

import re

import pytest

from imageprep_client import errors
from imageprep_client.serving import apache


def test_names_tree_and_address() -> None:
    """Tree and address are where Apache wants them."""
    text = apache.virtual_host("/var/lib/image-serve", "[::1]:8787")
    assert '    DocumentRoot "/var/lib/image-serve"\n' in text
    assert '    <Directory "/var/lib/image-serve">\n' in text
    assert "\nListen [::1]:8787\n" in text
    assert "\n<VirtualHost [::1]:8787>\n" in text


def test_is_complete() -> None:
    """No placeholder is left, and every section is closed."""
    text = apache.virtual_host("/srv/images", "*:8787")
    assert not re.search(r"@[A-Z_]+@", text)
    opened = re.findall(r"^\s*<(\w+)", text, re.M)
    closed = re.findall(r"^\s*</(\w+)", text, re.M)
    assert sorted(opened) == sorted(closed)


def test_trailing_slash() -> None:
    """A slash at the end of the path means nothing."""
    plain = apache.virtual_host("/srv/images", "*:8787")
    assert apache.virtual_host("/srv/images/", "*:8787") == plain


@pytest.mark.parametrize("path", ["/srv/my images", "/srv/bilder-ü", "/"])
def test_takes_paths(path: str) -> None:
    """Spaces and letters of all languages stand in quotes."""
    assert f'DocumentRoot "{path}"' in apache.virtual_host(path, "*:8787")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "relative",
        '/srv/"quoted',
        "/srv/back\\slash",
        "/srv/new\nline",
        "/srv/${VARIABLE}",
        "/srv/*",
        "/srv/[a]",
        "/srv/@NAME@\r",
    ],
)
def test_refuses_paths(path: str) -> None:
    """A path that would mean something else to Apache is refused."""
    with pytest.raises(errors.InvalidArgument, match="Apache") as caught:
        apache.virtual_host(path, "*:8787")
    assert str(caught.value.hint).startswith("give an absolute path without")


@pytest.mark.parametrize("listen", ["*", "*:0", "a:80>\nInclude x"])
def test_refuses_addresses(listen: str) -> None:
    """An address without a port, or with more than that, is refused."""
    with pytest.raises(errors.InvalidArgument):
        apache.virtual_host("/srv/images", listen)
