"""Modified images in a preparation, without the programs that modify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.container.request import PrepareResult
from imageprep_client.oci.platform import Platform
from imageprep_client.testing import content
from tests.unit.container import stores
from tests.unit.container.test_prepare import API, CONDUCTOR, Run, entry

DESTINATION = "d.io:5000"
MODIFIED = "d.io:5000/ns/openstack-nova-api:1-x"


@pytest.fixture
def registries() -> stores.Registries:
    found = stores.Registries()
    for name in (API, CONDUCTOR):
        found.fill(f"{name}:1", content.image(name, labels={"fix": "yes"}))
    return found


@pytest.fixture
def run(tmp_path: Path, registries: stores.Registries) -> Run:
    return Run(tmp_path, registries)


def modify(**keys: Any) -> dict[str, Any]:
    """An entry that modifies two images of nova."""
    return entry(
        push_destination=DESTINATION,
        modify_role="r",
        modify_append_tag="-x",
        **keys,
    )


def outcomes(result: PrepareResult) -> list[str]:
    """Those of nova-api and of nova-conductor."""
    return [row.outcome for row in result.rows]


def tags(run: Run) -> list[str]:
    """The image at the destination."""
    registry = run.registries.registry(DESTINATION)
    return sorted(
        f"{name.rpartition('-')[2]}:{tag}"
        for name in registry.repositories()
        for tag in registry.store(name).tags()
    )


def test_modified_images_are_stored(run: Run) -> None:
    """The result is at the destination, and the parameters name it."""
    result = run(modify())
    assert run.written["ContainerNovaApiImage"] == MODIFIED
    assert outcomes(result) == ["copied", "copied"]
    assert tags(run) == ["api:1-x", "conductor:1-x"]


def test_digest_is_that_of_the_modified_image(run: Run) -> None:
    """Of the row, and of the parameters where they name digests."""
    result = run(modify(), pin_digests=True)
    store = run.registries.registry(DESTINATION).store("ns/openstack-nova-api")
    digest = store.resolve("1-x").digest
    assert result.rows[0].digest == digest
    assert run.written["ContainerNovaApiImage"].endswith(f"nova-api@{digest}")


def test_role_is_told(run: Run) -> None:
    """Source, target and the user's variables, as roles expect them."""
    run(modify(modify_vars={"rpms_path": "/r", "tasks_from": "t.yml"}))
    change = run.workspaces.changes[0]
    assert change.source_image == f"{API}:1"
    assert change.target_image == "d.io:5000/ns/openstack-nova-api:1"
    assert change.append_tag == "-x"
    assert change.tasks_from == "t.yml"
    assert change.variables["rpms_path"] == "/r"


def test_targets_that_are_no_names(run: Run) -> None:
    """Of directories, each image still has a name that no other has."""
    run(
        {**modify(), "push_destination": "memory:x"},
        {**modify(), "push_destination": "memory:y"},
    )
    names = [change.target_image for change in run.workspaces.changes]
    assert len(set(names)) == 4
    for name in names:
        assert name.startswith("localhost/")
        assert name.endswith(":1")


def test_target_at_an_address_of_ipv6(run: Run) -> None:
    """Local storage cannot have its name."""
    run({**modify(), "push_destination": "[fd00::1]:8787"})
    for change in run.workspaces.changes:
        assert "[" not in change.target_image


@pytest.mark.parametrize("keep_going", [False, True])
def test_role_that_ends_early(run: Run, keep_going: bool) -> None:
    """An unfinished image is a failure, and no parameter names it."""
    run.workspaces.ending = {"nova-api"}
    result = run(modify(), keep_going=keep_going)
    assert outcomes(result)[0] == "failed"
    assert "ended before" in result.rows[0].error
    assert not run.output.exists()


def test_role_that_goes_by_the_source(run: Run) -> None:
    """``<source_image><modified_append_tag>`` will do, too."""
    run.workspaces.untargeted = True
    assert outcomes(run(modify())) == ["copied", "copied"]


def test_role_that_goes_by_the_source_of_two(run: Run) -> None:
    """Not when two results would have this one name."""
    run.workspaces.untargeted = True
    other = {**modify(), "push_destination": "e.io:5000"}
    assert set(outcomes(run(modify(), other))) == {"failed"}


def test_what_cannot_be_kept_is_pushed_all_the_same(run: Run) -> None:
    """A full local storage does not keep the parameters from naming it."""
    run.workspaces.full = True
    assert outcomes(run(modify(), cleanup="partial")) == ["copied", "copied"]
    assert run.written["ContainerNovaApiImage"] == MODIFIED


def test_source_of_two_is_brought_in_once(run: Run) -> None:
    """One image for two destinations is fetched once and changed twice."""
    run(modify(), {**modify(), "push_destination": "e.io:5000"})
    assert sorted(run.workspaces.landed) == [f"{API}:1", f"{CONDUCTOR}:1"]
    assert len(run.workspaces.changes) == 4


def test_role_that_makes_nothing(run: Run) -> None:
    """An image without a result fails, and says what was looked for."""
    run.workspaces.silent = {"nova-api"}
    result = run(modify())
    assert outcomes(result) == ["failed", "left"]
    assert f"there is no {MODIFIED}" in result.rows[0].error


def test_again(run: Run) -> None:
    """An image at the destination is not made again, nor is ansible needed."""
    run(modify())
    before = run.written
    run.workspaces.missing = "ansible is gone"
    assert outcomes(run(modify())) == ["present", "present"]
    assert run.workspaces.opened == 1
    assert run.written == before


def test_present_when_pinned(run: Run) -> None:
    """Digests of what is there already are those at the destination."""
    run(modify(), pin_digests=True)
    before = run.written
    run(modify(), pin_digests=True)
    assert run.written == before


def test_dry_run(run: Run) -> None:
    """Nothing is opened; a digest that will be is not known."""
    result = run(modify(), dry_run=True, pin_digests=True)
    assert outcomes(result) == ["planned", "planned"]
    assert result.rows[0].digest is None
    assert run.written["ContainerNovaApiImage"] == MODIFIED
    assert run.workspaces.opened == 0
    assert "keeps its tag" in run.observer.warnings[0]


def test_dry_run_of_what_is_there(run: Run) -> None:
    """A dry run says what a run would find."""
    run(modify())
    assert outcomes(run(modify(), dry_run=True)) == ["present", "present"]


def test_failure(run: Run) -> None:
    """Nothing is stored, no parameter is written, all rows are there."""
    run.workspaces.failing = {"nova-api"}
    other = entry(includes=["nova-compute:"], push_destination=DESTINATION)
    run.registries.fill("r.io/ns/openstack-nova-compute:1")
    assert outcomes(run(other, modify())) == ["failed", "left", "left"]
    assert tags(run) == []
    assert not run.output.exists()
    assert run.workspaces.left_open == 0


def test_failure_keep_going(run: Run) -> None:
    """The others are made and stored; parameters are not written."""
    run.workspaces.failing = {"nova-api"}
    assert outcomes(run(modify(), keep_going=True)) == ["failed", "copied"]
    assert tags(run) == ["conductor:1-x"]
    assert not run.output.exists()


@pytest.mark.parametrize(
    ("keep_going", "second"), [(False, "left"), (True, "copied")]
)
def test_image_that_cannot_be_brought_in(
    run: Run, keep_going: bool, second: str
) -> None:
    """It fails by itself."""
    run.workspaces.broken = {"nova-api"}
    result = run(modify(), keep_going=keep_going, modify_concurrency=1)
    assert outcomes(result) == ["failed", second]
    assert "local storage: buildah pull: broken" in result.rows[0].error


@pytest.mark.parametrize(
    ("keep_going", "second"), [(False, "left"), (True, "copied")]
)
def test_source_that_is_missing(
    run: Run, registries: stores.Registries, keep_going: bool, second: str
) -> None:
    """It fails by itself, before anything is changed."""
    image = entry(includes=["nova-compute:"])
    wanted = {**modify(), "includes": ["nova-api:", *image["includes"]]}
    result = run(wanted, keep_going=keep_going)
    assert sorted(outcomes(result)) == sorted(["failed", second])


@pytest.mark.parametrize("keep_going", [False, True])
def test_destination_that_does_not_answer(run: Run, keep_going: bool) -> None:
    """It is asked before anything is fetched."""
    run.registries.silent.add(DESTINATION)
    assert run(modify(), keep_going=keep_going).nothing_done
    assert run.workspaces.opened == 0


def test_dry_run_of_a_destination_that_does_not_answer(run: Run) -> None:
    """That is no failure of a dry run."""
    run.registries.silent.add(DESTINATION)
    assert outcomes(run(modify(), dry_run=True)) == ["unchecked", "unchecked"]


def test_discovered_digest_is_modified(
    run: Run, registries: stores.Registries
) -> None:
    """A tag that moves meanwhile does not change what is modified."""
    labelled = content.image("a", labels={"v": "1"})
    registries.fill(f"{API}:current-tripleo", labelled)
    registries.fill(f"{API}:1", labelled)
    opening = run.workspaces.open

    def open_later() -> Any:
        registries.fill(f"{API}:1", content.image("moved"))
        return opening()

    run.workspaces.open = open_later  # type: ignore[method-assign]
    values = {k: v for k, v in entry()["set"].items() if k != "tag"}
    run(modify(includes=["nova-api:"], set=values, tag_from_label="v"))
    digest = labelled.descriptor.digest
    assert run.workspaces.digests == {f"{API}:1": digest}


@pytest.mark.parametrize(
    ("cleanup", "kept"),
    [("full", []), ("partial", [MODIFIED]), ("none", [MODIFIED, f"{API}:1"])],
)
def test_cleanup(run: Run, cleanup: str, kept: list[str]) -> None:
    """Local storage keeps nothing, the results, or all."""
    run(modify(includes=["nova-api:"]), cleanup=cleanup)
    assert run.workspaces.kept == kept


def test_labels_limit(run: Run) -> None:
    """Images without the label are copied as they are."""
    run.registries.fill(f"{CONDUCTOR}:1", content.image("plain"))
    run(modify(modify_only_with_labels=["fix"]))
    assert tags(run) == ["api:1-x", "conductor:1"]


def test_no_destination(run: Run) -> None:
    """No parameter may name what is made nowhere."""
    wanted = {**modify(), "push_destination": False}
    with pytest.raises(errors.InvalidFile, match="no destination") as caught:
        run(wanted)
    assert caught.value.key.endswith("[0].modify_role")


def test_two_images_of_one_name(run: Run) -> None:
    """Digests tell them apart, and names in local storage do not."""
    digest = content.image("other").descriptor.digest
    pinned = {**entry()["set"], "tag": f"1@{digest}"}
    other = modify(set=pinned)
    wanted = {**modify(), "push_destination": "e.io:5000"}
    with pytest.raises(errors.InvalidFile, match="have the same name"):
        run(other, wanted)


@pytest.mark.parametrize("dry_run", [False, True])
def test_missing_extra(run: Run, dry_run: bool) -> None:
    """It is said with the key, before anything is fetched."""
    run.workspaces.missing = "ansible-core is not installed"
    with pytest.raises(errors.InvalidFile, match=r"\[0\]\.modify_role: ansib"):
        run(modify(), dry_run=dry_run)
    assert run.workspaces.checked == [("r", "")]
    assert run.workspaces.opened == 0
    assert not run.output.exists()


@pytest.mark.parametrize("silent", ["r.io", DESTINATION])
def test_dry_run_without_network_misses_the_extra(
    run: Run, silent: str
) -> None:
    """It is missed whichever registry does not answer."""
    run.registries.silent.add(silent)
    run.workspaces.missing = "ansible-core is not installed"
    with pytest.raises(errors.InvalidFile, match="is not installed"):
        run(modify(), dry_run=True)


@pytest.mark.parametrize("silent", [[], ["r.io"]])
def test_dry_run_that_needs_no_extra(run: Run, silent: list[str]) -> None:
    """Where all is in place it is not needed, as in a run."""
    run(modify())
    run.workspaces.checked.clear()
    run.workspaces.missing = "ansible-core is not installed"
    run.registries.silent.update(silent)
    run(modify(), dry_run=True)
    assert run.workspaces.checked == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_platforms(run: Run, dry_run: bool) -> None:
    """One platform is modified; several cannot be."""
    platforms = [Platform.parse(p) for p in ("linux/amd64", "linux/arm64")]
    with pytest.raises(errors.InvalidArgument, match="several platforms"):
        run(modify(), platforms=platforms, dry_run=dry_run)


def test_concurrency(run: Run) -> None:
    """The modifier is told how many at once."""
    run(modify(), modify_concurrency=3)
    assert run.workspaces.concurrency == 3


def test_row_names_the_modified(run: Run) -> None:
    """The row of a modified image is like others."""
    assert run(modify()).rows[0].destination == MODIFIED
