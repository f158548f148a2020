"""Credentials: where they are looked for, and which one is used."""

from __future__ import annotations

import base64
import json
import os
import traceback
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.auth import credentials
from imageprep_client.stores.registry.auth.credentials import (
    Credentials,
    Inline,
    RegistryCredential,
    default_files,
)


def auth(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"auth": pair}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(document: object, name: str = "auth.json") -> Path:
        path = tmp_path / name
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text)
        return path

    return write


def test_no_secret_is_shown() -> None:
    """Representations have no password."""
    found = Credentials({"quay.io": ("me", "canary")})
    assert "canary" not in repr(found) + repr(found.find("quay.io"))


def test_explicit_come_first(write: Any) -> None:
    """The user's own credentials come before any file."""
    path = write({"auths": {"quay.io": auth("file", "x")}})
    found = Credentials({"quay.io": ("me", "pw")}, [path]).find("quay.io", "a")
    assert found == RegistryCredential(
        "me", "pw", "ContainerImageRegistryCredentials"
    )


def test_other_ports(write: Any) -> None:
    """A port more or less names another registry."""
    path = write(
        {"auths": {"Reg.test/ns": {}, "reg.test.other:1": {}, "https://[": {}}}
    )
    found = Credentials({"reg.test:1": ("me", "pw")}, [path])
    assert found.other_ports("reg.test:5000") == {"reg.test", "reg.test:1"}
    assert found.other_ports("reg.test:1") == {"reg.test"}
    assert found.find("reg.test:5000") is None


def test_files_in_order(write: Any, tmp_path: Path) -> None:
    """The first file that knows the registry decides; others are skipped."""
    one = write({"auths": {"other.io": auth("one", "x")}}, "one")
    two = write({"auths": {"quay.io": auth("two", "x:y")}}, "two")
    found = Credentials(files=[tmp_path / "none", one, two]).find("quay.io")
    assert found == RegistryCredential("two", "x:y", str(two))


def test_longest_key_decides(write: Any) -> None:
    """Keys may be namespaces and repositories, as in auth.json."""
    path = write(
        {
            "auths": {
                "quay.io": auth("registry", "x"),
                "quay.io/ns": auth("namespace", "x"),
                "quay.io/ns/name": auth("repository", "x"),
            }
        }
    )
    known = Credentials(files=[path])
    for repository, user in {
        "ns/name": "repository",
        "ns/other": "namespace",
        "nsx/name": "registry",
    }.items():
        found = known.find("quay.io", repository)
        assert found
        assert found.username == user


@pytest.mark.parametrize(
    "key",
    [
        "https://index.docker.io/v1/",
        "index.docker.io/v1/",
        "docker.io",
        "registry-1.docker.io",
    ],
)
def test_docker_hub_keys(write: Any, key: str) -> None:
    """Docker Hub has several names."""
    path = write({"auths": {key: auth("hub", "x")}})
    found = Credentials(files=[path]).find("registry-1.docker.io", "ns/x")
    assert found
    assert found.username == "hub"
    assert Credentials({key: ("me", "x")}).find("registry-1.docker.io")


def test_url_keys(write: Any) -> None:
    """Old files have URLs as keys."""
    path = write({"auths": {"https://quay.io/v2/": auth("me", "x")}})
    assert Credentials(files=[path]).find("quay.io")


def test_names_of_hosts_in_any_case(write: Any) -> None:
    """Names of hosts are the same in any case."""
    path = write({"auths": {"Registry.Test:5000/ns": auth("me", "x")}})
    known = Credentials(files=[path])
    assert known.find("registry.test:5000", "ns/x")
    assert known.find("REGISTRY.test:5000", "ns/x")


def test_plain_user_and_password(write: Any) -> None:
    """A file may have user and password in the open."""
    path = write({"auths": {"a.io": {"username": "me", "password": "x"}}})
    assert Credentials(files=[path]).find("a.io") == RegistryCredential(
        "me", "x", str(path)
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        "",
        {"auths": {}},
        {"auths": {"quay.io": {}}},
        {"auths": {"quay.io": "x"}},
        {"auths": []},
    ],
)
def test_nothing_found(write: Any, document: object) -> None:
    """Empty entries are no credentials."""
    assert Credentials(files=[write(document)]).find("quay.io") is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{Zz9Secret", "is no JSON"),
        ("[]", "is no JSON object"),
        ({"auths": {"quay.io": {"auth": "Zz9Secret!"}}}, r"auths\.quay\.io"),
        ({"auths": {"quay.io": {"auth": "Y2FuYXJ5"}}}, "user:password"),
        ({"credsStore": "../evil"}, "invalid credential helper"),
        ({"credsStore": "surely-not-there"}, "cannot be used"),
    ],
)
def test_broken_files(write: Any, document: object, message: str) -> None:
    """A broken file is named, without what is in it."""
    with pytest.raises(errors.InvalidFile, match=message) as caught:
        Credentials(files=[write(document)]).find("quay.io")
    assert "Zz9Secret" not in caught.value.problem


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "latin").write_bytes(b"\xff")
    for name in ("dir", "latin"):
        with pytest.raises(errors.InvalidFile, match="cannot be read"):
            Credentials(files=[tmp_path / name]).find("quay.io")


HELPER = """#!/bin/sh
read server
case "$server" in
  quay.io) echo '{"Username": "helped", "Secret": "x"}';;
  https://index.docker.io/v1/) echo '{"Username": "hub", "Secret": "x"}';;
  empty.io) echo '{"Username": "", "Secret": ""}';;
  odd.io) echo 'Zz9Secret';;
  token.io) echo '{"Username": "<token>", "Secret": "x"}';;
  bad.io) exit 3;;
  *) echo "credentials not found in native keychain"; exit 1;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "bin" / "docker-credential-tests"
    path.parent.mkdir()
    path.write_text(HELPER)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    return "tests"


@pytest.mark.parametrize(
    ("registry", "user"),
    [
        ("quay.io", "helped"),
        ("registry-1.docker.io", "hub"),
        ("unknown.io", None),
        ("empty.io", None),
    ],
)
def test_credentials_store(
    write: Any, helper: str, registry: str, user: str | None
) -> None:
    """credsStore asks a program, which may know nothing."""
    path = write({"credsStore": helper})
    found = Credentials(files=[path]).find(registry, "ns/name")
    assert (found and found.username) == user


def test_credential_helpers(write: Any, helper: str) -> None:
    """credHelpers names a program for some registries."""
    path = write({"credHelpers": {"quay.io": helper, "unknown.io": helper}})
    known = Credentials(files=[path])
    found = known.find("quay.io", "ns/name")
    assert found
    assert found.source == "docker-credential-tests"
    assert not found.is_identity
    assert known.find("unknown.io") is None
    assert known.find("other.io") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("index.docker.io", "registry-1.docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://quay.io", "quay.io"),
    ],
)
def test_forms_of_credential_helper_keys(
    write: Any, helper: str, key: str, registry: str
) -> None:
    """credHelpers has the same forms of names as auths."""
    path = write({"credHelpers": {key: helper}})
    assert Credentials(files=[path]).find(registry, "ns/name")


def test_identity_token_of_a_helper(write: Any, helper: str) -> None:
    """A helper may have an identity token in place of a password."""
    path = write({"credHelpers": {"token.io": helper}})
    found = Credentials(files=[path]).find("token.io", "ns/name")
    assert found
    assert (found.username, found.is_identity) == ("", True)


@pytest.mark.parametrize("registry", ["odd.io", "bad.io"])
def test_failing_helpers(write: Any, helper: str, registry: str) -> None:
    """A helper that fails is named, without what it says."""
    path = write({"credsStore": helper})
    with pytest.raises(
        errors.InvalidFile, match="docker-credential-tests"
    ) as caught:
        Credentials(files=[path]).find(registry)
    assert "Zz9Secret" not in caught.value.problem


def test_slow_helpers(
    write: Any, helper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that does not answer is not waited for for ever."""
    monkeypatch.setattr(credentials, "_HELPER_TIMEOUT", 0.05)
    script = "#!/bin/sh\nexec sleep 60\n"
    (tmp_path / "bin" / "docker-credential-tests").write_text(script)
    with pytest.raises(errors.InvalidFile, match="does not answer"):
        Credentials(files=[write({"credsStore": helper})]).find("quay.io")


def test_default_files(tmp_path: Path) -> None:
    """The order is the one podman and skopeo have."""
    named = tmp_path / "named"
    named.touch()
    environ = {
        "REGISTRY_AUTH_FILE": "/env",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "DOCKER_AUTH_CONFIG": "{}",
    }
    assert default_files(str(named), environ, Path("/root")) == [
        named,
        Path("/env"),
        Path("/run/user/0/containers/auth.json"),
        Path("/root/.config/containers/auth.json"),
        Inline("DOCKER_AUTH_CONFIG", "{}"),
        Path("/root/.docker/config.json"),
        Path("/root/.dockercfg"),
    ]
    environ = {"DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/c"}
    assert default_files(None, environ, Path("/root")) == [
        Path(f"/run/containers/{os.geteuid()}/auth.json"),
        Path("/c/containers/auth.json"),
        Path("/d/config.json"),
        Path("/root/.dockercfg"),
    ]


def test_docker_file_of_old(write: Any, tmp_path: Path) -> None:
    """.dockercfg has the registries at its top."""
    path = write({"https://quay.io/v1/": auth("old", "pw")}, ".dockercfg")
    found = Credentials(files=[path]).find("quay.io")
    assert found == RegistryCredential("old", "pw", str(path))


def test_broken_lines(write: Any) -> None:
    """Base64 may have line ends, as some tools write it."""
    pair = base64.b64encode(b"a-rather-long-user:" + b"x" * 60).decode()
    text = "\n".join(pair[n : n + 20] for n in range(0, len(pair), 20))
    path = write({"auths": {"quay.io": {"auth": f"{text}\n"}}})
    found = Credentials(files=[path]).find("quay.io")
    assert found.username == "a-rather-long-user"


def test_named_file_must_exist() -> None:
    """A file from the command line that is not there is an error."""
    with pytest.raises(errors.InvalidFile, match="no such file"):
        default_files("/does/not/exist", {}, Path("/root"))


def test_fifo_is_refused(tmp_path: Path) -> None:
    """A FIFO in place of an authentication file is not waited for."""
    path = tmp_path / "auth.json"
    os.mkfifo(path)
    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        Credentials(files=[path]).find("quay.io")


def test_undecodable_bytes_are_not_told(tmp_path: Path) -> None:
    """No cause is chained that quotes the file."""
    path = tmp_path / "auth.json"
    path.write_bytes(b'{"auths": "\xe9"}')
    with pytest.raises(errors.InvalidFile, match="not utf-8") as caught:
        Credentials(files=[path]).find("quay.io")
    assert "0xe9" not in "".join(traceback.format_exception(caught.value))
