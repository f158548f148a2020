"""``image-prepare run`` with entries of one role's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.functional import deployment
from tests.functional.deployment import Deployment

ROLES = ("--roles-file", "roles.yaml", "--image-serve", "tree")
OUTPUT = (*ROLES, "--output-env-file", "out.yaml")
COMPUTE = f"{deployment.UNDERCLOUD}/ns/openstack-nova-compute"


@pytest.fixture
def site(site: Deployment) -> Deployment:
    """The deployment, with two roles."""
    roles = [
        {
            "name": name,
            "CountDefault": 1,
            "ServicesDefault": [deployment.SERVICES[i] for i in images],
        }
        for name, images in (
            ("Controller", ("keystone", "nova-api")),
            ("Compute", ("nova-compute",)),
        )
    ]
    site.write("roles.yaml", yaml.safe_dump(roles))
    return site


def with_own(site: Deployment, **parameters: Any) -> None:
    """Give the role Compute entries of its own."""
    own = site.entry(set=site.values(tag="17.1.3"))
    site.environment(ComputeContainerImagePrepare=[own], **parameters)


def test_parameters_of_a_role(site: Deployment) -> None:
    """Its images are in the parameters of the role, beside those of all."""
    with_own(site)
    for words in ((), ("-e", "out.yaml")):  # the result may be read again
        site.run(*OUTPUT, *words)
        found = site.defaults()
        assert found.pop("ComputeParameters") == {
            "ContainerNovaComputeImage": f"{COMPUTE}:17.1.3"
        }
        assert found.pop("DockerInsecureRegistryAddress")
        assert found == deployment.expected()
    store = site.tree().store("ns/openstack-nova-compute")
    assert {"17.1", "17.1.3"} <= set(store.tags())


def test_parameters_that_hide_those_of_a_run(site: Deployment) -> None:
    """A role that no longer has entries may keep old parameters."""
    with_own(site)
    site.run(*OUTPUT)
    site.environment()
    told = (
        r"WARNING: out.yaml: ComputeParameters.ContainerNovaComputeImage is"
        rf" {COMPUTE}:17.1.3, which nodes of the role use in place of"
        r" ContainerNovaComputeImage.*"
    )
    site.run(*ROLES, "-e", "out.yaml", "--dry-run", stderr=told)


def test_plan(site: Deployment) -> None:
    """The plan gets them, and a second run finds them there and changes no
    file.
    """
    with_own(site)
    plan = site.home / "plan"
    plan.mkdir()
    (site.home / "env.yaml").rename(plan / "env.yaml")
    (site.home / "roles.yaml").rename(plan / "roles_data.yaml")
    environments = [{"path": "env.yaml"}]
    site.write(
        "plan/plan-environment.yaml",
        yaml.safe_dump(
            {"template": "overcloud.yaml", "environments": environments}
        ),
    )
    words = ("--template-file", "table.j2", "--plan-dir", "plan")
    files = []
    unchanged = ".*has these parameters already.*"
    for told in ("", unchanged):
        site.openstack(
            *(*deployment.COMMAND, *words, "--image-serve", "tree"),
            stderr=deployment.PLAIN + told,
        )
        found = site.defaults(
            "plan/environments/containers-default-parameters.yaml"
        )
        assert found["ComputeParameters"] == {
            "ContainerNovaComputeImage": f"{COMPUTE}:17.1.3"
        }
        files.append(
            {p: p.read_bytes() for p in plan.rglob("*") if p.is_file()}
        )
    assert files[0] == files[1]
    show = ("image-prepare", "plan", "show", "--plan-dir", "plan")
    rows = json.loads(site.openstack(*show, "-f", "json").stdout)
    assert {
        "Parameter": "ComputeParameters.ContainerNovaComputeImage",
        "Image": f"{COMPUTE}:17.1.3",
    } in rows


def test_digests(site: Deployment) -> None:
    """They are pinned as others are."""
    with_own(site)
    site.run(*OUTPUT, "--pin-digests")
    assert site.defaults()["ComputeParameters"] == {
        "ContainerNovaComputeImage": f"{COMPUTE}@{site.digest('nova-compute')}"
    }


def test_tags_that_are_discovered(site: Deployment) -> None:
    """The label of the role's entries counts for it."""
    own = site.entry(
        push_destination=None,
        set=site.values(),
        tag_from_label="{version}-{release}",
    )
    site.environment(ComputeContainerImagePrepare=[own])
    site.run(*OUTPUT)
    image = f"{site.registry.host}/ns/openstack-nova-compute"
    (value,) = site.defaults()["ComputeParameters"].values()
    assert value == f"{image}:17.1.3-9"


def test_report(site: Deployment) -> None:
    """The report has the parameters of the role, too."""
    with_own(site)
    site.run(*OUTPUT, "--report", "report.json")
    report = json.loads((site.home / "report.json").read_text())
    assert report["parameters"] == site.defaults()


def test_tags_as_written(site: Deployment) -> None:
    """An unquoted tag that YAML takes for a number stays as it is."""
    defaults = yaml.safe_dump(
        {"ComputeContainerImagePrepare": [site.entry()]}
    ).replace("'17.1'", "17.10")
    path = site.home / "env.yaml"
    lines = "".join(f"  {line}\n" for line in defaults.splitlines())
    path.write_text(path.read_text() + lines)
    told = site.run(*OUTPUT, status=2, stderr=r"[\s\S]*").stderr
    assert "nova-compute:17.10: " in told


def test_roles_without_nodes(site: Deployment) -> None:
    """They have no images."""
    with_own(site, ComputeCount=0)
    site.run(*OUTPUT)
    assert "ComputeParameters" not in site.defaults()
    assert "ContainerNovaComputeImage" not in site.defaults()


def test_roles_that_are_not_there(site: Deployment) -> None:
    """Entries of a role that nobody named are told to have no effect."""
    with_own(site)
    site.run(
        *("--image-serve", "tree"),
        stderr="WARNING: ComputeContainerImagePrepare: it has no effect:"
        r" there is no such role in --roles-file or the plan\s*",
    )


def test_directories(site: Deployment) -> None:
    """An entry may not name a directory where a tree takes everything."""
    own = site.entry(push_destination="oci:/x")
    site.environment(ComputeContainerImagePrepare=[own])
    site.run(
        *OUTPUT,
        status=2,
        stderr=r"env\.yaml: [\w.]*ComputeContainerImagePrepare\[0\]"
        r"\.push_destination: oci:/x: a directory[^\n]*\s[^\n]*\s*",
    )


def test_defaults_for_the_others(site: Deployment) -> None:
    """Entries of a role alone are no mistyped name of those of all."""
    site.write(
        "env.yaml",
        yaml.safe_dump(
            {
                "parameter_defaults": {
                    "CephContainerImagePrepare": [site.entry()]
                }
            }
        ),
    )
    told = site.run(
        *("--dry-run", "--release", "zed"), status=(0, 2), stderr=r"[\s\S]*"
    ).stderr
    assert "the default of release zed is used\n" in told


def test_broken_entries(site: Deployment) -> None:
    """The error names the role's parameter."""
    own = {"set": {"namespase": "x"}}
    site.environment(ComputeContainerImagePrepare=[own])
    site.run(
        *OUTPUT,
        status=2,
        stderr=r"env\.yaml: [\w.]*ComputeContainerImagePrepare\[0\]\.set"
        r"\.namespase: unknown variable[^\n]*\s[^\n]*namespace[^\n]*\s*",
    )
    assert "tree" not in site.files()
