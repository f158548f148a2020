"""``openstack image-prepare image list``, ``show`` and ``delete``."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client.client import stores as opening
from imageprep_client.host import locks, undercloud
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base as stores
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.testing.gate import Basic, Bearer, Open
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base
from tests.functional.deployment import PLAIN

CANARY = "canary-7c0e/+&%"
LIST = ("image-prepare", "image", "list")
SHOW = ("image-prepare", "image", "show")
DELETE = ("image-prepare", "image", "delete")
TREE = ("--image-serve", "tree")
NAME = "ns/keystone"
IMAGE = content.image("keystone", labels={"version": "17.1.3"})


def fill(store: stores.Store) -> Descriptor:
    """Put the image there, under two tags."""
    put(store, IMAGE, "17.1", "latest")
    return IMAGE.descriptor


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry with an image that has two tags."""
    with RegistryServer() as server:
        fill(server.content.store(NAME))
        yield server


@pytest.fixture
def tree(openstack: base.OpenStack) -> ImageServeTree:
    """The same in a tree."""
    found = ImageServeTree(openstack.home / "tree")
    fill(found.store(NAME))
    return found


def rows(result: base.Result) -> list[str]:
    """The names that were listed."""
    return [row["Image Name"] for row in json.loads(result.stdout)]


# --- list


def test_list_of_a_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """All tags of all repositories come sorted, as nodes name them."""
    fill(registry.content.store("a/b"))
    listed = openstack(
        *LIST, "--registry-url", registry.host, "-f", "json", stderr=PLAIN
    )
    assert rows(listed) == [
        f"{registry.host}/{name}:{tag}"
        for name in ("a/b", NAME)
        for tag in ("17.1", "latest")
    ]


@pytest.mark.usefixtures("tree")
def test_list_of_a_tree(openstack: base.OpenStack) -> None:
    """A tree is listed without a registry."""
    listed = openstack(*LIST, *TREE, "-f", "json")
    assert rows(listed) == [f"{NAME}:17.1", f"{NAME}:latest"]


@pytest.mark.usefixtures("tree")
def test_list_of_the_undercloud(
    openstack: base.OpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it is the undercloud's tree, under the undercloud's name."""
    monkeypatch.setattr(opening, "TREE", str(openstack.home / "tree"))
    monkeypatch.setattr(undercloud, "registry", lambda: "localhost:8787")
    listed = openstack(*LIST, "-f", "json")
    assert rows(listed)[0] == f"localhost:8787/{NAME}:17.1"


@pytest.mark.parametrize("path", ["ns", NAME])
def test_list_below_a_path(
    openstack: base.OpenStack, registry: RegistryServer, path: str
) -> None:
    """A path after the registry chooses the repository, or those below it."""
    fill(registry.content.store("nsother/x"))
    url = f"docker://{registry.host}/{path}"
    listed = openstack(
        *LIST, "--registry-url", url, "-f", "json", stderr=PLAIN
    )
    assert len(rows(listed)) == 2


class _Busy(Open):
    """Lets everybody in, and counts the requests at one time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def admits(self, authorization: str, scope: str) -> bool:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.01)
        with self._lock:
            self._now -= 1
        return True


@pytest.mark.parametrize(("number", "most"), [("1", {1}), ("4", {2, 3, 4})])
def test_list_with_few_requests_at_once(
    openstack: base.OpenStack, number: str, most: set[int]
) -> None:
    """A registry gets no more requests at one time than the user allows."""
    gate = _Busy()
    with RegistryServer(gate=gate) as server:
        for name in "abcdefgh":
            fill(server.content.store(name))
        openstack(
            *(*LIST, "--long", "--registry-url", server.host),
            *("--concurrency", number),
            stderr=PLAIN,
        )
    assert gate.most in most


def test_list_without_a_catalog(openstack: base.OpenStack) -> None:
    """A registry that does not tell what it has is one clear line."""
    with RegistryServer(behaviour=Behaviour(catalog=False)) as server:
        openstack(
            *LIST,
            "--registry-url",
            server.host,
            status=2,
            stderr=PLAIN
            + r"[^\n]*catalog of its images: no such page[^\n]* 404\)\n"
            r"hint: many public registries[^\n]*",
        )


def test_list_of_no_tree(openstack: base.OpenStack) -> None:
    """A directory that does not exist is no empty tree."""
    openstack(*LIST, *TREE, status=2, stderr="tree: no such directory")


def test_unknown_values_in_csv(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """An unknown age is an empty field."""
    listed = openstack(
        *LIST,
        *("--registry-url", registry.host, "--long", "-f", "csv"),
        stderr=PLAIN,
    )
    (_, *lines) = csv.reader(io.StringIO(listed.stdout))
    assert [line[3] for line in lines] == ["", ""]


# --- show


def show(openstack: base.OpenStack, *words: str) -> dict[str, Any]:
    """The output of ``image show``."""
    found: dict[str, Any] = openstack.json(*SHOW, *words, stderr=PLAIN)
    return found


def test_show(openstack: base.OpenStack, registry: RegistryServer) -> None:
    """Everything about an image is there, as JSON."""
    found = show(openstack, f"{registry.host}/{NAME}:17.1")
    layers = [p.descriptor for p in IMAGE.parts[:2]]
    assert found == {
        "Name": f"{registry.host}/{NAME}",
        "Tag": "17.1",
        "Digest": IMAGE.descriptor.digest,
        "MediaType": IMAGE.descriptor.media_type,
        "Created": None,
        "Architecture": "amd64",
        "Os": "linux",
        "Platforms": [],
        "Platform": None,
        "SizePlatforms": [],
        "Labels": {"version": "17.1.3"},
        "Layers": [{"digest": d.digest, "size": d.size} for d in layers],
        "RepoTags": ["17.1", "latest"],
        "Size": sum(p.descriptor.size for p in IMAGE.parts),
    }


@pytest.mark.usefixtures("tree")
def test_show_in_a_tree(openstack: base.OpenStack) -> None:
    """An image of a tree needs no registry in its name, but may have one."""
    host = "uc.example.com:8787/"
    for registry in ("", host):
        found = show(openstack, *TREE, f"{registry}{NAME}:17.1")
        assert found["Digest"] == IMAGE.descriptor.digest
        assert found["Name"] == f"{registry}{NAME}"


def test_show_below_the_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """A name without a registry is one of --registry-url."""
    found = show(openstack, NAME, "--registry-url", registry.host)
    assert found["Tag"] == "latest"


def test_show_of_another_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """Two registries are one too many."""
    openstack(
        *SHOW,
        f"{registry.host}/{NAME}",
        "--registry-url",
        "127.0.0.1:1",
        status=2,
        stderr="[^\n]*is not that of --registry-url, 127.0.0.1:1",
    )


def test_show_of_an_index(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """An index shows its platforms, and the size of all."""
    other = content.image("other")
    index = content.index({"linux/amd64": IMAGE, "linux/s390x": other})
    put(tree.store("ns/many"), index, "1")
    found = show(openstack, *TREE, "ns/many:1")
    assert found["Platforms"] == ["linux/amd64", "linux/s390x"]
    assert found["Platform"] == "linux/amd64"
    assert found["SizePlatforms"] == found["Platforms"]
    parts = (*IMAGE.parts, *other.parts)
    assert found["Size"] == sum(p.descriptor.size for p in parts)


def test_sizes_for_people(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """In a table sizes have units, and the other formats have bytes."""
    layer = content.blob("layer", 3 * 1024 * 1024)
    put(tree.store("ns/a"), content.image("a", [layer]), "1")
    words = (*SHOW, *TREE, "ns/a:1", "-c", "Size", "-c", "Layers")
    assert openstack(*words, "-f", "table").stdout.count("3.0 MiB") == 2
    size = openstack(*words[:-2], "-f", "value").stdout
    assert int(size) > layer.descriptor.size


def test_unknown_is_empty(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """A value that is unknown is null in JSON and empty in a table."""
    put(tree.store("ns/a"), IMAGE, "1")
    words = (*TREE, "ns/a:1", "-c", "Platform")
    assert show(openstack, *words)["Platform"] is None
    assert "None" not in openstack(*SHOW, *words, "-f", "table").stdout


def test_unknown_tag_of_a_tree(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """The message has a name that commands take, and the tags there are."""
    put(tree.store("ns/a"), IMAGE, "1")
    name = f"image-serve:{tree.path}//ns/a"
    openstack(
        *(*SHOW, *TREE, "ns/a:none"),
        status=2,
        stderr=f"{name}:none: manifest unknown"
        r"\nhint: no similar tag; some that exist: 1",
    )
    assert show(openstack, f"{name}:1")["Tag"] == "1"


def test_unknown_repository(
    openstack: base.OpenStack, tree: ImageServeTree, registry: RegistryServer
) -> None:
    """Where no tags are listed, the name is in doubt."""
    for place in (f"image-serve:{tree.path}/", registry.host):
        openstack(
            *(*SHOW, f"{place}/ns/keyston:17.1"),
            status=2,
            stderr=PLAIN + r"[^\n]*: manifest unknown[^\n]*"
            r"\nhint: no tags of this repository are listed: [^\n]*",
        )


def test_show_controls_no_terminal(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """The labels of an image are shown without escapes."""
    hostile = content.image("h", labels={"a": "\x1b]0;owned\x07"})
    put(tree.store("ns/h"), hostile, "latest")
    shown = openstack(*SHOW, *TREE, "ns/h", "-f", "table").stdout
    assert "owned" in shown
    assert "\x1b" not in shown


def test_show_unknown(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """An image that is not there is one line, exit 2."""
    openstack(
        *SHOW,
        f"{registry.host}/{NAME}:none",
        status=2,
        stderr=PLAIN + f"{registry.host}/{NAME}:none: [^\n]*unknown[^\n]*"
        r"\nhint: no similar tag; some that exist: 17[.]1, latest",
    )


# --- delete


def test_delete_asks(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a terminal and --yes nothing is deleted, exit 2."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    openstack(
        *DELETE,
        *TREE,
        NAME,
        status=2,
        stderr=f"{NAME}: not deleted: nobody can be asked[^\n]*\n"
        "hint: [^\n]*--yes",
    )
    assert list(tree.store(NAME).tags()) == ["17.1", "latest"]


@pytest.mark.parametrize(
    ("answer", "status"), [("y\n", 0), ("Yes\n", 0), ("\n", 2), ("", 2)]
)
def test_delete_asks_at_a_terminal(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    status: int,
) -> None:
    """Only a yes deletes; the question names the place as well."""
    monkeypatch.setattr("sys.stdin", base.Terminal(answer))
    openstack(
        *DELETE,
        *TREE,
        f"{NAME}:17.1",
        status=status,
        stderr=rf"Delete image-serve:{tree.path}//{NAME}:17.1\? \[y/N\]"
        + r"[^\n]*"
        + (" not confirmed" if status else " still needed by [^\n]*"),
    )
    assert ("17.1" in tree.store(NAME).tags()) is bool(status)


def test_delete_from_a_tree(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """The last tag takes manifest and blobs with it; others' stay."""
    fill(tree.store("ns/other"))
    first = openstack(*DELETE, *TREE, f"{NAME}:17.1", "-y").summary
    assert first.startswith(
        f"{NAME}:17.1: tag removed; the image is still needed by tag latest,"
    )
    last = openstack(*DELETE, *TREE, NAME, "-y").summary
    assert last.startswith(
        f"{NAME}: deleted; tags: latest; manifests: 1; blobs: 3, in "
    )
    store = tree.store(NAME)
    assert not any(store.exists(p.descriptor) for p in IMAGE.pieces)
    assert tree.store("ns/other").holds(IMAGE.descriptor)
    assert ImageServeTree(tree.path).repositories() == ["ns/other"]


def test_delete_from_a_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """A digest deletes the manifest with all its tags."""
    name = f"{registry.host}/{NAME}@{IMAGE.descriptor.digest}"
    done = openstack(*DELETE, name, "--yes", stderr=PLAIN).summary
    assert "tags: 17.1, latest" in done
    assert list(registry.content.store(NAME).tags()) == []


def test_delete_where_it_is_refused(openstack: base.OpenStack) -> None:
    """The registry's own words are shown beside the other tags."""
    with RegistryServer() as server:
        fill(server.content.store(NAME))
        said = b'{"errors": [{"message": "in read-only mode"}]}'
        server.fail(method="DELETE", status=405, body=said)
        openstack(
            *(*DELETE, f"{server.host}/{NAME}:17.1", "-y"),
            status=2,
            stderr=PLAIN
            + r"[^\n]*needed by tag latest, and [^\n]*: in read-only mode"
            r" \(DELETE [^\n]* 405\)\nhint: [^\n]*",
        )
        assert "17.1" in server.content.store(NAME).tags()


@pytest.mark.parametrize("untags", [True, False])
def test_delete_beside_what_is_not_understood(
    openstack: base.OpenStack, *, untags: bool
) -> None:
    """A schema 1 manifest is named, stops nothing, and goes when asked."""
    behaviour = Behaviour(untags=untags)
    with RegistryServer(behaviour=behaviour) as server:
        store = server.content.store(NAME)
        old = content.schema1("old")
        store.push(old.descriptor, old.open())
        store.tag(old.descriptor, "old")
        put(store, IMAGE, "17.1")
        name = f"{server.host}/{NAME}"
        warning = rf"[^\n]*{name}:old: docker schema 1[^\n]*not known[^\n]*"
        done = openstack(*DELETE, f"{name}:17.1", "-y", stderr=PLAIN + warning)
        assert "manifests: 1" in done.summary
        assert list(store.tags()) == ["old"]
        done = openstack(*DELETE, f"{name}:old", "-y", stderr=PLAIN + warning)
        assert "tags: old; manifests: 1" in done.summary
        assert list(store.manifests()) == []


def test_delete_waits_for_a_run(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deletion waits for the run that writes to the tree."""
    with contextlib.ExitStack() as run:
        run.enter_context(tree.lock(lambda _: None))
        clock = types.SimpleNamespace(
            monotonic=time.monotonic, sleep=lambda _: run.close()
        )
        monkeypatch.setattr(locks, "time", clock)
        openstack(
            *(*DELETE, *TREE, NAME, "-y"),
            stderr="waiting: another run has [^\n]*",
        )
    assert list(tree.store(NAME).tags()) == ["17.1"]


# --- passwords


@pytest.mark.parametrize(
    ("gate", "command", "given", "before"),
    [
        (Basic, LIST, ("--password-file", "password"), ()),
        (Bearer, LIST, ("--password", CANARY), ("--debug",)),
        (Bearer, SHOW, ("--password-file", "password"), ("--debug",)),
        (Basic, SHOW, ("--password", CANARY), ()),
        (Bearer, DELETE, ("--password-file", "password"), ()),
        (Basic, DELETE, ("--password", CANARY), ("--debug",)),
    ],
)
def test_password(
    openstack: base.OpenStack,
    gate: type[Basic] | type[Bearer],
    command: tuple[str, ...],
    given: tuple[str, ...],
    before: tuple[str, ...],
) -> None:
    """A password opens the registry and is in no output at any verbosity."""
    (openstack.home / "password").write_text(f"{CANARY}\n")
    words = [] if command == LIST else [f"{NAME}:17.1"]
    if command == DELETE:
        words.append("-y")
    with RegistryServer(gate=gate("operator", CANARY)) as server:
        fill(server.content.store(NAME))
        done = openstack(
            *(*before, "--log-file", "shell.log", *command),
            *("--registry-url", server.host, "--username", "operator"),
            *(*given, *words),
            stderr=".*",
        )
    assert NAME in f"{done.stdout}{done.stderr}"
    log = (openstack.home / "shell.log").read_text()
    pair = base64.b64encode(f"operator:{CANARY}".encode()).decode()
    for text in (done.stdout, done.stderr, log):
        assert CANARY not in text
        assert pair not in text


@pytest.mark.parametrize("gate", [Basic, Bearer])
def test_wrong_password(
    openstack: base.OpenStack, gate: type[Basic] | type[Bearer]
) -> None:
    """A wrong password is one line, exit 2, and not repeated.

    The hint says where it came from.
    """
    with RegistryServer(gate=gate("operator", CANARY)) as server:
        done = openstack(
            *(*LIST, "--registry-url", server.host),
            *("--username", "operator", "--password", "Qq7Wrong"),
            status=2,
            stderr=PLAIN
            + "[^\n]* 401\\)\nhint: used the credentials of operator for"
            f" {server.host} from the options[^\n]*",
        )
    assert "Qq7Wrong" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--username", "me"), "a user without a password: [^\n]*"),
        (("--password", "x"), "a password without a user: [^\n]*"),
        (
            ("--username", "me", "--password-file", "none"),
            "none: no such file[^\n]*",
        ),
    ],
)
def test_half_a_login(
    openstack: base.OpenStack, words: tuple[str, ...], message: str
) -> None:
    """A user and a password belong together."""
    openstack(*LIST, *words, status=2, stderr=message)
