"""``openstack image-prepare registry config`` and ``serve``."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest

from imageprep_client.serving import apache
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests.conftest import Golden
from tests.functional import base
from tests.http_client import ask

CONFIG = ("image-prepare", "registry", "config")
SERVE = ("image-prepare", "registry", "serve")


def test_config(openstack: base.OpenStack, golden: Golden) -> None:
    """By default the undercloud's tree is served to this host."""
    golden.check("registry-config.conf", openstack(*CONFIG).stdout)


def test_config_of_a_relative_path(openstack: base.OpenStack) -> None:
    """Apache gets the absolute path."""
    shown = openstack(*CONFIG, "--image-serve", "my images/").stdout
    assert f'DocumentRoot "{openstack.home}/my images"\n' in shown


@pytest.fixture
def without_aiohttp(openstack: base.OpenStack) -> None:
    """The package without the extra ``serve``."""
    module = openstack.home.with_name("hidden") / "aiohttp.py"
    module.parent.mkdir()
    module.write_text("raise ModuleNotFoundError(name='aiohttp')\n")
    openstack.environment["PYTHONPATH"] = str(module.parent)


@pytest.mark.usefixtures("without_aiohttp")
def test_serve_without_its_extra(openstack: base.OpenStack) -> None:
    """The message says what to install."""
    openstack.installed(
        *SERVE,
        status=2,
        stderr="aiohttp is not installed\n"
        r"hint: pip install 'imageprep-client\[serve\]'",
    )


@pytest.mark.usefixtures("without_aiohttp")
def test_config_needs_no_extra(openstack: base.OpenStack) -> None:
    """The virtual host is printed without the extra ``serve``."""
    assert openstack.installed(*CONFIG).stdout == openstack(*CONFIG).stdout


def test_config_of_another_tree(openstack: base.OpenStack) -> None:
    """Tree and address can be chosen; the tree need not exist."""
    result = openstack(
        *CONFIG, "--image-serve", "/srv/images", "--listen", "*:5000"
    )
    assert result.stdout == apache.virtual_host("/srv/images", "*:5000")


@pytest.mark.parametrize("command", [CONFIG, SERVE])
def test_bad_address(
    openstack: base.OpenStack, command: tuple[str, ...]
) -> None:
    """An address without a port is refused in a line."""
    result = openstack(
        *command,
        "--image-serve",
        str(openstack.home),
        "--listen",
        "localhost",
        status=2,
        stderr="invalid address 'localhost': expected host:port[^\n]*",
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("tree", "reason"),
    [("/nowhere/images", "no such directory"), ("file", "not a directory")],
)
def test_no_tree(openstack: base.OpenStack, tree: str, reason: str) -> None:
    """A tree that is not there, or is a file, cannot be served."""
    (openstack.home / "file").touch()
    openstack(
        *(*SERVE, "--image-serve", tree), status=2, stderr=f"{tree}: {reason}"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve(openstack: base.OpenStack, number: int) -> None:
    """It says where it serves, serves, and ends well with a signal."""
    tree = openstack.home / "images"
    store = ImageServeTree(tree).store("ns/app")
    image = content.image("image")
    put(store, image, "latest")
    program = pathlib.Path(sys.executable).with_name("openstack")
    with subprocess.Popen(
        [program, *SERVE, "--image-serve", tree, "--listen", "127.0.0.1:0"],
        env=openstack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            assert line.startswith(f"serving {tree} on http://127.0.0.1:")
            answer = ask(line.split()[-1], "/v2/ns/app/manifests/latest")
            assert answer.body == image.manifest.data
        finally:
            process.send_signal(number)
            _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
