"""``openstack image-prepare verify`` and ``prune``."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest

from imageprep_client.host import undercloud
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import images
from imageprep_client.testing.gate import Basic, Open
from imageprep_client.testing.registry import Behaviour, RegistryServer
from tests.functional import base, deployment
from tests.functional.deployment import PLAIN, UNDERCLOUD
from tests.trees import OnDisk

VERIFY = ("image-prepare", "verify")
PRUNE = ("image-prepare", "prune", "--yes")
TREE = ("--image-serve", "tree")
SAMPLES = images.overcloud(
    {"ns/api": ["1", "2"], "ns/compute": ["1"]}, unique_bytes=50_000
)
SPENT = r" in [\d.]+ s"
RIGHT = (
    r"2 repositories, 3 tags, 2 manifests; \d+ blobs read, [\d.]+ KiB" + SPENT
)


@pytest.fixture
def tree(openstack: base.OpenStack) -> ImageServeTree:
    """A tree with three tags, below the current directory."""
    tree = ImageServeTree(openstack.home / "tree")
    images.write(SAMPLES.images, tree.store)
    return tree


@pytest.fixture(params=[False, True], ids=["open", "guarded"])
def registry(
    request: pytest.FixtureRequest, openstack: base.OpenStack
) -> Iterator[RegistryServer]:
    """A registry with the same, which may want a password."""
    gate = Basic("operator", "canary") if request.param else Open()
    behaviour = Behaviour(untags=False, page=1)
    with RegistryServer(gate=gate, behaviour=behaviour) as registry:
        images.write(SAMPLES.images, registry.content.store)
        (openstack.home / "env.yaml").write_text(
            "parameter_defaults:\n"
            f"  ContainerApiImage: {registry.host}/ns/api:2\n"
            "  ContainerImageRegistryCredentials:\n"
            f"    {registry.host}: {{operator: canary}}\n"
        )
        (openstack.home / "auth.json").write_text(
            json.dumps(
                {"auths": {registry.host: {"auth": "b3BlcmF0b3I6Y2FuYXJ5"}}}
            )
        )
        yield registry


@pytest.fixture
def environment(openstack: base.OpenStack) -> None:
    """An environment that names one image of the tree."""
    (openstack.home / "env.yaml").write_text(
        f"parameter_defaults: {{ContainerApiImage: '{UNDERCLOUD}/ns/api:2'}}"
    )


@pytest.mark.usefixtures("tree")
def test_verify_whole_tree(openstack: base.OpenStack) -> None:
    """Of what is right there are no rows; a line says what was read."""
    assert openstack.json(*VERIFY, *TREE, stderr=RIGHT) == []


@pytest.mark.usefixtures("tree")
def test_verify_quick(openstack: base.OpenStack) -> None:
    """A quick look says that it is one."""
    openstack.json(
        *VERIFY,
        *TREE,
        "--quick",
        stderr=RIGHT.replace("blobs read", "blobs looked at, not read"),
    )


def test_verify_broken_tree(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """One row for each problem, with what needs it; exit status 1."""
    paths = OnDisk(tree.store("ns/api"))
    config = SAMPLES.images[0].manifests[0].config
    assert config
    paths.blob(config.digest).unlink()
    stray = f"sha256:{'0' * 64}"
    paths.blob(stray).touch()

    found = openstack.json(
        *VERIFY,
        *TREE,
        status=1,
        stderr=f"2 problems found\nhint: copy [^\n]* run --recheck\n{RIGHT}",
    )
    assert sorted(found, key=lambda row: str(row["Problem"])) == [
        {
            "Repository": "ns/api",
            "Name": config.digest,
            "Problem": "missing",
            "Needed by": "1, 2",
        },
        {
            "Repository": "ns/api",
            "Name": stray,
            "Problem": "unreferenced",
            "Needed by": None,
        },
    ]


def test_verify_undercloud(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default it is the undercloud's tree."""
    monkeypatch.setattr("imageprep_client.client.stores.TREE", str(tree.path))
    monkeypatch.setattr(undercloud, "registry", lambda: "localhost:8787")
    assert openstack.json(*VERIFY, stderr=RIGHT) == []


def test_verify_no_directory(openstack: base.OpenStack) -> None:
    """An absent tree is not verified."""
    openstack(*VERIFY, *TREE, status=2, stderr="tree: no such directory")


@pytest.mark.parametrize("command", [VERIFY, (*PRUNE, "--keep-last", "1")])
def test_no_tree(openstack: base.OpenStack, command: tuple[str, ...]) -> None:
    """A directory without a tree is no tree, and none is made there."""
    (openstack.home / "tree").mkdir()
    openstack(
        *command, *TREE, status=2, stderr="[^\n]*tree: no tree of images[^\n]*"
    )
    assert not list((openstack.home / "tree").iterdir())


def test_verify_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """Of a registry each blob is read once, whoever shares it."""
    found = openstack.json(
        *VERIFY,
        *("--registry-url", registry.host),
        *("--authfile", "auth.json"),
        stderr=PLAIN + RIGHT,
    )
    assert found == []
    read = [
        re.sub(".*/", "", request.path)
        for request in registry.requests("GET", "/blobs/")
        if "Authorization" in request.headers or type(registry.gate) is Open
    ]
    assert sorted(read) == sorted(SAMPLES.blobs)


def test_verify_broken_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """Lost and wrong blobs of a registry are named."""
    store = registry.content.store("ns/compute")
    config = SAMPLES.images[1].manifests[0].config
    assert config
    store.delete(config)
    found = openstack.json(
        *VERIFY,
        *("--registry-url", registry.host),
        *("--authfile", "auth.json"),
        status=1,
        stderr=f"{PLAIN}1 problem found\nhint: [^\n]* --recheck\n{RIGHT}",
    )
    assert found == [
        {
            "Repository": "ns/compute",
            "Name": config.digest,
            "Problem": "missing",
            "Needed by": "1",
        }
    ]


def test_verify_without_access(openstack: base.OpenStack) -> None:
    """Without a password nothing can be found out: exit status 2."""
    with RegistryServer(gate=Basic("operator", "canary")) as registry:
        openstack(
            *VERIFY,
            *("--registry-url", registry.host),
            status=2,
            stderr=PLAIN + "127[^\n]*authentication required[^\n]*\nhint: .*",
        )


@pytest.mark.usefixtures("environment")
def test_prune_tree(openstack: base.OpenStack, tree: ImageServeTree) -> None:
    """Named images stay; the rows list the deleted ones."""
    found = openstack.json(
        *PRUNE,
        *TREE,
        *("-e", "env.yaml"),
        stderr=r"2 tags and manifests: [\d.]+ KiB freed,"
        r" 1 tag kept in [\d.]+ s",
    )
    assert [(row["Repository"], row["Name"]) for row in found] == [
        ("ns/api", "1"),
        ("ns/compute", "1"),
    ]
    assert found[0]["Bytes freed"] == 0 < found[1]["Bytes freed"]
    assert tree.repositories_on_disk() == ["ns/api"]
    assert list(tree.store("ns/api").tags()) == ["2"]


@pytest.mark.usefixtures("environment")
def test_prune_dry_run(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """A dry run says what would go, and leaves it."""
    command = (*PRUNE, *TREE, "-e", "env.yaml")
    dry = openstack.json(*command, "--dry-run", stderr=".* would be freed.*")
    assert tree.repositories_on_disk() == ["ns/api", "ns/compute"]
    assert openstack.json(*command, stderr=".*") == dry


@pytest.mark.usefixtures("tree")
def test_prune_keep_last(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """The newest tags of each repository stay."""
    found = openstack.json(*PRUNE, *TREE, "--keep-last", "1", stderr=".*")
    assert [(row["Repository"], row["Name"]) for row in found] == [
        ("ns/api", "1")
    ]


@pytest.mark.usefixtures("tree")
def test_prune_nothing_to_keep(openstack: base.OpenStack) -> None:
    """Without a word on what to keep nothing is deleted."""
    openstack(
        *PRUNE,
        *TREE,
        status=2,
        stderr="nothing says what to keep[^\n]*\nhint: [^\n]*--keep-last",
    )


def test_prune_registry(
    openstack: base.OpenStack, registry: RegistryServer
) -> None:
    """A registry is told what to delete, and frees the space later."""
    found = openstack.json(
        *PRUNE,
        *("--registry-url", registry.host),
        *("-e", "env.yaml"),
        stderr=PLAIN + r"[^\n]*: [^\n]*B will be freed when the registry .*",
    )
    assert [(row["Repository"], row["Name"]) for row in found] == [
        ("ns/compute", "1")
    ]
    assert not list(registry.content.store("ns/compute").tags())
    assert list(registry.content.store("ns/api").tags()) == ["1", "2"]


def test_prune_registry_that_stops(openstack: base.OpenStack) -> None:
    """A registry that fails half-way: what went is shown; status 1."""
    with RegistryServer() as registry:
        images.write(SAMPLES.images, registry.content.store)
        keep = images.random_image("kept", repository="z", tags=["1"])
        images.write([keep], registry.content.store)
        (openstack.home / "env.yaml").write_text(
            f"parameter_defaults: {{A: '{registry.host}/z:1'}}"
        )
        registry.fail("DELETE", "/v2/ns/compute/", status=403, times=None)
        found = openstack.json(
            *PRUNE,
            *("--registry-url", registry.host),
            *("-e", "env.yaml"),
            status=1,
            stderr=PLAIN + ".*not everything was deleted\n  127[^\n]*403.*",
        )
    assert {row["Repository"] for row in found} == {"ns/api"}


def test_prune_registry_that_refuses(openstack: base.OpenStack) -> None:
    """Each repository that cannot be pruned is named; status 2."""
    with RegistryServer() as registry:
        images.write(SAMPLES.images, registry.content.store)
        (openstack.home / "env.yaml").write_text(
            f"parameter_defaults: {{A: '{registry.host}/ns/kept:1'}}"
        )
        keep = images.random_image("k", repository="ns/kept", tags=["1"])
        images.write([keep], registry.content.store)
        registry.fail("DELETE", status=403, times=None)
        openstack(
            *PRUNE,
            *("--registry-url", registry.host),
            *("-e", "env.yaml"),
            status=2,
            stderr=PLAIN
            + ".*nothing was deleted\n  127[^\n]*/ns/api@[^\n]*403"
            ".*\n  127[^\n]*/ns/compute@[^\n]*403.*",
        )


def test_part_of_a_registry(openstack: base.OpenStack) -> None:
    """The images of other accounts of a registry are left alone."""
    with RegistryServer() as registry:
        both = images.overcloud(
            {"mine/api": ["1"], "mine2/api": ["1"]}, unique_bytes=5_000
        )
        new = images.random_image("new", repository="mine/api", tags=["2"])
        images.write([*both.images, new], registry.content.store)
        place = ("--registry-url", f"{registry.host}/mine")
        openstack(*VERIFY, *place, stderr="1 repository, 2 tags, [^\n]*")
        openstack(*PRUNE, *place, "--keep-last", "1", stderr=".*")
        assert list(registry.content.store("mine/api").tags()) == ["2"]
        (openstack.home / "env.yaml").write_text(
            f"parameter_defaults: {{A: '{registry.host}/mine2/api:1'}}"
        )
        openstack(
            *PRUNE,
            *place,
            *("-e", "env.yaml"),
            status=2,
            stderr=f"env.yaml: nothing that is named [^\n]*{place[1]} .*",
        )
        assert not registry.requests(path="^/v2/mine2/")


def test_one_repository_of_a_registry(openstack: base.OpenStack) -> None:
    """The path of a repository means that one."""
    with RegistryServer() as registry:
        both = images.overcloud(
            {"mine/api": ["1", "2"], "mine/api2": ["1"]}, unique_bytes=5_000
        )
        images.write(both.images, registry.content.store)
        place = ("--registry-url", f"{registry.host}/mine/api")
        openstack(*VERIFY, *place, stderr="1 repository, 2 tags, [^\n]*")
        assert not registry.requests(path="^/v2/mine/api2/")


def test_mistyped_part_of_a_registry(openstack: base.OpenStack) -> None:
    """Nothing is good where there is nothing."""
    with RegistryServer() as registry:
        one = images.overcloud({"mine/api": ["1"]}, unique_bytes=5_000)
        images.write(one.images, registry.content.store)
        place = f"{registry.host}/min"
        problem = (
            f"{place}: no repository [^\n]*\nhint: [^\n]* image list [^\n]*"
        )
        for words in (VERIFY, (*PRUNE, "--keep-last", "1")):
            openstack(
                *(*words, "--registry-url", place), status=2, stderr=problem
            )


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("place", ["image-serve:tree//ns", "oci:layouts//ns"])
def test_part_of_a_directory(openstack: base.OpenStack, place: str) -> None:
    """Of a directory, all is looked after: its repositories share files."""
    openstack(
        *VERIFY,
        *("--registry-url", place),
        status=2,
        stderr=f"{place}: a part of a tree [^\n]*\nhint: [^\n]*",
    )


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (VERIFY, "[^\n]*/layouts: no such directory"),
        (
            (*PRUNE, "--keep-last", "1"),
            "oci:layouts: only registries and trees are pruned\nhint: [^\n]*",
        ),
    ],
)
def test_layouts(
    openstack: base.OpenStack, command: tuple[str, ...], problem: str
) -> None:
    """A directory of layouts has to be there, and is not pruned."""
    openstack(
        *command, *("--registry-url", "oci:layouts"), status=2, stderr=problem
    )


def test_prune_by_name(
    openstack: base.OpenStack, tree: ImageServeTree
) -> None:
    """With its name given, other names keep nothing of a tree."""
    (openstack.home / "env.yaml").write_text(
        "parameter_defaults:\n"
        f"  A: {UNDERCLOUD}/ns/api:1\n"
        "  B: docker.io/ns/compute:1\n"
    )
    found = openstack.json(
        *PRUNE,
        *TREE,
        *("--registry-url", UNDERCLOUD),
        *("-e", "env.yaml"),
        stderr=".*",
    )
    assert {row["Repository"] for row in found} == {"ns/api", "ns/compute"}
    assert tree.repositories_on_disk() == ["ns/api"]


def test_repair(openstack: base.OpenStack) -> None:
    """Broken files are deleted, and the next run brings them again."""
    with deployment.deployed(openstack) as site:
        site.run(*TREE)
        layer = site.images.images[0].manifests[0].layers[0]
        paths = [
            OnDisk(site.tree().store(image.repository)).blob(layer.digest)
            for image in site.images.images
        ]
        data = bytearray(paths[0].read_bytes())
        data[5] ^= 1
        paths[0].write_bytes(data)
        found = openstack.json(
            *(*VERIFY, *TREE),
            status=1,
            stderr=".*3 problems found\nhint: delete the corrupt content, .*",
        )
        assert {row["Name"] for row in found} == {layer.digest}
        for path in paths:
            path.unlink()
        site.run(*TREE)
    assert openstack.json(*VERIFY, *TREE, stderr=".*") == []


def test_prune_asks(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a terminal and --yes nothing is deleted, exit 2."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    openstack(
        *PRUNE[:2],
        *TREE,
        *("--keep-last", "1"),
        status=2,
        stderr="nothing was deleted: nobody can be asked[^\n]*\n"
        "hint: [^\n]*--yes",
    )
    assert len(list(tree.store("ns/api").tags())) == 2


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("\n", 2), ("", 2)])
def test_prune_asks_at_a_terminal(
    openstack: base.OpenStack,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
) -> None:
    """The question says how much goes and stays; only a yes deletes."""
    monkeypatch.setattr("sys.stdin", base.Terminal(answer))
    openstack(
        *PRUNE[:2],
        *TREE,
        *("--keep-last", "1"),
        status=0 if left == 1 else 2,
        stderr=r"Delete 1 tag or manifest, keep 2 tags\? \[y/N\] [^\n]*",
    )
    assert len(list(tree.store("ns/api").tags())) == left
