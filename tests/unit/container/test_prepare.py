"""The use case over registries in memory."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import errors, wording
from imageprep_client.container import prepare as preparing
from imageprep_client.container import worklist
from imageprep_client.container.discovery import queries
from imageprep_client.container.request import PrepareRequest, PrepareResult
from imageprep_client.container.results import report
from imageprep_client.host import files
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import BRIEF
from imageprep_client.testing import content, images
from imageprep_client.transfer import graph
from tests.recorder import Recorder
from tests.unit.container import stores, workspaces

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
API = "r.io/ns/openstack-nova-api"
CONDUCTOR = "r.io/ns/openstack-nova-conductor"
BASE = {
    "namespace": "r.io/ns",
    "name_prefix": "openstack",
    "name_suffix": "",
    "tag": "1",
}
NOVA = ["nova-api", "nova-conductor"]


@pytest.fixture
def registries() -> stores.Registries:
    registries = stores.Registries()
    for name in (API, CONDUCTOR):
        image = content.image(name, labels={"rdo_version": "v7"})
        registries.fill(f"{name}:1", image)
        registries.fill(f"{name}:v7", image)
    return registries


class Run:
    """Runs preparations of one environment file."""

    def __init__(self, directory: Path, registries: stores.Registries):
        self.directory = directory
        self.registries = registries
        self.workspaces = workspaces.Workspaces()
        self.output = directory / "out.yaml"
        self.observer = Recorder()

    def __call__(
        self,
        *entries: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        **options: Any,
    ) -> PrepareResult:
        environment = self.directory / "env.yaml"
        defaults = {**(parameters or {}), "ContainerImagePrepare": entries}
        environment.write_text(
            json.dumps({"parameter_defaults": defaults}), encoding="utf-8"
        )
        request = PrepareRequest(
            environment_files=[str(environment)],
            release="zed",
            output_env_file=str(self.output),
            concurrency=4,
            **options,
        )
        return preparing.prepare(
            request,
            open_stores=self.registries,
            workspaces=self.workspaces,
            plan=None,
            undercloud_registry=lambda: "uc:8787",
            observer=self.observer,
            now=NOW,
        )

    @property
    def written(self) -> dict[str, Any]:
        document = yaml.safe_load(self.output.read_text("utf-8"))
        parameters: dict[str, Any] = document["parameter_defaults"]
        return parameters


@pytest.fixture
def run(tmp_path, registries) -> Run:
    return Run(tmp_path, registries)


def entry(**keys: Any) -> dict[str, Any]:
    """An entry for two images of nova."""
    return {"includes": NOVA, "set": BASE, **keys}


def test_two_labels_for_one_image(run, registries):
    """Two entries may discover by different labels; the later one wins."""
    image = content.image("x", labels={"a": "v1", "b": "v2"})
    for tag in ("current-tripleo", "v1", "v2"):
        registries.fill(f"{API}:{tag}", image)
    values = {k: v for k, v in BASE.items() if k != "tag"}
    one = {"includes": ["nova-api"], "set": values}
    run({**one, "tag_from_label": "a"}, {**one, "tag_from_label": "b"})
    assert run.written["ContainerNovaApiImage"].endswith("nova-api:v2")


def test_failed_discovery_names_each_image(run):
    """Every image whose label is missing is named; nothing is written."""
    values = {**BASE, "tag": ""}
    run.registries.fill(f"{API}:latest", content.image("nolabel"))
    run.registries.fill(f"{CONDUCTOR}:latest", content.image("nolabel"))
    values = {k: v for k, v in BASE.items() if k != "tag"}
    for name in (API, CONDUCTOR):
        run.registries.fill(
            f"{name}:current-tripleo",
            content.image(name, labels={"rdo_version": "absent"}),
        )
    error = run(entry(set=values, tag_from_label="rdo_version")).error
    assert isinstance(error, errors.CombinedFailure)
    assert "for 2 images" in str(error)
    assert len(error.failures) == 2
    assert not run.output.exists()


@pytest.fixture
def undiscovered(run, registries) -> dict[str, Any]:
    """An entry for two images; the label of one gives no tag of it."""
    for name, version in ((API, "v7"), (CONDUCTOR, "absent")):
        image = content.image(name, labels={"rdo_version": version})
        registries.fill(f"{name}:current-tripleo", image)
    values = {k: v for k, v in BASE.items() if k != "tag"}
    return entry(
        set=values, tag_from_label="rdo_version", push_destination="d.io"
    )


@pytest.mark.parametrize("dry_run", [False, True])
def test_discovery_keeps_going(run, undiscovered, dry_run):
    """With keep_going the image is a failed one, and the others are copied;
    no parameters are written, not even by a dry run.
    """
    result = run(undiscovered, keep_going=True, dry_run=dry_run)
    done = "planned" if dry_run else "copied"
    assert [
        (row.image, row.source, row.destination, row.outcome)
        for row in result.rows
    ] == [
        (f"{API}:v7",) * 2 + ("d.io/ns/openstack-nova-api:v7", done),
        (f"{CONDUCTOR}:current-tripleo",) * 2 + (None, "failed"),
    ]
    assert "gives tag absent" in result.rows[1].error
    assert [str(error) for error in result.failures] == [result.rows[1].error]
    assert not result.nothing_done
    assert not run.output.exists()
    fields = report.fields(result, dry_run=dry_run)
    assert fields["totals"]["outcomes"] == {done: 1, "failed": 1}
    assert "ContainerNovaConductorImage" not in fields["parameters"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_report_of_failed_discovery(run, undiscovered, dry_run):
    """Without keep_going the others are left, which the report has, too."""
    result = run(undiscovered, dry_run=dry_run)
    assert "no tag could be" in str(result.error)
    fields = report.fields(result, dry_run=dry_run)
    assert fields["totals"]["outcomes"] == {"left": 1, "failed": 1}
    assert not run.registries.registry("d.io").repositories()
    assert not run.output.exists()


def test_undiscovered_image_of_two_entries(run, undiscovered):
    """A failure of a later entry is not hidden by an earlier one."""
    result = run(entry(push_destination="d.io"), undiscovered, keep_going=True)
    assert "ContainerNovaConductorImage" not in result.parameters
    assert [row.outcome for row in result.rows].count("failed") == 1


def test_discovery_needs_its_registry(run, registries):
    """A registry that does not answer is one cause, with its images."""
    registries.silent.add("r.io")
    values = {k: v for k, v in BASE.items() if k != "tag"}
    error = run(entry(set=values, tag_from_label="rdo_version")).error
    (group,) = wording.alike(map(str, error.failures))
    assert [text.partition(": ")[0] for text in group] == [
        f"{API}:current-tripleo",
        f"{CONDUCTOR}:current-tripleo",
    ]
    assert "refused" in group[0]


def test_images_that_stay_need_not_be_reachable(run, registries):
    """A registry that only nodes can reach does not stop the run."""
    registries.silent.add("r.io")
    result = run(entry())
    assert [row.outcome for row in result.rows] == ["unchecked"] * 2
    assert run.written["ContainerNovaApiImage"] == f"{API}:1"
    assert len(run.observer.warnings) == 1


def test_images_that_stay_must_exist(run):
    """A registry's word that an image is missing fails the run."""
    result = run(entry(set={**BASE, "tag": "absent"}))
    assert len(result.failures) == 2
    assert not result.nothing_done
    assert not run.output.exists()


def test_unreachable_source(run, registries):
    """When no registry lets us in, nothing was done."""
    registries.silent.add("r.io")
    assert run(entry(push_destination="d.io")).nothing_done
    assert not run.output.exists()


def test_unreachable_destination(run, registries):
    """The same for the destination."""
    registries.silent.add("d.io")
    assert run(entry(push_destination="d.io")).nothing_done


def test_several_registries_that_give_no_access(run, registries):
    """Every cause is told, and a cause of several images once."""
    registries.fill("q.io/ns/openstack-nova-api:1")
    registries.silent.update(("r.io", "e.io"))
    other = {
        "push_destination": "e.io",
        "includes": ["nova-api"],
        "set": {**BASE, "namespace": "q.io/ns"},
    }
    result = run(entry(push_destination="d.io"), other, keep_going=True)
    told = [str(error) for error in result.error.failures]
    assert [text.partition("/")[0] for text in told] == [
        "r.io",
        "r.io",
        "q.io",
    ]
    result = run(entry(push_destination="d.io"), keep_going=True)
    assert not isinstance(result.error, errors.CombinedFailure)


def test_several_reasons_why_tags_are_not_discovered():
    """Every cause is told with its image, and a fault of the input once."""
    silent, other, wrong = (
        worklist.Undiscovered("a", Reference.parse("r.io/a"), error)
        for error in (
            errors.Unreachable("r.io: x", hint="h"),
            errors.NotFound("r.io/a: y"),
            errors.InvalidFile("f", "z"),
        )
    )
    assert queries.together([wrong, wrong]) is wrong.error
    told = queries.together([silent, other])
    assert isinstance(told, errors.CombinedFailure)
    assert told.failures[1] is other.error
    assert str(told.failures[0]) == "r.io/a: r.io: x"
    assert told.failures[0].hint == "h"


@pytest.mark.parametrize("silent", ["r.io", "d.io"])
def test_dry_run_without_network(run, registries, silent):
    """A dry run says what it could not check, and succeeds."""
    registries.silent.add(silent)
    result = run(entry(push_destination="d.io"), dry_run=True)
    assert [row.outcome for row in result.rows] == ["unchecked"] * 2
    assert [row.destination for row in result.rows] == [
        "d.io/ns/openstack-nova-api:1",
        "d.io/ns/openstack-nova-conductor:1",
    ]
    assert not result.failures
    assert run.written["ContainerNovaApiImage"].startswith("d.io/ns/")
    assert run.observer.warnings


def test_dry_run_is_impatient(run, registries):
    """A dry run waits for no slow registry, and for no other run."""
    run(entry(push_destination="d.io"), dry_run=True)
    assert set(registries.opened) == {BRIEF}
    assert registries.locks == 0


def test_lock(run, registries):
    """A run has the lock of the registries while it copies all images."""
    run(entry(push_destination="d.io"), entry(push_destination="e.io"))
    assert registries.locks == 1


def test_dry_run_names_missing_images(run):
    """A dry run tells of images that are not there."""
    result = run(
        entry(push_destination="d.io", set={**BASE, "tag": "absent"}),
        dry_run=True,
    )
    assert len(result.failures) == 2
    assert not run.output.exists()


@pytest.mark.parametrize("options", [{}, {"dry_run": True}])
def test_report_of_a_failed_run(run, registries, options):
    """The report has the parameters of images that are in place only."""
    registries.registry("r.io").store("ns/openstack-nova-api").untag("1")
    result = run(
        entry(push_destination="d.io:5000"), keep_going=True, **options
    )
    fields = report.fields(result, dry_run=bool(options))
    assert set(fields["parameters"]) == {"ContainerNovaConductorImage"}


def test_results_that_cannot_be_written(run, tmp_path, monkeypatch):
    """A full disk at the end is told of each file, with what is in place."""

    def full(path: str, *_: object, **__: object) -> None:
        raise errors.NoSpace(f"{path}: no space left on device")

    monkeypatch.setattr(files, "write", full)
    images = tmp_path / "images.yaml"
    error = run(
        entry(push_destination="d.io:5000"), output_images_file=str(images)
    ).error
    assert isinstance(error, errors.PartialFailure)
    assert str(error).startswith("all images are in place, but")
    assert [
        Path(str(failure).partition(":")[0]).name for failure in error.failures
    ] == ["images.yaml", "out.yaml"]


@pytest.mark.parametrize(
    "place",
    [
        *("localhost:8787", "LocalHost:8787", "127.0.0.1", "[::1]:5000"),
        *("oci:/srv/x", "memory:x"),
    ],
)
def test_destination_of_this_host(run, place):
    """One warning tells that nodes cannot pull from there."""
    run(entry(push_destination=place), dry_run=True)
    told = [w for w in run.observer.warnings if "no node can pull" in w]
    assert len(told) == 1
    assert told[0].startswith(f"{place.lower()}: ")


@pytest.mark.parametrize(
    "place", ["[fd00::1]:8787", "under_cloud:8787", "a..b:1", "[fd00::1]"]
)
@pytest.mark.parametrize("copied", [True, False])
def test_names_that_podman_refuses(run, place, copied):
    """Neither a destination nor a namespace may have such a registry."""
    changes = (
        {"push_destination": place}
        if copied
        else {"set": {**BASE, "namespace": f"{place}/ns"}}
    )
    run(entry(**changes), dry_run=True)
    (told,) = [w for w in run.observer.warnings if "no node can pull" in w]
    assert told.startswith(f"{place}: ")
    assert "podman takes neither" in told


@pytest.mark.parametrize(
    "place", ["d.io:5000", "10.0.0.1", "localhost.d.io", False]
)
def test_destination_of_nodes(run, place):
    """Another host, and an image that is not copied, cause no warning."""
    run(entry(push_destination=place), dry_run=True)
    assert not [w for w in run.observer.warnings if "no node can pull" in w]


def test_variable_that_a_role_cannot_use(run):
    """The error has the key of the variable, before the copy."""
    run.workspaces.unusable = "rpms_path"
    modified = entry(push_destination="d.io", modify_role="r")
    with pytest.raises(errors.InvalidFile, match="unusable") as caught:
        run(modified)
    assert caught.value.key.endswith("[0].modify_vars.rpms_path")
    assert not run.workspaces.opened


def test_dry_run_of_modified_images(run):
    """The parameters have the modified tag."""
    run(entry(push_destination="d.io", modify_role="r"), dry_run=True)
    assert run.written["ContainerNovaApiImage"].endswith(
        "nova-api:1-modified-20260102030405"
    )


def test_modification_by_label(run):
    """Only images with the label are modified."""
    run(
        entry(
            push_destination="d.io",
            modify_role="r",
            modify_append_tag="-x",
            modify_only_with_labels=["other"],
        ),
        dry_run=True,
    )
    assert run.written["ContainerNovaApiImage"].endswith("nova-api:1")


@pytest.mark.parametrize("keys", [{}, {"push_destination": "d.io:5000"}])
def test_pin_digests_of_digests(run, registries, keys):
    """An image given by tag and digest is named by its digest alone."""
    store = registries.registry("r.io").store("ns/openstack-nova-api")
    digest = store.resolve("1").digest
    given = {**BASE, "tag": f"1@{digest}"}
    run({"includes": ["nova-api"], "set": given, **keys}, pin_digests=True)
    place = keys.get("push_destination", "r.io")
    assert run.written["ContainerNovaApiImage"] == (
        f"{place}/ns/openstack-nova-api@{digest}"
    )


@pytest.fixture
def index(registries) -> images.GeneratedImage:
    """An image for two platforms, which has the tag 1."""
    index = images.random_image(
        "index",
        repository="ns/openstack-nova-api",
        tags=("1",),
        platforms=(graph.host_platform(), Platform("linux", "s390x")),
    )
    images.write([index], registries.registry("r.io").store)
    return index


def by_digest(index: images.GeneratedImage, **keys: Any) -> dict[str, Any]:
    """An entry for this index, by its digest."""
    given = {**BASE, "tag": f"1@{index.descriptor.digest}"}
    return entry(
        includes=["nova-api"], set=given, push_destination="d.io:5000", **keys
    )


@pytest.mark.parametrize("multi_arch", [False, True])
def test_digest_of_an_index(run, registries, index, multi_arch):
    """An image given by digest is named by the digest of the stored one, in a
    dry run and where it is present, too.
    """
    wanted = by_digest(index, multi_arch=multi_arch)
    named = []
    for dry_run in (True, False, False, True):
        result = run(wanted, dry_run=dry_run)
        named.append(run.written["ContainerNovaApiImage"])
        assert result.rows[0].destination == named[-1]
    store = registries.registry("d.io:5000").store("ns/openstack-nova-api")
    digest = store.resolve("1").digest
    assert (digest == index.descriptor.digest) == multi_arch
    assert set(named) == {f"d.io:5000/ns/openstack-nova-api:1@{digest}"}


def test_digest_of_an_index_that_is_not_known(run, registries, index):
    """A dry run that cannot look names the tag, and says so."""
    registries.silent.add("r.io")
    run(by_digest(index), dry_run=True)
    assert run.written["ContainerNovaApiImage"] == (
        "d.io:5000/ns/openstack-nova-api:1"
    )
    assert "named by its tag" in run.observer.warnings[-1]
    run(by_digest(index, multi_arch=True), dry_run=True)
    assert run.written["ContainerNovaApiImage"].endswith(
        f":1@{index.descriptor.digest}"
    )


@pytest.mark.parametrize("dry_run", [False, True])
def test_pin_digests_needs_the_registry(run, registries, dry_run):
    """A digest that cannot be found out is a failure."""
    registries.silent.add("r.io")
    result = run(entry(), pin_digests=True, dry_run=dry_run)
    assert len(result.failures) == 2
    assert "its digest is not known: memory:r.io: connection refused" in str(
        result.failures[0]
    )


def test_ceph_credentials(run, tmp_path):
    """The user of ceph_namespace's registry goes into a private file."""
    path = tmp_path / "vars.yaml"
    run(
        entry(set={**BASE, "ceph_namespace": "q.io/ceph"}),
        parameters={
            "ContainerImageRegistryCredentials": {
                "q.io": {"user": 'pass"word: \\'}
            }
        },
        ceph_vars_file=str(path),
    )
    assert yaml.safe_load(path.read_text("utf-8")) == {
        "ceph_docker_registry_username": "user",
        "ceph_docker_registry_password": 'pass"word: \\',
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_ceph_credentials_that_are_missing(run, tmp_path):
    """No credentials for that registry: said before anything is done."""
    with pytest.raises(errors.InvalidArgument, match=r"quay\.rdoproject\.org"):
        run(
            entry(push_destination="d.io"),
            ceph_vars_file=str(tmp_path / "vars.yaml"),
        )
    assert run.registries.locks == 0
