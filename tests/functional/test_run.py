"""``openstack image-prepare run``, from a registry to all destinations."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from imageprep_client.client import stores as opening
from imageprep_client.host import undercloud
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.testing import images
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.transfer import graph
from tests.conftest import Golden
from tests.functional import base, deployment
from tests.functional.deployment import UNDERCLOUD, Deployment

TREE = ("--image-serve", "tree")
OUTPUT = ("--output-env-file", "out.yaml")


def normal_table(text: str) -> str:
    """A table as if the registry had been at another port."""
    text = re.sub(r"127\.0\.0\.1:\d+", "REGISTRY", text)
    return re.sub(r"[ -]+(?=[|+])|(?<=[|+])[ -]+", " ", text)


# --- destinations


def test_tree(site: Deployment) -> None:
    """Each image is in the tree under its tag, with the source's digest."""
    site.run(*TREE)

    for name in deployment.NAMES:
        store = site.tree().store(f"ns/openstack-{name}")
        found = store.resolve("17.1")
        assert found.digest == site.digest(name)
        assert store.holds(found)


def test_registry(site: Deployment) -> None:
    """Each image is in the other registry with the source's digest.
    Parameters name the registry; it is insecure, so that is said, too.
    """
    with RegistryServer() as other:
        site.environment(site.entry(push_destination=f"{other.host}/mine"))
        site.run(*OUTPUT)

        for name in deployment.NAMES:
            store = other.content.store(f"mine/ns/openstack-{name}")
            assert store.resolve("17.1").digest == site.digest(name)
        assert site.defaults() == {
            **deployment.expected(other.host, path="mine/ns"),
            "DockerInsecureRegistryAddress": [other.host],
        }


def test_layout(site: Deployment) -> None:
    """Each image is in an OCI layout of its own with the source's digest."""
    place = site.home / "layouts"
    site.environment(site.entry(push_destination=f"oci:{place}"))
    site.run()

    for name in deployment.NAMES:
        store = LayoutRoot(str(place)).store(f"ns/openstack-{name}")
        assert store.resolve("17.1").digest == site.digest(name)


def test_own_port(site: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --image-serve, this host's port 8787 is the host's tree."""
    (site.home / "served").mkdir()
    monkeypatch.setattr(opening, "TREE", str(site.home / "served"))
    site.environment(site.entry(push_destination="localhost:8787"))
    site.run(*OUTPUT)

    store = site.tree("served").store("ns/openstack-keystone")
    assert store.resolve("17.1").digest == site.digest("keystone")
    assert site.defaults() == {
        **deployment.expected("localhost:8787"),
        "DockerInsecureRegistryAddress": ["localhost:8787"],
    }


def test_push_destination_true(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`push_destination: true` is the undercloud's registry."""
    monkeypatch.setattr(undercloud, "registry", lambda: UNDERCLOUD)
    site.environment(site.entry(push_destination=True))
    site.run(*TREE, *OUTPUT)

    assert site.defaults()["ContainerNovaApiImage"] == (
        f"{UNDERCLOUD}/ns/openstack-nova-api:17.1"
    )


def test_no_push_destination(site: Deployment) -> None:
    """Without a destination nothing is copied; parameters name the source."""
    site.environment(site.entry(push_destination=None))
    rows = site.rows(*OUTPUT)

    assert {row["Outcome"] for row in rows} == {"referenced"}
    assert all(row["Digest"] for row in rows)
    assert site.defaults() == {
        **deployment.expected(site.registry.host),
        "DockerInsecureRegistryAddress": [site.registry.host],
    }
    assert not site.registry.requests("GET", "/blobs/")


@pytest.mark.parametrize("option", ["--image-serve", "--also-to"])
def test_option_without_effect(site: Deployment, option: str) -> None:
    """An option about destinations that has no effect is told."""
    place = str(site.home / "tree")
    value = place if option == "--image-serve" else f"image-serve:{place}"
    site.environment(site.entry(push_destination=None))
    site.run(
        *(option, value, *OUTPUT),
        stderr=rf"WARNING: {option} has no effect: no entry has a"
        r" push_destination, [^\n]*\n3 images: 3 referenced; [^\n]*",
    )
    assert not (site.home / "tree").exists()


def test_shared_blobs(site: Deployment) -> None:
    """A blob that images share is asked for once."""
    site.run(*TREE)

    paths = [
        re.sub(".*/blobs/", "", request.path)
        for request in site.registry.requests("GET", "/blobs/")
    ]
    assert sorted(paths) == sorted(site.images.blobs)


# --- what is shown and written


def test_table(site: Deployment, golden: Golden) -> None:
    """One row per image, sorted."""
    golden.check("run-table.txt", site.run(*TREE).stdout, normal=normal_table)


def test_rows(site: Deployment) -> None:
    """The columns of a row."""
    rows = site.rows(*TREE)

    assert [row["Image"] for row in rows] == [
        f"{site.registry.host}/ns/openstack-{name}:17.1"
        for name in deployment.NAMES
    ]
    for name, row in zip(deployment.NAMES, rows, strict=True):
        assert row["Source"] == row["Image"]
        assert row["Destination"] == (f"{UNDERCLOUD}/ns/openstack-{name}:17.1")
        assert row["Digest"] == site.digest(name)
        assert row["Outcome"] == "copied"
    total = sum(row["Bytes"] for row in rows)
    assert total == site.images.unique_bytes


def test_environment_file(site: Deployment, golden: Golden) -> None:
    """The environment file, with its header."""
    site.run(*TREE, *OUTPUT)

    golden.check(
        "run.yaml",
        (site.home / "out.yaml").read_text(),
        normal=base.normal_environment,
    )


def test_report(site: Deployment) -> None:
    """The report has the rows, totals and parameters."""
    site.run(*TREE, "--report", "report.json")

    report = json.loads((site.home / "report.json").read_text())
    total = report["totals"]
    assert total["outcomes"] == {"copied": 3}
    assert total["copied"] == site.images.unique_bytes
    assert total["copied"] + total["mounted"] == site.images.naive_bytes
    assert report["parameters"] == {
        **deployment.expected(),
        "DockerInsecureRegistryAddress": [UNDERCLOUD],
    }


def test_dry_run(site: Deployment) -> None:
    """A dry run shows what would move and writes nothing but the file."""
    before = site.files()
    rows = site.rows(*TREE, *OUTPUT, "--dry-run")

    assert {row["Outcome"] for row in rows} == {"planned"}
    assert sum(row["Bytes"] for row in rows) == site.images.unique_bytes
    assert site.files() - before == {"out.yaml"}
    assert not site.registry.requests("GET", "/blobs/sha256:.*")


@pytest.mark.parametrize("status", [429, 503])
def test_dry_run_and_a_busy_registry(site: Deployment, status: int) -> None:
    """A registry that wants fewer requests is asked again."""
    site.registry.fail("", "/openstack-nova-api/manifests/", status=status)
    rows = site.rows(*TREE, "--dry-run", stderr="[^\n]*; attempt 2 of 3[^\n]*")

    assert {row["Outcome"] for row in rows} == {"planned"}


@pytest.mark.parametrize("words", [(), ("--pin-digests",)])
def test_dry_run_parameters(site: Deployment, words: tuple[str, ...]) -> None:
    """A dry run writes the parameters that the run will write."""
    site.run(*TREE, *OUTPUT, "--dry-run", *words)
    dry = site.defaults()
    site.run(*TREE, *OUTPUT, *words)

    assert dry == site.defaults()


def test_dry_run_knows_what_is_there(site: Deployment) -> None:
    """A dry run over a filled tree would move nothing."""
    site.run(*TREE)
    rows = site.rows(*TREE, "--dry-run")

    assert [(row["Outcome"], row["Bytes"]) for row in rows] == [
        ("present", 0)
    ] * 3


def test_dry_run_plan(site: Deployment) -> None:
    """A dry run leaves a plan as it is."""
    plan = _plan(site)
    before = site.files()
    text = (plan / "plan-environment.yaml").read_text()
    site.run(*TREE, "--plan-dir", "plan", "--dry-run")

    assert site.files() == before
    assert (plan / "plan-environment.yaml").read_text() == text


def test_pin_digests(site: Deployment) -> None:
    """Parameters name what was copied by its digest."""
    site.run(*TREE, *OUTPUT, "--pin-digests")

    found = site.defaults()
    found.pop("DockerInsecureRegistryAddress")
    assert found == {
        parameter: f"{UNDERCLOUD}/ns/openstack-{name}@{site.digest(name)}"
        for parameter, name in deployment.PARAMETERS.items()
    }


def test_pin_digests_in_place(site: Deployment) -> None:
    """Images that are not copied are pinned, too."""
    site.environment(site.entry(push_destination=None))
    site.run(*OUTPUT, "--pin-digests")

    assert site.defaults()["ContainerKeystoneImage"] == (
        f"{site.registry.host}/ns/openstack-keystone@{site.digest('keystone')}"
    )


@pytest.mark.parametrize("first", [True, False])
def test_log_file(site: Deployment, first: bool) -> None:
    """The log tells of each image, wherever the option is written."""
    option = ("--log-file", "run.log")
    words = site.words(*TREE)
    words = (*option, *words) if first else (*words, *option)
    site.openstack(*words, stderr=deployment.PLAIN)

    written = (site.home / "run.log").read_text()
    for name in deployment.NAMES:
        assert re.search(rf"openstack-{name}:17.1: copied\n", written)


def test_log_file_has_errors(site: Deployment) -> None:
    """Errors are in the log, too."""
    _break(site)
    site.run(*TREE, "--log-file", "run.log", status=CHANGED, stderr=FAILED)

    assert "1 of 3 images failed" in (site.home / "run.log").read_text()


def test_log_on_a_full_disk(site: Deployment) -> None:
    """The log ends with one warning, and the run goes on."""
    done = site.run(*TREE, *OUTPUT, "--log-file", "/dev/full", stderr=".*")
    assert done.stderr.count("the log ends here") == 1
    assert "Traceback" not in done.stderr
    assert site.defaults()


@pytest.mark.parametrize(
    ("command", "name"),
    [("run", "pipe"), ("default", "pipe"), ("run", "no/log"), ("run", ".")],
)
def test_log_to_a_pipe(site: Deployment, command: str, name: str) -> None:
    """A log that cannot be written is one line, before anything is done."""
    os.mkfifo(site.home / "pipe")
    done = site.openstack(
        *("image-prepare", command, "--log-file", name),
        status=2,
        stderr=rf"{re.escape(name)}: [^\n]*(\nhint: [^\n]*)?",
    )
    assert not done.stdout


# --- failures of some images


def _break(site: Deployment) -> None:
    """Let the registry lose a layer that only the image of nova-api has."""
    (image,) = (
        image
        for image in site.images.images
        if image.repository == "ns/openstack-nova-api"
    )
    digest = image.blobs[-1].descriptor.digest
    site.registry.fail("GET", f"/blobs/{digest}", status=404, times=None)


#: Whether bytes of other images travelled before the failure.
CHANGED = (1, 2)
FAILED = "1 of 3 images failed\n  [^\n]*openstack-nova-api:17.1: [^\n]*"


def test_keep_going(site: Deployment) -> None:
    """With --keep-going the others are copied; the failed one is named."""
    _break(site)
    rows = site.rows(*TREE, "--keep-going", status=1, stderr=FAILED)

    assert {
        row["Image"].rpartition("-")[2]: row["Outcome"] for row in rows
    } == {
        "keystone:17.1": "copied",
        "api:17.1": "failed",
        "compute:17.1": "copied",
    }


def test_first_failure(site: Deployment) -> None:
    """Without it the rest is left, and no tag is written."""
    _break(site)
    rows = site.rows(*TREE, status=CHANGED, stderr=FAILED)

    assert {row["Outcome"] for row in rows} <= {"failed", "left"}
    assert not list((site.home / "tree").rglob("*.type-map"))


@pytest.mark.parametrize("words", [(), ("--keep-going",)])
def test_no_parameters_after_failure(
    site: Deployment, words: tuple[str, ...]
) -> None:
    """Parameters that name a missing image are not written."""
    site.write("out.yaml", "old")
    plan = _plan(site)
    _break(site)
    site.run(
        *(*TREE, *OUTPUT, "--plan-dir", "plan", *words),
        status=1 if words else CHANGED,
        stderr=FAILED,
    )

    assert (site.home / "out.yaml").read_text() == "old"
    assert not (plan / "environments").exists()


def test_report_after_failure(site: Deployment) -> None:
    """The report is written in any case, with the error."""
    _break(site)
    site.run(
        *TREE,
        "--report",
        "report.json",
        "--keep-going",
        status=1,
        stderr=FAILED,
    )

    report = json.loads((site.home / "report.json").read_text())
    assert report["totals"]["outcomes"] == {"copied": 2, "failed": 1}
    (failed,) = (each for each in report["images"] if each["error"])
    assert "nova-api" in failed["error"]


def test_run_after_failure(site: Deployment) -> None:
    """The next run copies what was left and no more."""
    _break(site)
    site.run(*TREE, "--keep-going", status=1, stderr=FAILED)
    site.registry.faults.clear()
    rows = site.rows(*TREE)

    assert sorted(row["Outcome"] for row in rows) == [
        "copied",
        "present",
        "present",
    ]


def test_faults_that_pass(site: Deployment) -> None:
    """Answers that break off, lie or fail for once change nothing."""
    for fault in (
        Fault("GET", "/blobs/", corrupt=100),
        Fault("GET", "/blobs/", truncate=10),
        Fault("GET", "/blobs/", reset=True),
        Fault("HEAD", "/manifests/", status=503),
        Fault("GET", "/manifests/", status=429, headers={"Retry-After": "0"}),
    ):
        site.registry.faults.add(fault)
    site.run(*TREE, stderr=".*attempt 2.*")

    for name in deployment.NAMES:
        store = site.tree().store(f"ns/openstack-{name}")
        assert store.holds(store.resolve("17.1"))


# --- inputs


def test_environments_in_order(site: Deployment) -> None:
    """Directories come before files, their files are sorted, later win."""
    directories = (
        ".tripleo/environments/z.yaml",
        "some/b.yaml",
        "some/a.yaml",
    )
    for number, name in enumerate(directories):
        site.write(
            name,
            yaml.safe_dump(
                {
                    "parameter_defaults": {
                        "LocalContainerRegistry": f"host{number}"
                    }
                }
            ),
        )
    site.environment(site.entry(push_destination=True))
    site.run(*TREE, *OUTPUT, "--environment-directory", "some")

    assert site.defaults()["DockerInsecureRegistryAddress"] == ["host1:8787"]


def test_default_directory(site: Deployment) -> None:
    """~/.tripleo/environments is read without being named."""
    (site.home / ".tripleo/environments").mkdir(parents=True)
    (site.home / "env.yaml").rename(
        site.home / ".tripleo/environments/env.yaml"
    )
    site.openstack(
        *deployment.COMMAND,
        "--template-file",
        "table.j2",
        *TREE,
        *OUTPUT,
        stderr=deployment.PLAIN,
    )

    assert set(site.defaults()) > set(deployment.PARAMETERS)


def _role(name: str, *services: str) -> str:
    return yaml.safe_dump(
        [{"name": name, "CountDefault": 1, "ServicesDefault": list(services)}]
    )


def test_roles(site: Deployment) -> None:
    """Only images of services that some role has are prepared."""
    site.write("one.yaml", _role("A", deployment.SERVICES["keystone"]))
    site.write("two.yaml", _role("B", deployment.SERVICES["nova-compute"]))
    rows = site.rows(*TREE, "-r", "one.yaml", "-r", "two.yaml")

    assert [row["Image"].rpartition("/")[2] for row in rows] == [
        "openstack-keystone:17.1",
        "openstack-nova-compute:17.1",
    ]


def test_two_entries(site: Deployment) -> None:
    """Entries share the work: each has its filter and destination."""
    site.environment(
        site.entry(includes=["nova"]),
        site.entry(push_destination=None, excludes=["nova"]),
    )
    site.run(*TREE, *OUTPUT)

    assert site.defaults()["ContainerKeystoneImage"].startswith(
        site.registry.host
    )
    assert site.defaults()["ContainerNovaApiImage"].startswith(UNDERCLOUD)


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("keystne", "keystone"), ("^.*(foo|bar)[0-9]$", None)],
)
def test_nothing_wanted(
    site: Deployment, pattern: str, nearest: str | None
) -> None:
    """Filters that leave no image are no failure, but are told."""
    site.environment(site.entry(includes=[pattern]))
    near = f"; the nearest is {site.registry.host}/ns/openstack-{nearest}:17.1"
    rows = site.rows(
        *TREE,
        *OUTPUT,
        stderr=r"WARNING: env.yaml: parameter_defaults.ContainerImagePrepare"
        r"\[0\].includes: it has no effect: no image of release master has"
        rf" such a name{near if nearest else ''}"
        "\nWARNING: no image is wanted: [^\n]*includes[^\n]*",
    )

    assert not rows
    assert site.defaults() == {}


def test_no_nodes(site: Deployment) -> None:
    """Roles without nodes, by their defaults, are told as the reason."""
    site.write("roles.yaml", "- {name: A, ServicesDefault: [a]}")
    site.run(
        *(*TREE, "-r", "roles.yaml"),
        stderr="WARNING: no image is wanted: no node has a service: look at"
        " <Role>Count, [^\n]*",
    )


@pytest.mark.parametrize("name", ["empty", "windows", "marked", "twice"])
def test_odd_files(site: Deployment, name: str) -> None:
    """Empty files, CRLF, a byte order mark, and a file named twice."""
    text = (site.home / "env.yaml").read_bytes()
    odd = {
        "empty": b"",
        "windows": text.replace(b"\n", b"\r\n"),
        "marked": b"\xef\xbb\xbf" + text,
        "twice": text,
    }
    (site.home / "odd.yaml").write_bytes(odd[name])
    rows = site.rows(*TREE, "-e", "odd.yaml", "-e", "./odd.yaml")

    assert len(rows) == 3


def test_listed_registry_that_is_silent(site: Deployment) -> None:
    """A registry that is listed as insecure, and that a parameter names, is
    listed for the nodes, too, though it does not answer here.
    """
    site.environment(
        site.entry(
            push_destination=None,
            set=site.values(namespace="127.0.0.2:9/ns", tag="17.1"),
        ),
        DockerInsecureRegistryAddress=["127.0.0.2:9", "192.0.2.7:5000"],
    )
    warning = r"WARNING: 127.0.0.2:9: its images are not checked: [^\n]*"
    site.run(*OUTPUT, stderr=warning)
    assert site.defaults()["DockerInsecureRegistryAddress"] == ["127.0.0.2:9"]
    site.environment(
        site.entry(
            push_destination=None,
            set=site.values(namespace="127.0.0.2:9/ns", tag="17.1"),
        )
    )
    site.run(*OUTPUT, stderr=warning)
    assert "DockerInsecureRegistryAddress" not in site.defaults()
    site.run(*OUTPUT, "--insecure-registry", "127.0.0.2", stderr=warning)
    assert site.defaults()["DockerInsecureRegistryAddress"] == ["127.0.0.2:9"]


def test_mirror(site: Deployment) -> None:
    """Images of docker.io come from its mirror and keep their name."""
    site.environment(
        site.entry(
            push_destination=UNDERCLOUD,
            set=site.values(namespace="docker.io/ns", tag="17.1"),
        ),
        DockerRegistryMirror=f"http://{site.registry.host}",
    )
    rows = site.rows(*TREE)

    assert rows[0]["Source"] == "docker.io/ns/openstack-keystone:17.1"
    assert {row["Outcome"] for row in rows} == {"copied"}


@pytest.mark.parametrize("multi_arch", [True, False])
def test_multi_arch(openstack: base.OpenStack, multi_arch: bool) -> None:
    """An index is copied whole, or only its image for this host."""
    every = (graph.host_platform(), images.ARM64, images.AMD64)
    platforms = tuple(dict.fromkeys(every))
    with deployment.deployed(openstack, platforms=platforms) as site:
        site.environment(site.entry(multi_arch=multi_arch))
        site.run(*TREE)

        store = site.tree().store("ns/openstack-keystone")
        found = store.resolve("17.1")
    (image,) = (
        image
        for image in site.images.images
        if image.repository == "ns/openstack-keystone"
    )
    expected = image if multi_arch else image.manifests[0]
    assert found.digest == expected.descriptor.digest
    assert store.holds(found)


def test_additional_architectures(openstack: base.OpenStack) -> None:
    """AdditionalArchitectures asks for whole indexes, too."""
    platforms = (images.AMD64, images.ARM64)
    with deployment.deployed(openstack, platforms=platforms) as site:
        site.environment(AdditionalArchitectures=["ppc64le"])
        site.run(*TREE)

        found = site.tree().store("ns/openstack-keystone").resolve("17.1")
    assert found.digest == site.digest("keystone")


def test_release_table(site: Deployment) -> None:
    """--release chooses the table whose images are prepared."""
    site.environment(site.entry(includes=["/openstack-keystone:"]))
    rows = site.openstack.json(
        *deployment.COMMAND,
        *("-e", "env.yaml", "--release", "zed", *TREE, *OUTPUT),
        stderr=deployment.PLAIN,
    )

    assert [row["Outcome"] for row in rows] == ["copied"]
    assert "ContainerKeystoneImage" in site.defaults()
    assert "ContainerKeystoneConfigImage" in site.defaults()


# --- the deployment plan


def _plan(site: Deployment) -> Path:
    """A plan whose environment wants keystone, for a role that has it."""
    site.environment(
        site.entry(includes=["keystone", "nova-api"]), name="plan/images.yaml"
    )
    site.write(
        "plan/roles_data.yaml", _role("A", *deployment.SERVICES.values())
    )
    site.write(
        "plan/plan-environment.yaml",
        yaml.safe_dump(
            {
                "name": "overcloud",
                "template": "overcloud.yaml",
                "environments": [{"path": "images.yaml"}],
            }
        ),
    )
    return site.home / "plan"


def _over_plan(site: Deployment, *words: str) -> None:
    site.openstack(
        *deployment.COMMAND,
        *("--template-file", "table.j2", "--plan-dir", "plan", *TREE),
        *OUTPUT,
        *words,
        stderr=deployment.PLAIN,
    )


def test_plan_roles(site: Deployment) -> None:
    """The plan's roles say which services are enabled."""
    plan = _plan(site)
    (plan / "roles_data.yaml").write_text(
        _role("A", deployment.SERVICES["nova-api"])
    )
    _over_plan(site)

    assert set(site.defaults()) == {
        "ContainerNovaApiImage",
        "DockerInsecureRegistryAddress",
    }


def test_own_files_after_the_plan(site: Deployment) -> None:
    """The user's -e files win over the plan's."""
    _plan(site)
    site.environment(site.entry(includes=["nova-compute"]))
    _over_plan(site, "-e", "env.yaml")

    assert "ContainerNovaComputeImage" in site.defaults()
    assert "ContainerKeystoneImage" not in site.defaults()


def test_plan_is_written(site: Deployment) -> None:
    """Every image parameter of the table has a value in the plan."""
    plan = _plan(site)
    _over_plan(site)

    written = site.defaults(
        "plan/environments/containers-default-parameters.yaml"
    )
    assert set(deployment.PARAMETERS) <= set(written)
    assert all(written.values())
    assert written.items() >= site.defaults().items()
    listed = yaml.safe_load((plan / "plan-environment.yaml").read_text())
    assert listed["environments"] == [
        {"path": "images.yaml"},
        {"path": "environments/containers-default-parameters.yaml"},
    ]


# --- the credentials of ceph


def _ceph(site: Deployment) -> None:
    """Have images of ceph in a registry that wants a password."""
    host = site.registry.host
    site.environment(
        site.entry(set=site.values(tag="17.1", ceph_namespace=f"{host}/ceph")),
        ContainerImageRegistryCredentials={host: {"operator": "canary"}},
    )


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_summary_names_the_files(
    site: Deployment, dry: tuple[str, ...]
) -> None:
    """Each file that was written is named at the end, after a dry run, too."""
    _ceph(site)
    done = site.run(
        *(*TREE, *OUTPUT, "--output-images-file", "list.yaml"),
        *("--ceph-vars-file", "ceph.yaml", *dry),
    )
    for told in (
        "parameters written to out.yaml",
        "list of images written to list.yaml",
        "credentials written to ceph.yaml",
    ):
        assert told in done.summary


def test_ceph_vars_file_keeps_no_mode(site: Deployment) -> None:
    """A file that others could read is theirs no longer."""
    path = site.write("ceph.yaml", "old")
    path.chmod(0o644)
    _ceph(site)
    site.run(*TREE, "--ceph-vars-file", "ceph.yaml")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_default_environment(site: Deployment) -> None:
    """The output of `default` is an environment that `run` reads."""
    site.openstack(
        "image-prepare",
        "default",
        "--local-push-destination",
        "--output-env-file",
        "default.yaml",
    )
    site.environment(site.entry(), name="own.yaml")
    rows = site.rows(*TREE, "-e", "default.yaml", "-e", "own.yaml")

    assert {row["Outcome"] for row in rows} == {"copied"}
