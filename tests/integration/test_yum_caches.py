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
    :ivar told: why some images could not be changed.
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

    def run(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Update them; `told` has why some failed."""
        path = f"{self._buildah.parent}:{os.environ['PATH']}"
        self.told = role_run.run(self.home / "run", hosts, {"PATH": path})

    def done(self, cache: str) -> list[str]:
        """The actions on a cache, in this order."""
        text = self._buildah.with_name("buildah.log").read_text()
        volume = f"--volume={self.home / cache}:/mnt/cache"
        pairs = map(str.split, text.splitlines())
        return [what for place, what in pairs if place == volume]


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Role:
    """The role after one run over all images, as ansible starts slowly."""
    role = Role(tmp_path_factory.mktemp("role"))
    kept = role.host("kept", purge=False)
    first, second = role.host("first"), role.host("second")
    also = role.host("second", purge=False)
    one = role.host("one")
    (role.home / "link").symlink_to("one")
    hosts = [kept, first, also, second, first, second]
    hosts += [role.host("link"), one, one]
    hosts += [role.host("fails"), role.host("other"), role.host("fails")]
    role.run({f"h{i:02}": host for i, host in enumerate(hosts)})
    return role


def test_each_once(role: Role) -> None:
    """Every cache, once, before the first image that uses it."""
    assert role.done("first") == ["purge", "all", "all"]
    assert role.done("second") == ["purge", "all", "all", "all"]
    assert role.done("kept") == ["all"]


def test_two_names(role: Role) -> None:
    """A cache that has another name, too, is one."""
    assert role.done("one") == ["purge", "all", "all", "all"]


def test_failure(role: Role) -> None:
    """No image is changed with a cache that could not be emptied."""
    assert sorted(role.told) == ["h09", "h11"]
    assert "Empty yum_cache: no dnf" in role.told["h09"]
    told = role.told["h11"]
    assert "not emptied, since that failed with localhost/fails:1" in told
    assert role.done("other") == ["purge", "all"]
    assert role.done("fails") == []
