"""The stores that stand behind the name of a registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client import stores as opening
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.host import undercloud
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import BRIEF
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.stores.registry.lists.catalog import RegistryCatalog
from imageprep_client.stores.registry.store import RegistryStore


def stores(options: RegistryOptions | None = None) -> Stores:
    """Those of a run without environments."""
    return Stores(options or RegistryOptions(), Observer(), policy=BRIEF)


@pytest.fixture
def plain() -> Iterator[Stores]:
    """Without any options."""
    found = stores()
    yield found
    found.close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The tree of this host's web server."""
    monkeypatch.setattr(opening, "TREE", str(tmp_path))
    monkeypatch.setattr(undercloud, "is_this_host", "here".__eq__)
    return tmp_path


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("memory:a", MemoryRegistry),
        ("oci:layouts", LayoutRoot),
        ("image-serve:tree", ImageServeTree),
        ("registry.test:5000", RegistryCatalog),
    ],
)
def test_catalog(
    plain: Stores,
    place: str,
    kind: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each place knows its repositories in its own way."""
    monkeypatch.chdir(tmp_path)
    for directory in ("layouts/a/blobs", "tree/v2"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "layouts/a/oci-layout").touch()
    assert isinstance(plain.catalog(place), kind)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("here:8787", ImageServeStore),
        ("here:5000", RegistryStore),
        ("there:8787", RegistryStore),
    ],
)
def test_tree_behind_a_port(plain: Stores, place: str, kind: type) -> None:
    """This host's port 8787 is its tree; nodes pull it over plain HTTP."""
    assert isinstance(plain.destination(place, "ns/name"), kind)
    served = kind is ImageServeStore
    assert plain.insecure([place]) == ({place} if served else set())


def test_source_behind_a_port(served: Path, tmp_path: Path) -> None:
    """A source at this host's port 8787 is read in its tree as well, wherever
    the images go.
    """
    image = Reference.parse("here:8787/ns/name:1")
    options = RegistryOptions(image_serve=str(tmp_path / "other"))
    with stores(options) as opened:
        source = opened.source(image)
        assert isinstance(source, ImageServeStore)
        assert source.registry == f"image-serve:{served}"
        assert opened.insecure([image.registry]) == {image.registry}


def test_only_what_is_written_is_locked(tmp_path: Path) -> None:
    """A tree that is only read may belong to another user."""
    for name in ("read", "written"):
        (tmp_path / name / "v2").mkdir(parents=True)
    with stores() as opened:
        opened.source(Reference.parse(f"image-serve:{tmp_path}/read//a:1"))
        opened.destination(f"image-serve:{tmp_path}/written", "a")
        with opened.locked(print):
            assert (tmp_path / "written/.lock").is_file()
    assert [path.name for path in (tmp_path / "read").iterdir()] == ["v2"]


def test_listed_registries_are_insecure() -> None:
    """Those that the user lists need not have answered; without a port, any
    port is meant.
    """
    listed = stores(
        RegistryOptions(insecure_registries=("there:5000", "r.io"))
    )
    names = ["there:5000", "there:5001", "r.io", "r.io:5000", "q.io"]
    assert listed.insecure(names) == {"there:5000", "r.io", "r.io:5000"}


def test_one_tree_has_many_names(tmp_path: Path) -> None:
    """With a tree given, every registry is that tree."""
    given = stores(RegistryOptions(image_serve=str(tmp_path)))
    assert given.are_one("a:1", "b:2")
    given.check_tree()


@pytest.mark.parametrize("transport", ["image-serve", "oci"])
@pytest.mark.parametrize("spelling", ["{}/", "{}/../tree", "{}/../link"])
def test_one_directory_has_many_names(
    plain: Stores, tmp_path: Path, transport: str, spelling: str
) -> None:
    """A directory is one place, and locked once, however it is spelt."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "link").symlink_to(tree)
    names = [f"{transport}:{name}" for name in (tree, spelling.format(tree))]
    first, other = (plain.destination(name, "ns/a") for name in names)
    assert first.registry == other.registry
    with plain.locked(pytest.fail):
        pass


def test_registries_are_one_by_name(plain: Stores) -> None:
    """Other registries are one when their names are."""
    assert plain.are_one("a:1", "a:1")
    assert not plain.are_one("a:1", "b:2")


def test_missing_tree(tmp_path: Path) -> None:
    """A tree that is not there cannot be read."""
    given = stores(RegistryOptions(image_serve=str(tmp_path / "none")))
    with pytest.raises(errors.InvalidArgument, match="no such directory"):
        given.catalog("a:1")
