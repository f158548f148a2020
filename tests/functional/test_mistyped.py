"""Mistyped and mistaken words: one line each, with the likely meaning.

The exit status is 2, and nothing is done.
"""

from __future__ import annotations

import pytest
import yaml

from tests.functional import deployment
from tests.functional.deployment import Deployment

PREFIX = "image-prepare"


@pytest.fixture
def site(site: Deployment) -> Deployment:
    """A deployment beside a directory and an empty file."""
    (site.home / "directory").mkdir()
    site.write("empty", "")
    return site


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--sort-column size", "--sort-column size: no such column\nhint: .*"),
        (
            "--output-env-file -e env.yaml",
            ".*one argument\nhint: write --output-env-file=-[.]{3} for .*",
        ),
        ("--dryrun", ".*: --dryrun\nhint: did you mean --dry-run[?] .*"),
        (
            "--concurrency 0",
            r".*'0' is not a positive whole number\nhint: .* --help .*",
        ),
        ("--output-env-file -", "--output-env-file -: not a file\nhint: .*"),
        ("--from directory", "directory: .*\nhint: .*image-serve:directory.*"),
        ("--authfile directory", "directory: .*"),
        ("--cacert empty", "empty: no usable CA certificates .*"),
        ("--release 17.1", ".*no such release\nhint: did you mean wallaby.*"),
        ("--release Zed", ".*no such release\nhint: did you mean zed.*"),
        ("--release y", ".*no such release\nhint: one of queens, .*"),
        ("--also-to http://x", ".*'http:'.*\nhint: leave http://.*"),
    ],
)
def test_options(site: Deployment, words: str, told: str) -> None:
    """An option of ``run``."""
    before = site.files()
    site.run(*words.split(), status=2, stderr=told)
    assert site.files() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("image list --registry-url oci:no", ".*/no: no such directory"),
        ("image list --registry-url image-serve:no", ".*/no: no such.*"),
        ("image show oci:no//a:1", ".*/no: no such directory"),
        ("push image-serve:no//a:1", ".*/no: no such directory"),
        ("image list --registry-url http://x", ".*\nhint: leave http://.*"),
        ("image show HOST/ns/openstack-keystone:17.1 -c size2", ".*column.*"),
        (
            "push HOST/ns/openstack-keystone:17 --image-serve tree",
            ".*manifest unknown.*\nhint: the nearest tags there are: 17[.]1.*",
        ),
    ],
)
def test_single_images(site: Deployment, words: str, told: str) -> None:
    """A command for one image."""
    words = words.replace("HOST", site.registry.host)
    site.openstack(PREFIX, *words.split(), status=2, stderr=told)


def test_namespaces_as_locations(site: Deployment) -> None:
    """A namespace may have the ``docker://`` of other tools before it."""
    values = site.values(tag="17.1")
    values["namespace"] = f"docker://{values['namespace']}"
    site.environment(site.entry(set=values))
    site.run("--image-serve", "tree", "--output-env-file", "out.yaml")
    found = site.defaults()
    found.pop("DockerInsecureRegistryAddress")
    assert found == deployment.expected()


def test_namespaces_that_are_not_there(site: Deployment) -> None:
    """A directory that does not exist is told as such."""
    values = {**site.values(tag="17.1"), "namespace": "oci:no//ns"}
    site.environment(site.entry(set=values))
    site.run(status=2, stderr=r"[\s\S]*/no: no such directory[\s\S]*")


def test_mistyped_parameters(site: Deployment) -> None:
    """The warning that the default is used names what may be meant."""
    defaults = {"ContainerImagesPrepare": [site.entry()]}
    site.write("env.yaml", yaml.safe_dump({"parameter_defaults": defaults}))
    site.run(
        *("--dry-run", "--release", "zed"),
        status=(0, 2),
        stderr="WARNING: ContainerImagePrepare is not given or empty: the"
        " default of release zed is used; is it meant by"
        r" ContainerImagesPrepare\?[\s\S]*",
    )


def test_parameters_of_the_stack(site: Deployment) -> None:
    """A section that is not read is told before a default is used."""
    parameters = {"ContainerImagePrepare": [site.entry()]}
    site.write("more.yaml", yaml.safe_dump({"parameters": parameters}))
    site.environment()
    site.run(
        *("-e", "more.yaml", "--dry-run"),
        stderr="WARNING: parameters.ContainerImagePrepare: it has no effect:"
        r" write it under parameter_defaults[\s\S]*",
    )


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"excludes": ["ceph"]}, r"parameter_defaults\.excludes: it has no"),
        (
            {"ContainerImageRegistryCredential": {}},
            "ContainerImageRegistryCredential: it has no effect: is"
            r" ContainerImageRegistryCredentials meant\?",
        ),
        (
            {"DockerInsecureRegistryAdress": []},
            "DockerInsecureRegistryAdress: it has no effect: is",
        ),
    ],
)
def test_parameters_without_effect(
    site: Deployment, parameters: dict[str, object], told: str
) -> None:
    """A key of an entry outside of it, or a misspelt parameter, is told."""
    defaults = {"ContainerImagePrepare": [site.entry()], **parameters}
    site.write("env.yaml", yaml.safe_dump({"parameter_defaults": defaults}))
    site.run("--dry-run", stderr=rf"WARNING: {told}[^\n]*\n[\s\S]*")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modify_append_tag", "-hotfix"),
        ("modify_vars", {"tasks_from": "yum_update.yml"}),
        ("modify_only_with_labels", ["version"]),
        ("modify_only_with_source", ["kolla"]),
    ],
)
def test_modifications_without_a_role(
    site: Deployment, key: str, value: object
) -> None:
    """Images that are not modified although a key is about it are told."""
    site.environment(site.entry(**{key: value}))
    site.run(
        "--dry-run",
        stderr=rf"WARNING: [^\n]*\[0\]\.{key}: it has no effect without"
        r" modify_role\n[\s\S]*",
    )


def test_false_in_quotes(site: Deployment) -> None:
    """A false that does not leave images out is told."""
    values = site.values(tag="17.1", ceph_images="false")
    site.environment(site.entry(set=values))
    site.run(
        "--dry-run",
        stderr=r"WARNING: [^\n]*\[0\]\.set\.ceph_images: it has no effect: in"
        r" quotes it is a text, which counts as true\n[\s\S]*",
    )


def test_users_with_a_colon(site: Deployment) -> None:
    """A user and a password in one word are no user."""
    users = {"quay.io": {"me:secret": "x"}}
    site.environment(ContainerImageRegistryCredentials=users)
    told = site.run(status=2, stderr=r"env.yaml: [\s\S]*a colon[\s\S]*")
    assert "secret" not in told.stderr


def test_dry_runs_copy_nothing(site: Deployment) -> None:
    """The summary of a dry run tells what is to be copied."""
    told = site.run("--dry-run", "--image-serve", "tree").summary
    assert "to copy, " in told
    assert "copied" not in told.partition(";")[2].partition(";")[0]
