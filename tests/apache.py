"""Apache for tests: a process of one's own on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import servers

PROGRAM = "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
_USER = "www-data"
_LOG = "error.log"
#: What the virtual hosts need, and modules that hosts often have and that
#: must not change what is served.
_LOADED = (
    "mpm_event",
    "authz_core",
    "deflate",
    "dir",
    "env",
    "filter",
    "headers",
    "mime",
    "negotiation",
    "rewrite",
    "setenvif",
)
#: Settings of a host that would spoil blobs if they applied to them.
_HOSTILE = """
AddEncoding x-gzip .gz .tgz
AddType application/x-gzip .gz
AddCharset utf-8 .json
AddDefaultCharset UTF-8
AddOutputFilterByType DEFLATE application/octet-stream application/json
AddOutputFilterByType DEFLATE application/vnd.oci.image.manifest.v1+json
AddHandler type-map .var
"""


_TYPE_MAPS = "  AddType application/x-type-map .type-map\n"


def old_undercloud_virtual_host(tree: str, listen: str) -> str:
    """The virtual host that an undercloud up to Victoria has."""
    return undercloud_virtual_host(tree, listen).replace(_TYPE_MAPS, "")


def undercloud_virtual_host(tree: str, listen: str) -> str:
    """The virtual host that an undercloud has."""
    return f"""
Listen {listen}
<VirtualHost {listen}>
  DocumentRoot "{tree}"
  Header set Docker-Distribution-Api-Version "registry/2.0"
{_TYPE_MAPS}  <Directory "{tree}">
    Options FollowSymLinks MultiViews
    AllowOverride FileInfo
    Require all granted
    DirectoryIndex index.json
  </Directory>
  <LocationMatch "^/v2/.*/blobs/(?<DIGEST>sha256:[0-9a-f]+)">
    Header set Docker-Content-Digest "%{{MATCH_DIGEST}}e"
    Header set ETag "%{{MATCH_DIGEST}}e"
    Header set Cache-Control "max-age=31536000"
    Header set Content-Type "application/octet-stream"
  </LocationMatch>
</VirtualHost>
"""


@contextlib.contextmanager
def readable_directory() -> Iterator[Path]:
    """A directory that the web server's user can read, gone at the end."""
    path = Path(tempfile.mkdtemp(prefix="imageprep-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running(
    virtual_host: Callable[[str, str], str], tree: Path, *, hostile: bool
) -> Iterator[str]:
    """Apache with this virtual host over the tree; gives its URL.

    :param virtual_host: takes the tree's path and ``host:port``.
    :param hostile: with settings outside the virtual host that would spoil
        what is served if they applied.
    """
    with readable_directory() as home:
        port = servers.free_port()
        listen = f"127.0.0.1:{port}"
        settings = _HOSTILE if hostile else ""
        text = _main(home) + settings + virtual_host(str(tree), listen)
        configuration = home / "apache2.conf"
        configuration.write_text(text, "utf-8")
        command = [PROGRAM, "-f", str(configuration), "-DFOREGROUND"]
        with servers.running(command, port, home / _LOG):
            yield f"http://{listen}"


def _main(home: Path) -> str:
    lines = [f'LoadModule {n}_module "{MODULES}/mod_{n}.so"' for n in _LOADED]
    lines += [
        f'ServerRoot "{home}"',
        f'DefaultRuntimeDir "{home}"',
        f'PidFile "{home}/pid"',
        f'ErrorLog "{home / _LOG}"',
        "ServerName localhost",
        "StartServers 1",
        "ThreadsPerChild 25",
        "TypesConfig /etc/mime.types",
        "<Directory />",
        "  Require all denied",
        "</Directory>",
    ]
    if os.geteuid() == 0:
        group = pwd.getpwnam(_USER).pw_gid
        lines += [f"User {_USER}", f"Group #{group}"]
    return "\n".join(lines) + "\n"
