"""``machine settings``, ``clone``, ``rollback`` and ``delete``."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import settings
from imageprep_client.programs import systemd
from tests.functional import base

MACHINE = ("image-prepare", "machine")


def test_settings_are_printed(openstack: base.OpenStack) -> None:
    """Each file is preceded by its path."""
    (openstack.home / "s.yaml").write_text(
        "networks: [br-mgmt]\nlimits: {memory: 1G}\n"
    )
    words = ("settings", "www", "--settings", "s.yaml", "--systemd", "255")
    printed = openstack(*MACHINE, *words).stdout
    assert printed.startswith("# /etc/systemd/nspawn/www.nspawn\n")
    assert "MACVLAN=br-mgmt\n" in printed
    assert (
        "# /etc/systemd/system/systemd-nspawn@www.service.d/"
        "50-image-prepare.conf\n" in printed
    )


def machines(openstack: base.OpenStack) -> pathlib.Path:
    """A directory with one small root and a kept version of it."""
    store = openstack.home / "machines"
    for name in ("www", "www~20261129T174512Z"):
        (store / name / "etc").mkdir(parents=True)
        (store / name / "etc/release").write_text(name)
    return store


def test_report_of_settings(openstack: base.OpenStack) -> None:
    """The report names the unit, and no file where all was printed."""
    (openstack.home / "s.yaml").write_text("{}")
    words = ("settings", "www", "--settings", "s.yaml", "--systemd", "255")
    openstack(*MACHINE, *words, "--report", "report.json")
    fields = json.loads((openstack.home / "report.json").read_text())
    assert (fields["unit"], fields["written"]) == (
        "systemd-nspawn@www.service",
        [],
    )


def test_clones_whose_settings_cannot_be_written(
    openstack: base.OpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clone that was made is named, and the status says so."""

    def write(_: object) -> list[str]:
        raise errors.InvalidFile("/etc/systemd", "cannot be written")

    monkeypatch.setattr(systemd, "version", lambda: 255)
    monkeypatch.setattr(settings, "write", write)
    store = machines(openstack)
    (openstack.home / "s.yaml").write_text("{}")
    openstack(
        *(*MACHINE, "clone", "www", "one", "two", "--store", str(store)),
        *("--settings", "s.yaml"),
        status=1,
        stderr=r"1 of 2 clones made\n[^\n]*/etc/systemd: cannot be written\n"
        r"www: 1 clone made in [^\n]*",
    )
    assert (store / "one").exists()
    assert not (store / "two").exists()


def test_publishing_what_is_not_there(openstack: base.OpenStack) -> None:
    """A file that does not exist is told as such."""
    (openstack.home / "srv").mkdir()
    openstack(
        *(*MACHINE, "publish", "a.tar", "--directory", "srv"),
        status=2,
        stderr="/[^\n]*a.tar: cannot be read: no such file or directory",
    )


def test_rollback_and_delete(openstack: base.OpenStack) -> None:
    """A stopped machine has its earlier root again, and goes with all."""
    store = machines(openstack)
    where = ("--store", str(store))
    listed = openstack(*MACHINE, "list", *where, "-f", "json").stdout
    (row,) = json.loads(listed)
    assert row["Versions"] == ["20261129T174512Z"]
    openstack(
        *(*MACHINE, "rollback", "www", *where),
        stderr="www: 20261129T174512Z restored, the machine is stopped,"
        " as before, in .*; undo it with: openstack image-prepare machine"
        f" rollback www --store {store}",
    )
    assert (store / "www/etc/release").read_text().startswith("www~")
    openstack(
        *(*MACHINE, "rollback", "www", "--to", "1", *where),
        status=2,
        stderr=f"{store}/www: the version 1 is not kept\nhint: kept: .*",
    )
    openstack(
        *(*MACHINE, "delete", "www", *where),
        status=2,
        stderr="the machine www with all kept versions: nobody can be"
        " asked.*\nhint: .*",
    )
    openstack(*MACHINE, "delete", "www", "--yes", *where, stderr=".*deleted.*")
    assert not list(store.iterdir())


@pytest.mark.parametrize("option", [("--version", "{}"), ("--version={}",)])
def test_a_kept_version_is_deleted(
    openstack: base.OpenStack, option: tuple[str, ...]
) -> None:
    """The option is the command's, though the shell has one of this name."""
    store = machines(openstack)
    words = [word.format("20261129T174512Z") for word in option]
    openstack(
        *(*MACHINE, "delete", "www", "--yes", "--store", str(store), *words),
        stderr="www: the version 20261129T174512Z: deleted in .*",
    )
    assert [path.name for path in store.iterdir()] == ["www"]


def test_nothing_to_put_back(openstack: base.OpenStack) -> None:
    """A machine that was never replaced has no earlier root."""
    store = machines(openstack)
    (store / "www~20261129T174512Z").rename(store / "db")
    openstack(
        *(*MACHINE, "rollback", "www", "--store", str(store)),
        status=2,
        stderr=f"{store}/www: no earlier root is kept\nhint: .*",
    )


@pytest.mark.needs_root
def test_replace_of_several(openstack: base.OpenStack) -> None:
    """A machine that does not exist fails alone; a name given twice is one
    machine, whose only kept version is the root that it had.
    """
    store = machines(openstack)
    where = ("--store", str(store))
    openstack(
        *(*MACHINE, "export", "www", *where, "--to", "www.tar"), stderr=".*"
    )
    words = ("replace", "gone1", "www", "gone2", "www", "--from", "www.tar")
    done = openstack(
        *(*MACHINE, *words, *where, "--no-verify", "-f", "json"),
        status=1,
        stderr="(?s)2 of 3 machines not replaced\n  2 machines: gone1: no"
        " machine of this name in .*; also gone2\nhint: .*list --store .*\n.*"
        "1 machine replaced in .*",
    )
    rows = json.loads(done.stdout)
    assert [(row["Name"], row["State"]) for row in rows] == [
        *(("gone1", "failed"), ("www", "replaced"), ("gone2", "failed"))
    ]
    (kept,) = (path for path in store.iterdir() if "~" in path.name)
    assert (kept / "etc/release").read_text() == "www"
    assert os.listdir(kept) == ["etc"]


@pytest.mark.needs_root
def test_replace_of_a_stopped_machine(openstack: base.OpenStack) -> None:
    """The summary says that it is still stopped."""
    where = ("--store", str(machines(openstack)))
    openstack(
        *(*MACHINE, "export", "www", *where, "--to", "www.tar"), stderr=".*"
    )
    openstack(
        *(*MACHINE, "replace", "www", "--from", "www.tar", "--no-verify"),
        *where,
        stderr=".*/www.tar: www replaced, the machine is stopped, as before,"
        " in .*; undo it with: openstack image-prepare machine rollback www"
        f" --store {where[1]}",
    )


def test_replace_of_nothing(openstack: base.OpenStack) -> None:
    """When no machine exists, the image is not looked at; a store that does
    not exist is named once.
    """
    store = machines(openstack)
    openstack(
        *(*MACHINE, "replace", "www", "db", "--store", "gone/"),
        *("--from", "h.invalid/a:1"),
        status=2,
        stderr="--store .*/gone: no such directory\nhint: .*",
    )
    openstack(
        *(*MACHINE, "replace", "gone1", "gone2", "--store", str(store)),
        *("--from", "h.invalid/a:1"),
        status=2,
        stderr="2 of 2 machines not replaced\n  2 machines: .*\nhint: .*",
    )


@pytest.mark.parametrize("to", ["x.tar.bz2", "/srv/x", "./x.tar.gz.gpg"])
def test_unknown_kind_of_archive(openstack: base.OpenStack, to: str) -> None:
    """It is not taken for the name of an image."""
    store = machines(openstack)
    openstack(
        *(*MACHINE, "export", "www", "--store", str(store), "--to", to),
        status=2,
        stderr=f"{to}: archives of this kind cannot be .*\nhint: .*tar.zst.*",
    )


def test_names_that_no_list_has(openstack: base.OpenStack) -> None:
    """A line break in a name would break the list of checksums for good."""
    store = machines(openstack)
    openstack(
        *(*MACHINE, "export", "www", "--store", str(store)),
        *("--to", "a\nb.tar.gz"),
        status=2,
        stderr=r"a\\nb.tar.gz: SHA256SUMS cannot .*\nhint: .*characters.*",
    )
    assert not (openstack.home / "SHA256SUMS").exists()


def test_store_that_is_no_directory(openstack: base.OpenStack) -> None:
    """To run it as root is advice for errors of permissions only."""
    (openstack.home / "file").write_text("x")
    openstack(
        *(*MACHINE, "list", "--store", str(openstack.home / "file")),
        status=2,
        stderr=".*/file: cannot be read: not a directory",
    )


def test_list_that_cannot_be_added_to(openstack: base.OpenStack) -> None:
    """A SHA256SUMS that is none is told before an archive is written."""
    store = machines(openstack)
    (openstack.home / "SHA256SUMS").write_text("no list\n")
    openstack(
        *(*MACHINE, "export", "www", "--store", str(store)),
        *("--to", "www.tar.gz"),
        status=2,
        stderr=".*/SHA256SUMS: no line of checksums: 'no list'",
    )
    assert not (openstack.home / "www.tar.gz").exists()


def test_export_to_another_archive(openstack: base.OpenStack) -> None:
    """A bare name is that of an archive, whose kinds are told."""
    openstack(
        *(*MACHINE, "export", "www", "--store", str(machines(openstack))),
        *("--to", "www.zip"),
        status=2,
        stderr="www.zip: archives of this kind cannot be written\n"
        "hint: its name ends in .tar, .*",
    )


def test_import_from_a_bare_name(openstack: base.OpenStack) -> None:
    """So is that of a source."""
    openstack(
        *(*MACHINE, "import", "new", "--store", str(machines(openstack))),
        *("--from", "www.tar.bz2", "--no-verify"),
        status=2,
        stderr="[^\n]*www.tar.bz2: cannot be read: no such file[^\n]*",
    )


def test_export_to_no_image(openstack: base.OpenStack) -> None:
    """A place without the name of an image is refused with its forms."""
    openstack(
        *(*MACHINE, "export", "www", "--store", str(machines(openstack))),
        *("--to", "docker://h"),
        status=2,
        stderr="'docker://h': names no image\n"
        "hint: write HOST/REPOSITORY:TAG, .*",
    )


def test_clone(openstack: base.OpenStack) -> None:
    """The table says how each clone was made."""
    store = machines(openstack)
    words = ("clone", "www", "a", "b", "--store", str(store), "-f", "json")
    rows = json.loads(
        openstack(*MACHINE, *words, stderr=".*2 clones.*").stdout
    )
    assert [row["Name"] for row in rows] == ["a", "b"]
    assert {row["Method"] for row in rows} == {"full copy"}
