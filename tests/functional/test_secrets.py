"""Canaries: secrets that no output of a run may hold, whatever happens."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imageprep_client.testing import content
from imageprep_client.testing.gate import Basic, Bearer
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base
from tests.functional.deployment import PLAIN, TABLE

READ = "Zz9ReadCanary"
WRITE = "Zz9WriteCanary"
SIGNATURE = "Zz9SignatureCanary"
NAME = "ns/openstack-keystone"
IMAGE = content.image("canary")

#: Tells the password, and keeps what other users see meanwhile.
HELPER = f"""#!/bin/sh
read server
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >>"$HOME/processes"
echo '{{"Username": "reader", "Secret": "{READ}"}}'
"""


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    """Its blobs are behind signed URLs of another server."""
    with RegistryServer() as server, RegistryServer() as storage:
        for each in (server, storage):
            store = each.content.store(NAME)
            put(store, IMAGE, "1")
        for part in IMAGE.parts:
            path = f"/v2/{NAME}/blobs/{part.descriptor.digest}"
            query = f"X-Amz-Signature={SIGNATURE}"
            headers = {"Location": f"{storage.url}{path}?{query}"}
            server.fail("GET", path, status=307, headers=headers, times=None)
        yield server


@pytest.fixture
def target() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def prepare(home: Path, source: str, target: str) -> set[Path]:
    """Write what the user gives; the files, which do have secrets."""
    environment = {
        "ContainerImagePrepare": [
            {
                "push_destination": target,
                "set": {"namespace": f"{source}/ns", "tag": "1"},
            }
        ],
        "ContainerImageRegistryCredentials": {target: {"writer": WRITE}},
    }
    text = yaml.safe_dump({"parameter_defaults": environment})
    write(home / "env.yaml", text, 0o600)
    write(home / "table.j2", TABLE, 0o644)
    write(home / "bin/docker-credential-canary", HELPER, 0o700)
    config = {"credHelpers": {source: "canary"}}
    write(home / ".docker/config.json", json.dumps(config), 0o600)
    return {home / "env.yaml", home / "bin/docker-credential-canary"}


def secrets(*servers: RegistryServer) -> set[str]:
    """All that was secret: passwords, in any form, tokens, signatures."""
    found = {READ, WRITE, SIGNATURE}
    for user, password in {"reader": READ, "writer": WRITE}.items():
        found.add(base64.b64encode(f"{user}:{password}".encode()).decode())
    for server in servers:
        for request in server.log:
            header = request.headers.get("Authorization", "")
            found.add(header.partition(" ")[2] or READ)
    return found


@pytest.mark.parametrize("scheme", [Basic, Bearer])
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_no_secret_leaves_the_run(
    openstack: base.OpenStack,
    source: RegistryServer,
    target: RegistryServer,
    scheme: type[Basic] | type[Bearer],
    right: bool,
) -> None:
    """At full verbosity, in no output, no file, and no process list; when
    a registry refuses, either.
    """
    source.gate = scheme("reader", READ)
    target.gate = scheme("writer", WRITE if right else "another")
    home = openstack.home
    given = prepare(home, source.host, target.host)
    openstack.environment["PATH"] = os.pathsep.join(
        [str(home / "bin"), openstack.environment["PATH"]]
    )
    # Only a process of its own has a command line that others can see.
    command = openstack.installed if right else openstack
    done = command(
        *("--debug", "-vvv", "image-prepare", "run", "-e", "env.yaml"),
        *("--template-file", "table.j2", "--output-env-file", "out.yaml"),
        *("--report", "report.json", "--log-file", "run.log"),
        status=0 if right else 2,
        stderr=".*",
    )
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    for path in home.rglob("*"):
        if path.is_file() and path not in given:
            texts[str(path)] = path.read_text()
    # Where the destination refuses, no credential helper is asked.
    expected = {"run.log", "processes"} if right else {"run.log"}
    assert {Path(name).name for name in texts} >= expected
    if right:
        assert "image-prepare run" in texts[str(home / "processes")]
    assert "/v2/" in done.stderr
    assert bool(source.requests("GET", "/blobs/")) == right
    leaks = {
        (name, secret)
        for name, text in texts.items()
        for secret in secrets(source, target)
        if secret in text
    }
    assert not leaks


def test_files_with_passwords_are_private(
    openstack: base.OpenStack, source: RegistryServer, target: RegistryServer
) -> None:
    """A file with a password is for its owner only."""
    source.gate = Basic("reader", READ)
    home = openstack.home
    given = prepare(home, source.host, target.host)
    environment = yaml.safe_load((home / "env.yaml").read_text())
    defaults = environment["parameter_defaults"]
    defaults["ContainerImagePrepare"][0]["set"]["ceph_namespace"] = (
        f"{target.host}/ceph"
    )
    write(home / "env.yaml", yaml.safe_dump(environment), 0o600)
    openstack.environment["PATH"] = os.pathsep.join(
        [str(home / "bin"), openstack.environment["PATH"]]
    )
    umask = os.umask(0)
    try:
        openstack(
            *("image-prepare", "run", "-e", "env.yaml"),
            *("--template-file", "table.j2", "--ceph-vars-file", "ceph.yaml"),
            stderr=PLAIN,
        )
    finally:
        os.umask(umask)
    assert WRITE in (home / "ceph.yaml").read_text()
    for path in home.rglob("*"):
        if path.is_file() and path not in given:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text()
            is_secret = any(secret in text for secret in secrets())
            assert not (is_secret and mode & 0o077), path


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("-e", f"!{READ}"),
        ("-e", f"!!int {READ}"),
        ("-e", f"!!python/object:{READ} {{}}"),
        ("-e", f"!!binary {READ}"),
        ("-e", f"*{READ}"),
        ("-e", f"@{READ}"),
        ("-r", f"%{READ}"),
        ("-r", f"{READ}: {READ}"),
        ("--template-file", f"!!float {READ}"),
        ("--template-file", f'"{READ}'),
    ],
)
def test_value_that_yaml_cannot_read(
    openstack: base.OpenStack, option: str, value: str
) -> None:
    """An unquoted password may be an error of YAML: it is not quoted in any
    message, cause or log, whatever file it is in.
    """
    text = f"parameter_defaults:\n  A:\n    bob: {value}\n"
    write(openstack.home / "file.yaml", text, 0o600)
    write(openstack.home / "env.yaml", "", 0o600)
    done = openstack(
        *("--debug", "image-prepare", "run", "-e", "env.yaml"),
        *(option, "file.yaml", "--log-file", "run.log"),
        *("--image-serve", "tree"),
        status=2,
        stderr=".*",
    )
    log = (openstack.home / "run.log").read_text()
    assert "file.yaml" in log
    assert READ not in done.stdout + done.stderr + log


_CREDENTIALS = "reader:Zz9/Read@Canary"
_PLACE = f"{_CREDENTIALS}@127.0.0.1:9"


@pytest.mark.parametrize(
    ("keys", "parameters"),
    [
        ({"push_destination": _PLACE}, {}),
        ({"push_destination": f"docker://{_PLACE}/ns"}, {}),
        ({"pull_source": f"https://{_PLACE}/ns"}, {}),
        ({"set": {"namespace": f"{_PLACE}/ns", "tag": "1"}}, {}),
        ({}, {"DockerRegistryMirror": f"https://{_PLACE}"}),
        ({}, {"DockerRegistryMirror": _PLACE}),
        ({}, {"DockerInsecureRegistryAddress": [_PLACE]}),
    ],
)
def test_password_in_a_name(
    openstack: base.OpenStack, keys: dict[str, object], parameters: object
) -> None:
    """A registry with a password in its name is refused, and not quoted."""
    entry = {"set": {"namespace": "127.0.0.1:9/ns", "tag": "1"}, **keys}
    assert isinstance(parameters, dict)
    defaults = {"ContainerImagePrepare": [entry], **parameters}
    text = yaml.safe_dump({"parameter_defaults": defaults})
    write(openstack.home / "env.yaml", text, 0o600)
    write(openstack.home / "table.j2", TABLE, 0o644)
    done = openstack(
        *("image-prepare", "run", "-e", "env.yaml", "--dry-run"),
        *("--template-file", "table.j2"),
        status=2,
        stderr=".*",
    )
    assert "reader:***@127.0.0.1:9" in done.stderr
    assert not any(part in done.stderr for part in ("Zz9", "Read@", "Canary"))


@pytest.mark.parametrize(
    "words",
    [
        ("push", f"{_PLACE}/a:1"),
        ("push", "127.0.0.1:9/a:1", "--registry-url", _PLACE),
        ("image", "list", "--registry-url", f"https://{_PLACE}"),
        ("image", "show", f"{_PLACE}/a:1"),
        ("verify", "--registry-url", _PLACE),
        ("image", "list", "--insecure-registry", _PLACE),
    ],
)
def test_password_in_an_argument(
    openstack: base.OpenStack, words: tuple[str, ...]
) -> None:
    """Nor is one of the command line."""
    done = openstack("image-prepare", *words, status=2, stderr=".*")
    assert "reader:***@127.0.0.1:9" in done.stderr
    assert not any(part in done.stderr for part in ("Zz9", "Read@", "Canary"))
