"""A real keystone, swift and glance for tests, on free ports of this host.

They run from a virtual environment of their own, which ``tools/check`` makes
and keeps; the variable ``IMAGEPREP_SERVICES`` names it. What keystone's
database holds at first is made once and kept there, too: it takes longer than
the start of all servers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from tests import programs, servers

_TOP = Path(__file__).parents[1]
PASSWORD = "of-the-administrator"
REGION = "RegionOne"
#: A region that has keystone, and no object store.
BARE_REGION = "RegionTwo"
_SWIFT_PASSWORD = "of-swift"
_KINDS = ("account", "container", "object")
_TIMEOUT = 90
#: A container that only `Services.log` requests.
_PROBE = "is-the-log-whole"
#: Bytes that have to be free where the files of the servers are.
_ROOM = 4 << 30


class Services:
    """The servers while they run.

    :ivar identity: URL of keystone, with its version.
    :ivar object_store: URL of swift, without path.
    :ivar image: URL of glance, without path.
    :ivar directory: where their files and logs are.
    """

    def __init__(
        self, directory: Path, keystone: int, proxy: int, glance: int
    ) -> None:
        self.directory = directory
        self.identity = f"http://127.0.0.1:{keystone}/v3"
        self.object_store = f"http://127.0.0.1:{proxy}"
        self.image = f"http://127.0.0.1:{glance}"
        answer = requests.post(
            f"{self.identity}/auth/tokens", json=_login(), timeout=_TIMEOUT
        )
        assert answer.status_code == 201, answer.text
        #: A token of the administrator, in the project.
        self.token = answer.headers["X-Subject-Token"]
        self.user: str = answer.json()["token"]["user"]["id"]
        self.project: str = answer.json()["token"]["project"]["id"]

    @property
    def account(self) -> str:
        """URL of the project's containers."""
        return f"{self.object_store}/v1/AUTH_{self.project}"

    @property
    def credentials(self) -> dict[str, str]:
        """The administrator's credentials, as openstacksdk names them."""
        return {
            "auth_url": self.identity,
            "username": "admin",
            "password": PASSWORD,
            "project_name": "admin",
            "user_domain_id": "default",
            "project_domain_id": "default",
        }

    def environment(self, **changes: str) -> dict[str, str]:
        """The variables by which ``openstack`` gets in by a password.

        :param changes: of them, without ``OS_``; empty takes one away.
        """
        values = {
            **self.credentials,
            "region_name": REGION,
            "identity_api_version": "3",
            **changes,
        }
        return {f"OS_{k.upper()}": v for k, v in values.items() if v}

    def ask_keystone(
        self, method: str, path: str, **body: Any
    ) -> dict[str, Any]:
        """Ask keystone as the administrator; gives the answer's JSON."""
        answer = requests.request(
            method,
            f"{self.identity}/{path}",
            json=body or None,
            headers={"X-Auth-Token": self.token},
            timeout=_TIMEOUT,
        )
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def make_user(self) -> tuple[str, str]:
        """A user of the project who may do what ACLs say, and no more.

        :returns: the name, which is the password as well, and how ACLs call
            the user.
        """
        name = f"user-{secrets.token_hex(4)}"
        user = self.ask_keystone(
            "POST", "users", user={"name": name, "password": name}
        )["user"]["id"]
        (role,) = self.ask_keystone("GET", "roles?name=reader")["roles"]
        self.ask_keystone(
            "PUT", f"projects/{self.project}/users/{user}/roles/{role['id']}"
        )
        return name, f"{self.project}:{user}"

    def ask_swift(
        self, method: str, path: str, data: bytes | None = None, **headers: str
    ) -> requests.Response:
        """Ask swift as the administrator, with no client between.

        :param path: ``container`` or ``container/object``.
        :param headers: their names have ``_`` in place of ``-``.
        """
        return requests.request(
            method,
            f"{self.account}/{urllib.parse.quote(path)}",
            data=data,
            headers={
                "X-Auth-Token": self.token,
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
            timeout=_TIMEOUT,
        )

    def make_plan(
        self, name: str, files: Mapping[str, str], usage: str = "plan"
    ) -> None:
        """A container with these objects, path -> text.

        :param usage: what the metadata says that it is for; empty: nothing.
        """
        assert self.ask_swift(
            "PUT", name, X_Container_Meta_Usage_Tripleo=usage
        ).ok
        for path, text in files.items():
            answer = self.ask_swift("PUT", f"{name}/{path}", text.encode())
            assert answer.status_code == 201, answer.text

    def read(self, name: str, path: str) -> str | None:
        """An object as it is now; None when there is none."""
        answer = self.ask_swift("GET", f"{name}/{path}")
        if answer.status_code == 404:
            return None
        assert answer.ok, answer.text
        return answer.content.decode()

    def objects(self, name: str) -> list[str]:
        """The names of the objects in a container."""
        answer = self.ask_swift("GET", name)
        assert answer.ok, answer.text
        return answer.text.splitlines()

    def log(self, pattern: str = "") -> list[str]:
        """The requests that swift had so far, such as ``GET plan/object``.

        Swift logs a request after its answer. The log is whole when it has
        a request that came later.

        :param pattern: a regular expression that is searched in each.
        """
        probe = f"{_PROBE}-{secrets.token_hex(4)}"
        self.ask_swift("HEAD", probe)
        end = time.monotonic() + _TIMEOUT
        while probe not in " ".join(texts := self._logged()):
            assert time.monotonic() < end, f"{probe} is not in the log"
            time.sleep(0.01)
        return [
            text
            for text in texts
            if _PROBE not in text and re.search(pattern, text)
        ]

    def _logged(self) -> list[str]:
        # Address, address, time, method, path, protocol, status, ...
        lines = re.findall(
            r"(?m)^proxy-server: [\d.]+ \S+ \S+ ([A-Z]+ \S+) HTTP",
            (self.directory / "proxy.log").read_text(),
        )
        account = f"/v1/AUTH_{self.project}/"
        return [
            urllib.parse.unquote(urllib.parse.unquote(line)).replace(
                account, "", 1
            )
            for line in lines
        ]


def place() -> Path:
    """A directory for the files of the servers: in memory if that will do.

    Swift waits for the disk after each write, and keeps extended attributes,
    which not every tmpfs can.
    """
    memory = Path("/dev/shm")  # noqa: S108 # the files have names of their own
    try:
        if shutil.disk_usage(memory).free > _ROOM:
            with tempfile.NamedTemporaryFile(dir=memory) as file:
                os.setxattr(file.name, "user.swift.metadata", b"x" * 1000)
            return memory
    except OSError:
        pass
    return Path("/var/tmp")  # noqa: S108


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Services]:
    """A keystone and a swift, until the end of the block.

    :param directory: an empty one, for all that they write.
    """
    home = _environment()
    shutil.copytree(_initial_state(home), directory, dirs_exist_ok=True)
    ports = {
        name: servers.free_port()
        for name in ("keystone", "glance", "proxy", *_KINDS)
    }
    _write_keystone(directory, ports)
    _write_swift(directory, ports)
    _write_glance(home, directory, ports)
    programs.run(
        *(home / "bin/python", "-c", _RINGS, directory),
        *(f"{kind}={ports[kind]}" for kind in _KINDS),
    )
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        processes["keystone"] = _start_web(home, directory, "keystone")
        processes["glance"] = _start_web(home, directory, "glance")
        for kind in ("proxy", *_KINDS):
            processes[kind] = _start(
                directory / f"{kind}.log",
                home / f"bin/swift-{kind}-server",
                directory / f"{kind}.conf",
                "-v",
                PYTHONPATH=str(_TOP),
            )
        for name, process in processes.items():
            servers.wait_for(ports[name], process, directory / f"{name}.log")
        services = Services(
            directory, ports["keystone"], ports["proxy"], ports["glance"]
        )
        _fill_catalog(services)
        yield services
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            servers.wait_for_end(process)


def _environment() -> Path:
    """The virtual environment that the servers run from."""
    named = os.environ.get("IMAGEPREP_SERVICES")
    home = Path(named) if named else _TOP / ".venv-services"
    missing = [
        program
        for program in (
            *("gunicorn", "keystone-manage", "swift-proxy-server"),
            "glance-manage",
        )
        if not (home / "bin" / program).exists()
    ]
    assert not missing, (
        f"{home}: no {' and no '.join(missing)} there: tools/check services"
    )
    return home


def _login() -> dict[str, Any]:
    domain = {"id": "default"}
    user = {"name": "admin", "password": PASSWORD, "domain": domain}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
    }


# --- keystone

#: Does what keystone-manage does for some command lines: it takes longer to
#: load than to do all of them.
_MANAGE = """
import json, os, sys
from keystone.cmd import cli
for words in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        cli.main(argv=["keystone-manage", *words])
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"failed: {words}")
"""


def _initial_state(home: Path) -> Path:
    """A directory with a database that has two users, and its keys."""
    owner = ["--keystone-user", str(os.getuid())]
    owner += ["--keystone-group", str(os.getgid())]
    commands = (
        ["db_sync"],
        ["fernet_setup", *owner],
        _bootstrap("admin", PASSWORD, "admin"),
        _bootstrap("swift", _SWIFT_PASSWORD, "service"),
    )
    made_by = hashlib.sha256(
        repr((commands, "glance", "rounds 4")).encode()
    ).hexdigest()
    state = home / f"keystone-{made_by[:8]}"
    if state.exists():
        return state
    with tempfile.TemporaryDirectory(dir=home) as name:
        directory = Path(name) / "made"
        (directory / "keystone").mkdir(parents=True)
        _write_keystone(directory, {})
        options = ["--config-file", str(directory / "keystone/keystone.conf")]
        lines = json.dumps([[*options, *words] for words in commands])
        programs.run(home / "bin/python", "-c", _MANAGE, lines)
        _write_glance(home, directory, {})
        programs.run(
            *(home / "bin/glance-manage", "--config-file"),
            *(directory / "glance/glance-api.conf", "db_sync"),
        )
        with contextlib.suppress(OSError):
            # Another session of tests may have been faster.
            directory.rename(state)
    return state


def _bootstrap(user: str, password: str, project: str) -> list[str]:
    return [
        *("bootstrap", "--bootstrap-username", user),
        *("--bootstrap-password", password),
        *("--bootstrap-project-name", project),
        *("--bootstrap-region-id", REGION),
    ]


def _write_keystone(directory: Path, ports: Mapping[str, int]) -> None:
    home = directory / "keystone"
    for name in ("fernet", "credential"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    (home / "keystone.conf").write_text(
        f"""\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{home}/keystone.db
[fernet_tokens]
key_repository = {home}/fernet
[credential]
key_repository = {home}/credential
# As cheap as they can be: a login, and the look at a token that swift takes
# at each request.
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""
    )
    _write_gunicorn(home, "keystone", ports)


def _write_gunicorn(home: Path, name: str, ports: Mapping[str, int]) -> None:
    (home / "gunicorn.py").write_text(
        f"""\
wsgi_app = "{name}.wsgi.api:application"
bind = "127.0.0.1:{ports.get(name, 0)}"
threads = 8
graceful_timeout = 1
control_socket_disable = True
"""
    )


def _start_web(
    home: Path, directory: Path, name: str
) -> subprocess.Popen[bytes]:
    """Start keystone or glance."""
    config = directory / name
    variables = {f"OS_{name.upper()}_CONFIG_DIR": str(config)}
    if name == "keystone":
        variables["OS_KEYSTONE_CONFIG_FILES"] = "keystone.conf"
    return _start(
        directory / f"{name}.log",
        # Keystone reads the words of the command line, too: there may be
        # none for gunicorn.
        home / "bin/gunicorn",
        GUNICORN_CMD_ARGS=f"-c {config}/gunicorn.py",
        **variables,
    )


def _authtoken(ports: Mapping[str, int]) -> str:
    """How swift and glance have a token checked."""
    url = f"http://127.0.0.1:{ports.get('keystone', 0)}"
    return f"""\
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = swift
password = {_SWIFT_PASSWORD}
project_name = service
user_domain_id = default
project_domain_id = default
"""


# --- glance


def _write_glance(
    venv: Path, directory: Path, ports: Mapping[str, int]
) -> None:
    home = directory / "glance"
    for name in ("images", "staging", "tasks"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "glance-api.conf").write_text(
        f"""\
[DEFAULT]
use_stderr = true
enabled_backends = fs:file
[database]
connection = sqlite:///{home}/glance.db
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = {home}/images
[os_glance_staging_store]
filesystem_store_datadir = {home}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {home}/tasks
[paste_deploy]
flavor = keystone
config_file = {venv}/etc/glance/glance-api-paste.ini
[keystone_authtoken]
{_authtoken(ports)}"""
    )
    _write_gunicorn(home, "glance", ports)


def _fill_catalog(services: Services) -> None:
    """Say where the servers are, now that they have ports."""
    services.ask_keystone("POST", "regions", region={"id": BARE_REGION})
    account = f"{services.object_store}/v1/AUTH_%(project_id)s"
    usual = [("public", REGION), ("internal", REGION)]
    for kind, url, places in (
        ("identity", services.identity, [*usual, ("public", BARE_REGION)]),
        ("object-store", account, usual),
        ("image", services.image, usual),
    ):
        made = services.ask_keystone(
            "POST", "services", service={"type": kind, "name": kind}
        )
        for interface, region in places:
            services.ask_keystone(
                "POST",
                "endpoints",
                endpoint={
                    "service_id": made["service"]["id"],
                    "url": url,
                    "interface": interface,
                    "region_id": region,
                },
            )


# --- swift

#: Builds the rings: which device has what, one of each here.
_RINGS = """
import sys
from swift.common.ring import RingBuilder
for word in sys.argv[2:]:
    kind, port = word.split("=")
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1,
        "ip": "127.0.0.1", "port": int(port), "device": "disk"})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""


def _write_swift(directory: Path, ports: Mapping[str, int]) -> None:
    (directory / "devices/disk").mkdir(parents=True)
    # It is looked for where the rings are.
    (directory / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\n"
        "[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    for kind in _KINDS:
        (directory / f"{kind}.conf").write_text(
            _server(directory, ports[kind])
            + f"devices = {directory}/devices\nmount_check = false\n"
            f"[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        )
    pipeline = (
        *("catch_errors", "proxy-logging", "cache", "authtoken"),
        *("keystoneauth", "slo", "proxy-server"),
    )
    (directory / "proxy.conf").write_text(
        _server(directory, ports["proxy"])
        + f"""\
[pipeline:main]
pipeline = {" ".join(pipeline)}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
paste.filter_factory = tests.swift_cache:filter_factory
[filter:slo]
use = egg:swift#slo
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
{_authtoken(ports)}"""
    )


def _server(directory: Path, port: int) -> str:
    return (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\n"
        f"user = {pwd.getpwuid(os.getuid()).pw_name}\n"
        f"swift_dir = {directory}\n"
    )


# --- processes


def _start(
    log: Path, *command: Path | str, **environment: str
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(log.parent),
                **environment,
            },
        )
