"""Modified images at several places, across an air gap and under a policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.modifying import KEYSTONE, NOVA, Site
from tests.integration.test_run_modify import content, site
from tests.local_storage import LocalStorage
from tests.servers import docker_registry

__all__ = ["content", "site"]


def modified(site: Site) -> list[dict[str, Any]]:
    """Entries of which one modifies its image, by a Dockerfile."""
    directory = site.home / "change"
    directory.mkdir(exist_ok=True)
    (directory / "Dockerfile").write_text("USER root\nENV MARK=1\n")
    variables = {
        "tasks_from": "modify_image.yml",
        "modify_dir_path": str(directory),
    }
    return [
        site.entry(
            KEYSTONE,
            modify_role="tripleo-modify-image",
            modify_append_tag="-x",
            modify_vars=variables,
        ),
        site.entry(NOVA),
    ]


def digests(rows: Any) -> dict[str, str]:
    return {name: row["digest"] for name, row in rows.items()}


def test_several_places(site: Site, tmp_path: Path) -> None:
    """A modified image is one image at all places, late ones too."""
    site.configure(*modified(site))
    with (
        docker_registry(tmp_path / "second") as second,
        docker_registry(tmp_path / "third") as third,
    ):
        site.run("--also-to", second.host)
        site.run("--also-to", second.host, "--also-to", third.host)
        rows = json.loads((site.home / "report.json").read_text())["images"]
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["image"], set()).add(row["digest"])
    assert len(rows) == 6
    assert {len(one) for one in found.values()} == {1}
    assert {row["outcome"] for row in rows} == {"present", "copied"}


def test_air_gap(site: Site, local_storage: LocalStorage) -> None:
    """Without a network, images are modified and copied as outside."""
    entries = modified(site)
    site.configure(*entries)
    site.run("--carry", "carried.tar")
    outside = json.loads((site.home / "report.json").read_text())["images"]
    for entry in entries:
        entry["push_destination"] = "undercloud.example.com:8787"
    site.configure(*entries)
    site.openstack.installed(
        *("image-prepare", "run", "-e", "env.yaml", "--release", "zed"),
        *("--image-serve", "tree", "--from", "carried.tar"),
        *("--report", "report.json"),
        stderr=".*",
        through=("unshare", "--net"),
    )
    inside = json.loads((site.home / "report.json").read_text())["images"]
    names = [[row["image"], row["source"]] for row in outside]
    assert [[row["image"], row["source"]] for row in inside] == names
    for mine, theirs in zip(inside, outside, strict=True):
        assert (mine["digest"] == theirs["digest"]) is (NOVA in mine["image"])
    tags = site.home / f"tree/v2/ns/{KEYSTONE}/tags/list"
    assert json.loads(tags.read_text())["tags"] == ["1.0-x"]
    assert site.leftovers() == []


def test_refused_source(site: Site) -> None:
    """An image whose source the policy refuses is not even modified."""
    site.configure(*modified(site))
    policy = site.home / "policy.json"
    scope = f"{site.source.host}/ns/{KEYSTONE}"
    policy.write_text(
        json.dumps(
            {
                "default": [{"type": "insecureAcceptAnything"}],
                "transports": {"docker": {scope: [{"type": "reject"}]}},
            }
        )
    )
    result = site.run(
        *("--signature-policy", str(policy), "--keep-going"), status=1
    )
    assert f"scope docker {scope}, requirement reject" in result.stderr
    assert site.pushed() == {f"ns/{NOVA}": ["1.0"]}
    assert site.leftovers() == []
