"""The cache that is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageprep_client.host import cache
from imageprep_client.oci import digest as digests

DIGEST = digests.of(b"content")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "/home/u/.cache/imageprep-client"),
        ({"XDG_CACHE_HOME": "/var/c"}, "/var/c/imageprep-client"),
        ({"XDG_CACHE_HOME": ""}, "/home/u/.cache/imageprep-client"),
        ({"XDG_CACHE_HOME": "c"}, "/home/u/.cache/imageprep-client"),
    ],
)
def test_directory(given: dict[str, str], expected: str) -> None:
    """The directory follows the XDG specification."""
    assert str(cache.directory(given, Path("/home/u"))) == expected


def keep(path: Path, content: bytes = b"content") -> None:
    """Add content to the cache, as a run does, and save it."""
    kept = cache.ContentCache(path)
    kept.add(DIGEST, content)
    kept.save()


def test_content(tmp_path: Path) -> None:
    """Added content is there for the next run, and for nobody else."""
    path = tmp_path / "a" / "content"
    keep(path)

    assert cache.ContentCache(path).get(DIGEST) == b"content"
    (file,) = path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o077 == 0


def test_nothing(tmp_path: Path) -> None:
    """Looking makes no directory."""
    assert cache.ContentCache(tmp_path / "c").get(DIGEST) is None
    assert not list(tmp_path.iterdir())


def test_unsaved(tmp_path: Path) -> None:
    """Added content is there at once for the run that added it."""
    kept = cache.ContentCache(tmp_path)
    kept.add(DIGEST, b"content")

    assert kept.get(DIGEST) == b"content"
    assert cache.ContentCache(tmp_path).get(DIGEST) is None


def test_bound(tmp_path: Path) -> None:
    """The oldest files go when all are over the bound."""
    for number in range(4):
        kept = cache.ContentCache(tmp_path, limit=250)
        kept.add(f"sha256:{number}", bytes(100))
        kept.save()
        os.utime(tmp_path / f"sha256-{number}", (number, number))

    assert {file.name for file in tmp_path.iterdir()} == {
        "sha256-2",
        "sha256-3",
    }


def test_bound_of_one_run(tmp_path: Path) -> None:
    """A run that adds more than the bound has no more than that in memory."""
    kept = cache.ContentCache(tmp_path, limit=150)
    kept.add("sha256:1", bytes(100))
    kept.add("sha256:2", bytes(100))

    assert kept.get("sha256:1") == bytes(100)
    assert kept.get("sha256:2") is None


def test_large_content(tmp_path: Path) -> None:
    """Content larger than real configs is not kept."""
    keep(tmp_path, bytes(1024 * 1024 + 1))

    assert not list(tmp_path.iterdir())


def test_impossible(tmp_path: Path) -> None:
    """Where nothing can be written, nothing is kept and nothing fails."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "c"
    keep(path)
    checks = cache.CheckedImages(path)
    checks.note("r/i:t", DIGEST)
    checks.save()

    assert cache.ContentCache(path).get(DIGEST) is None


def test_fifo(tmp_path: Path) -> None:
    """A pipe in the place of a file is passed over."""
    os.mkfifo(tmp_path / DIGEST.replace(":", "-"))

    assert cache.ContentCache(tmp_path).get(DIGEST) is None


def checked(path: Path, when: float, **options: bool) -> cache.CheckedImages:
    """The record at a time."""
    return cache.CheckedImages(path, now=when, **options)


def test_checked(tmp_path: Path) -> None:
    """An image that was seen whole is fresh for a day, as that digest."""
    path = tmp_path / "checked.json"
    first = checked(path, 1000.0)
    first.note("r/i:t", DIGEST)
    first.save()

    assert checked(path, 1000.0 + 86399).is_fresh("r/i:t", DIGEST)
    assert not checked(path, 1000.0 + 86400).is_fresh("r/i:t", DIGEST)
    assert not checked(path, 999.0).is_fresh("r/i:t", DIGEST)
    assert not checked(path, 1000.0).is_fresh("r/i:t", digests.of(b""))
    assert not checked(path, 1000.0).is_fresh("r/i:u", DIGEST)
    assert not checked(path, 1000.0, recheck=True).is_fresh("r/i:t", DIGEST)


def test_checked_by_two_runs(tmp_path: Path) -> None:
    """A run keeps what another one noted meanwhile, unless it is old."""
    path = tmp_path / "checked.json"
    runs = [checked(path, when) for when in (0.0, 90000.0, 90001.0)]
    for number, run in enumerate(runs):
        run.note(f"r/i:{number}", DIGEST)
        run.save()
    last = checked(path, 90002.0)

    assert last.is_fresh("r/i:1", DIGEST)
    assert last.is_fresh("r/i:2", DIGEST)
    assert "r/i:0" not in path.read_text()


@pytest.mark.parametrize(
    "content",
    ['{"r/i:t": ["", 1' + "0" * 400 + "]}", "[" * 100_000],
    ids=["digits", "depth"],
)
def test_checked_damaged(tmp_path: Path, content: str) -> None:
    """A record that cannot be read is as good as none."""
    path = tmp_path / "checked.json"
    path.write_text(content)

    assert not checked(path, 1000.0).is_fresh("r/i:t", "")


def test_checked_by_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record of another user has images passed over."""
    path = tmp_path / "checked.json"
    first = checked(path, 1000.0)
    first.note("r/i:t", DIGEST)
    first.save()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    assert not checked(path, 1000.0).is_fresh("r/i:t", DIGEST)


@pytest.mark.needs_root
@pytest.mark.parametrize("as_link", [False, True])
def test_home_of_a_stranger(tmp_path: Path, as_link: bool) -> None:
    """Nothing is made in the cache of another user, or behind a link."""
    victim = tmp_path / "victim"
    victim.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    if as_link:
        (home / ".cache").symlink_to(victim)
        os.lchown(home / ".cache", 65534, 65534)
    else:
        os.chown(home, 65534, 65534)
    path = cache.directory({}, home)

    keep(path)
    assert not list(victim.iterdir())
    assert as_link or not list(home.iterdir())
