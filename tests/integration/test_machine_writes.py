"""The writes for a refused source of a machine, seen by strace."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests import hostile_sources, machines, programs, web

pytestmark = pytest.mark.needs_root
#: Runs commands in one process, which takes less time than one for each.
_DRIVER = r"""
import contextlib, io, json, os, sys
from openstackclient import shell

for line in sys.stdin:
    job = json.loads(line)
    os.environ["XDG_STATE_HOME"] = job["state"]
    os.access("/case/" + job["name"], os.F_OK)
    said = io.StringIO()
    with (
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            status = shell.OpenStackShell().run(job["words"])
        except SystemExit as stop:
            status = stop.code
    print(json.dumps([status, said.getvalue()]), flush=True)
"""
_CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,"
    "linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mknod,mknodat,chmod,"
    "fchmodat,chown,lchown,fchownat,truncate,setxattr,lsetxattr,utimensat,"
    "access,faccessat,faccessat2,execve"
)
_LINE = re.compile(r"\d+ +(?P<call>\w+)\((?P<words>.*)")
_PATH = re.compile(
    r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"'
)
_WRITES = re.compile("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


def test_refused_sources_write_to_quarantine_only(tmp_path: Path) -> None:
    """Of sources with bad signatures nothing comes into the pool, and no
    archiver runs; bad archives are unpacked where only root can look, and
    are gone. Nothing else is written, but for what was seen of signed lists.
    """
    pool = tmp_path / "pool"
    pool.mkdir()
    jobs = []
    (tmp_path / "keys").mkdir()
    with contextlib.ExitStack() as stack:
        keys = stack.enter_context(
            hostile_sources.made_keys(tmp_path / "keys")
        )
        for number, case in enumerate(hostile_sources.CASES):
            top = tmp_path / f"source{number}"
            (top / "www").mkdir(parents=True)
            (top / "www/a.tar").write_bytes(hostile_sources.CONTENT)
            site = stack.enter_context(web.served(top / "www"))
            state = top / "state"
            words, _ = hostile_sources.prepare(
                case, site, keys, top, state / "image-prepare/machine"
            )
            source = f"{site.url}/a.tar"
            jobs.append(_job(f"source {case}", pool, state, source, words))
        for number, (case, (content, _)) in enumerate(
            machines.hostile().items()
        ):
            if case == "too large":
                continue  # it is not without --max-size
            path = tmp_path / f"archive{number}.tar"
            path.write_bytes(content)
            state = tmp_path / "state"
            none = ("--no-verify",)
            jobs.append(_job(f"archive {case}", pool, state, str(path), none))
        results = _run(tmp_path, jobs)
    assert len(results) == len(jobs) > 40
    for status, said in results:
        assert status == 2, said
        assert re.fullmatch(r"[^\n]*\n(hint: [^\n]*\n)?", said), said
    assert os.listdir(pool) == []
    calls = _calls(tmp_path / "strace")
    assert set(calls) >= {str(job["name"]) for job in jobs}
    for job in jobs:
        name = str(job["name"])
        is_archive = name.startswith("archive")
        allowed = [
            f"{job['state']}/image-prepare/machine/",
            f"{tmp_path}/scratch/",
            *([f"{pool}/.#m1.import."] if is_archive else []),
        ]
        for call, written in calls[name]:
            if call == "execve":
                assert is_archive or not written.endswith("/tar"), name
                continue
            assert any(f"{written}/".startswith(part) for part in allowed), (
                name,
                call,
                written,
            )


def _job(
    name: str, pool: Path, state: Path, source: str, words: tuple[str, ...]
) -> dict[str, object]:
    (state / "image-prepare/machine").mkdir(
        mode=0o700, parents=True, exist_ok=True
    )
    return {
        "name": name,
        "state": str(state),
        "words": [
            *("image-prepare", "machine", "import", "m1"),
            *("--store", str(pool), "--from", source, "--max-size", "1"),
            *words,
        ],
    }


def _run(
    tmp_path: Path, jobs: list[dict[str, object]]
) -> list[tuple[int, str]]:
    """Run all commands in one process, and log what it and its children do."""
    (tmp_path / "scratch").mkdir()
    told = programs.run(
        *("strace", "-f", "-qq", "-y", "-s", "4096"),
        *("-o", str(tmp_path / "strace"), "-e", f"trace={_CALLS}"),
        *(sys.executable, "-c", _DRIVER),
        stdin="".join(f"{json.dumps(job)}\n" for job in jobs),
        cwd=tmp_path,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path / "scratch"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    return [tuple(json.loads(line)) for line in told.splitlines()]


def _calls(log: Path) -> dict[str, list[tuple[str, str]]]:
    """The successful calls of each case that change files, or run one."""
    calls: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        call, words = match["call"], match["words"]
        paths = [
            os.path.normpath(
                os.path.join(found["folder"] or "", found["path"])
            )
            for found in _PATH.finditer(words)
        ]
        if call.endswith(("access", "access2")):
            if paths[:1] and paths[0].startswith("/case/"):
                name = paths[0].removeprefix("/case/")
                calls[name] = []
            continue
        if not name or re.search(r"\) += -1 ", words):
            continue
        if call.startswith("open") and not _WRITES.search(words):
            continue
        if call == "execve":
            paths = paths[:1]
        calls[name] += [
            (call, path)
            for path in paths
            if not path.startswith(("/dev/", "/proc/"))
        ]
    return calls
