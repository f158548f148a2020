"""Which ``yum_cache`` the shipped role empties, how often, and when.

Buildah is a script that notes what it would run: it is about the order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import role_run

_BUILDAH = """#!/bin/sh
case $1 in
from) echo container ;;
run)
    for word; do
        case $word in
        --volume=*:/mnt/cache) cache=$word ;;
        purge | all) what=$word ;;
        esac
    done
    case $cache:$what in *fails*:purge) echo "no dnf" >&2; exit 1 ;; esac
    echo "$cache $what" >>"$0.log" ;;
inspect) echo manifest ;;
esac
"""


class Role:
    """Runs the role without images.

    :ivar home: has the caches, made when they are used.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._buildah = home / "bin" / "buildah"
        self._buildah.parent.mkdir()
        self._buildah.write_text(_BUILDAH)
        self._buildah.chmod(0o755)

    def host(self, cache: str, *, purge: bool = True) -> dict[str, Any]:
        """An image that is to be updated with this cache."""
        path = self.home / cache
        path.mkdir(exist_ok=True)
        return {
            "tasks": "yum_update.yml",
            "source_image": f"localhost/{cache}:1",
            "modified_append_tag": "-x",
            "yum_cache": str(path),
            "force_purge_yum_cache": purge,
        }

    def run(self, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Update them; why some failed."""
        path = f"{self._buildah.parent}:{os.environ['PATH']}"
        return role_run.run(self.home / "run", hosts, {"PATH": path})

    def done(self, cache: str) -> list[str]:
        """The actions on a cache, in this order."""
        text = self._buildah.with_name("buildah.log").read_text()
        volume = f"--volume={self.home / cache}:/mnt/cache"
        pairs = map(str.split, text.splitlines())
        return [what for place, what in pairs if place == volume]


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def test_each_once(role: Role) -> None:
    """Every cache, once, before the first image that uses it."""
    kept = role.host("kept", purge=False)
    first, second = role.host("first"), role.host("second")
    also = role.host("second", purge=False)
    hosts = [kept, first, also, second, first, second]
    assert role.run({f"h{i}": host for i, host in enumerate(hosts)}) == {}
    assert role.done("first") == ["purge", "all", "all"]
    assert role.done("second") == ["purge", "all", "all", "all"]
    assert role.done("kept") == ["all"]


def test_two_names(role: Role) -> None:
    """A cache that has another name, too, is one."""
    one = role.host("one")
    (role.home / "link").symlink_to("one")
    assert role.run({"a": role.host("link"), "b": one, "c": one}) == {}
    assert role.done("one") == ["purge", "all", "all", "all"]


def test_failure(role: Role) -> None:
    """No image is changed with a cache that could not be emptied."""
    hosts = {
        "a": role.host("fails"),
        "b": role.host("first"),
        "c": role.host("fails"),
    }
    told = role.run(hosts)
    assert "Empty yum_cache: no dnf" in told["a"]
    assert "not emptied, since that failed with localhost/fails:1" in told["c"]
    assert role.done("first") == ["purge", "all"]
    assert role.done("fails") == []
    assert sorted(told) == ["a", "c"]
