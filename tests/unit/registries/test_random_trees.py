"""Properties of every tree, tried on random ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorder import Recorder
from tests.unit.registries import sites
from tests.unit.registries.sites import RandomSite

seeds = pytest.mark.parametrize("seed", range(8))


@pytest.fixture
def site(tmp_path: Path, seed: int) -> RandomSite:
    return RandomSite(tmp_path, seed)


def choose(site: RandomSite) -> tuple[list[sites.Item], list[str]]:
    """Some of the images, and names of them by tag or by digest."""
    count = site.random.randint(1, len(site.items))
    kept = site.random.sample(site.items, count)
    return kept, [item.name(site.random.random() < 0.5) for item in kept]


@seeds
def test_whole_trees_are_right(site: RandomSite) -> None:
    """Nothing is wrong with a tree that was filled and left alone."""
    assert sites.found(site.tree) == set()


@seeds
def test_blobs_are_read_once(site: RandomSite) -> None:
    """Blobs that repositories share are read only once."""
    notes = Recorder()
    sites.verify(site.tree, observer=notes)

    files = {
        stored.storage: stored.size
        for name in site.tree.repositories_on_disk()
        for stored in site.tree.stored_files(name).contents()
        if not stored.is_manifest
    }
    assert notes.copied == sum(files.values())


@seeds
def test_prune_keeps_what_is_named(site: RandomSite, tmp_path: Path) -> None:
    """A named image stays whole, with all that is attached to it."""
    kept, names = choose(site)
    sites.prune(site.tree, tmp_path, *names)

    for item in kept:
        store = site.tree.store(item.repository)
        assert all(store.holds(each) for each in item.whole)
    assert sites.found(site.tree) == set()


@seeds
def test_prune_removes_the_rest(site: RandomSite, tmp_path: Path) -> None:
    """Nothing is left but what is named and what belongs to that."""
    kept, names = choose(site)
    sites.prune(site.tree, tmp_path, *names)

    expected: dict[str, set[str]] = {}
    for item in kept:
        expected.setdefault(item.repository, set()).update(item.digests)
    assert site.digests() == expected


@seeds
def test_prune_counts_bytes(site: RandomSite, tmp_path: Path) -> None:
    """The rows add up to what is free, hard links counted with the last."""
    _, names = choose(site)
    before = site.size()
    result = sites.prune(site.tree, tmp_path, *names)

    assert result.size == before - site.size()


@seeds
def test_prune_rehearses(site: RandomSite, tmp_path: Path) -> None:
    """A dry run gives the rows of the real one, and changes nothing."""
    _, names = choose(site)
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("tree/**/*")}
    dry = sites.prune(site.tree, tmp_path, *names, dry_run=True)

    after = {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("tree/**/*")}
    assert after == before
    assert sites.prune(site.tree, tmp_path, *names).rows == dry.rows


@seeds
def test_prune_twice(site: RandomSite, tmp_path: Path) -> None:
    """A second pruning finds nothing to do."""
    _, names = choose(site)
    sites.prune(site.tree, tmp_path, *names)

    assert sites.prune(site.tree, tmp_path, *names).rows == []
