"""Freezing units, by a systemctl that notes what it is told.

Hosts with the old hierarchies of cgroups, as in CI, can freeze none;
``tests/torture/machine_nspawn.py`` freezes one on a host that can.
"""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client.programs import systemd


@pytest.fixture
def told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """A log of the calls of systemctl, which fails if ``fails`` exists."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n'
        f'[ "$1" = thaw ] || ! [ -e {tmp_path}/fails ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "told"


def test_unit_is_thawed_after_an_error(told: pathlib.Path) -> None:
    """Its processes do not stay frozen."""

    def fail() -> None:
        with systemd.frozen("a.service") as is_frozen:
            assert is_frozen
            assert told.read_text() == "freeze -- a.service\n"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert told.read_text().endswith("\nthaw -- a.service\n")


def test_host_that_cannot_freeze(
    told: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """That is said, and is no failure."""
    (tmp_path / "fails").touch()
    with systemd.frozen("a.service") as is_frozen:
        assert not is_frozen
