"""The part of the conformance suite that is about others, and failures."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.plans import base
from imageprep_client.plans.files import PlanFile, PlanFiles
from imageprep_client.plans.history import path
from imageprep_client.plans.stored import ATTEMPTS, Plan
from imageprep_client.testing.plans.host import (
    FILES,
    PlanHost,
    Watched,
    add_environment,
    listed,
    make,
    minimal,
    replace,
)

_PAIRS = 50


def _interfering(
    host: PlanHost, step: str, of: str, do: Callable[[PlanFiles], None]
) -> Plan:
    """A plan in which somebody does something before the first such step.

    Who does it takes no lock.
    """
    others = host.open()
    done: list[bool] = []

    def before(operation: str, name: str) -> None:
        if (operation, name) == (step, of) and not done:
            done.append(True)
            do(others)

    return Plan(Watched(host.open(), before))


def _append(files: PlanFiles, name: str) -> None:
    """List a file as somebody does who takes no lock."""
    stored = files.read(base.PLAN_ENVIRONMENT)
    assert stored
    plan = yaml.safe_load(stored.content)
    plan["environments"] = [*(plan.get("environments") or []), {"path": name}]
    files.write(
        base.PLAN_ENVIRONMENT, yaml.safe_dump(plan).encode(), replaces=stored
    )


class ConflictSuite:
    """The contract of `plans.files` and `plans.base` when others write, too.

    `suite.PlanSuite` has these tests, too, and says how it is used.
    """

    # Files

    def test_file_is_stored(self, host: PlanHost) -> None:
        """Content is read as it was written, whatever bytes it has."""
        host.keep(FILES)
        files = host.open()
        content = bytes(range(256))
        files.write("a/b/c", content, replaces=None)

        stored = files.read("a/b/c")
        assert stored is not None
        assert stored.content == content

    def test_version(self, host: PlanHost) -> None:
        """It differs when the content does, and else stays."""
        host.keep(FILES)
        files = host.open()
        first, again = files.read(base.ROLES), files.read(base.ROLES)
        replace(files, base.ROLES, "[]")
        second = files.read(base.ROLES)

        assert first is not None
        assert second is not None
        assert first == again
        assert first.version != second.version

    def test_many_files(self, host: PlanHost) -> None:
        """Each is as it is alone; one that is absent is None."""
        host.keep(FILES)
        files = host.open()
        found = files.read_many([*FILES, "absent", base.ROLES])

        assert found == {each: files.read(each) for each in [*FILES, "absent"]}
        assert found["absent"] is None

    def test_stale_write(self, host: PlanHost) -> None:
        """A file that changed since it was read is not replaced."""
        host.keep(FILES)
        files, others = host.open(), host.open()
        stale = files.read(base.ROLES)
        replace(others, base.ROLES, "[theirs]")

        with pytest.raises(errors.PlanConflict):
            files.write(base.ROLES, b"mine", replaces=stale)
        assert host.read(base.ROLES) == "[theirs]"

    def test_new_file_that_is_there(self, host: PlanHost) -> None:
        """A file that should be new does not replace anything."""
        host.keep(FILES)

        with pytest.raises(errors.PlanConflict):
            host.open().write(base.ROLES, b"mine", replaces=None)
        assert host.read(base.ROLES) == FILES[base.ROLES]

    def test_file_that_is_gone(self, host: PlanHost) -> None:
        """A file that somebody has deleted does not come back."""
        host.keep(FILES)
        files = host.open()
        stale = files.read(base.ROLES)
        host.open().delete(base.ROLES)

        with pytest.raises(errors.PlanConflict):
            files.write(base.ROLES, b"mine", replaces=stale)
        assert host.read(base.ROLES) is None

    def test_delete(self, host: PlanHost) -> None:
        """A file is deleted; one that is absent is no error."""
        host.keep(FILES)
        files = host.open()
        files.delete(base.ROLES)
        files.delete(base.ROLES)
        files.delete("no/such/folder")

        assert files.read(base.ROLES) is None

    def test_names(self, host: PlanHost) -> None:
        """Those of the files directly in a folder."""
        host.keep({**FILES, "a/1": "", "a/2": "", "a/b/3": "", "ab/4": ""})

        assert sorted(host.open().names("a")) == ["a/1", "a/2"]
        assert not list(host.open().names("absent"))

    # Others

    @pytest.mark.parametrize("files", [FILES, minimal()])
    @pytest.mark.parametrize(
        ("step", "of"),
        [
            ("read", base.PLAN_ENVIRONMENT),
            ("write", base.PARAMETERS),
            ("read", base.PARAMETERS),
            ("write", base.PLAN_ENVIRONMENT),
        ],
    )
    def test_somebody_lists_a_file(
        self, host: PlanHost, files: dict[str, str], step: str, of: str
    ) -> None:
        """At whatever moment: the plan lists theirs and ours."""
        make(host, files)
        plan = _interfering(host, step, of, lambda f: _append(f, "theirs"))
        before = listed(host)
        plan.write_parameters({"A": "1"}, [])

        assert sorted(listed(host)) == sorted(
            [*before, base.PARAMETERS, "theirs"]
        )

    def test_our_entry_is_lost(self, host: PlanHost) -> None:
        """A writer over our list is noticed; ours is there again."""
        host.keep(FILES)
        others = host.open()
        steps: list[str] = []

        def before(operation: str, name: str) -> None:
            if name == base.PLAN_ENVIRONMENT:
                steps.append(operation)
                if steps.count("write") == 1 and operation == "read":
                    replace(others, name, FILES[name] + "theirs: 1\n")

        plan = Plan(Watched(host.open(), before))
        plan.write_parameters({"A": "1"}, [])

        text = host.read(base.PLAN_ENVIRONMENT) or ""
        assert base.PARAMETERS in listed(host)
        assert yaml.safe_load(text)["theirs"] == 1

    def test_somebody_writes_parameters(self, host: PlanHost) -> None:
        """Theirs are kept in the history, and then replaced."""
        make(host, {**FILES, base.PARAMETERS: "first: 1"})
        plan = _interfering(
            host,
            "write",
            base.PARAMETERS,
            lambda files: replace(files, base.PARAMETERS, "theirs: 1"),
        )
        plan.write_parameters({"A": "1"}, [])

        assert "A: '1'" in (host.read(base.PARAMETERS) or "")
        kept = [host.read(path(number)) for number in (1, 2)]
        assert kept == ["first: 1", "theirs: 1"]

    def test_somebody_takes_the_number(self, host: PlanHost) -> None:
        """The history has theirs and ours."""
        make(host, {**FILES, base.PARAMETERS: "first: 1"})
        plan = _interfering(
            host,
            "write",
            path(1),
            lambda files: replace(files, path(1), "theirs: 1"),
        )
        plan.write_parameters({"A": "1"}, [])

        kept = [host.read(path(number)) for number in (1, 2)]
        assert kept == ["theirs: 1", "first: 1"]

    def test_somebody_keeps_the_same(self, host: PlanHost) -> None:
        """Content that two writers are about to replace is kept once."""
        make(host, {**FILES, base.PARAMETERS: "first: 1"})
        plan = _interfering(
            host,
            "write",
            path(1),
            lambda files: replace(files, path(1), "first: 1"),
        )
        plan.write_parameters({"A": "1"}, [])

        assert [each.number for each in plan.history()] == [2, 1]

    def test_somebody_takes_all_numbers(self, host: PlanHost) -> None:
        """It is an error then; the plan is the old one."""
        make(host, {**FILES, base.PARAMETERS: "first: 1"})
        others = host.open()

        def before(operation: str, name: str) -> None:
            if operation == "write" and name.startswith(base.HISTORY):
                replace(others, name, "theirs: 1")

        with pytest.raises(errors.PlanConflict, match=base.HISTORY):
            Plan(Watched(host.open(), before)).write_parameters({}, [])
        assert host.read(base.PARAMETERS) == "first: 1"

    @pytest.mark.parametrize("of", [base.PARAMETERS, base.PLAN_ENVIRONMENT])
    def test_somebody_does_not_stop(self, host: PlanHost, of: str) -> None:
        """After some attempts it is an error; theirs is there."""
        make(host, {**FILES, base.PARAMETERS: "x: 0"})
        others = host.open()
        times: list[int] = []

        def before(operation: str, name: str) -> None:
            if (operation, name) == ("write", of):
                times.append(1)
                text = host.read(of) or ""
                replace(others, of, f"{text}\n# {len(times)}")

        with pytest.raises(errors.PlanConflict, match=of) as caught:
            Plan(Watched(host.open(), before)).write_parameters({}, [])
        assert caught.value.hint
        assert len(times) == ATTEMPTS
        assert (host.read(of) or "").endswith(f"# {ATTEMPTS}")

    def test_a_hundred_writers_in_pairs(self, host: PlanHost) -> None:
        """Two writers at once, again and again: no entry is ever lost."""
        host.keep(FILES)
        before = listed(host)
        barrier = threading.Barrier(2, timeout=60)

        def one(side: str) -> None:
            for number in range(_PAIRS):
                files = host.open()
                barrier.wait()
                assert add_environment(files, f"environments/{number}{side}")

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(one, side) for side in "ab"]:
                done.result(timeout=120)
        new = [f"environments/{n}{s}" for n in range(_PAIRS) for s in "ab"]
        assert sorted(listed(host)) == sorted([*before, *new])

    # Failures

    @pytest.mark.parametrize(
        "of", [path(1), base.PARAMETERS, base.PLAN_ENVIRONMENT]
    )
    def test_failure_at_a_write(self, host: PlanHost, of: str) -> None:
        """The plan is the old one; a repetition does what was not done."""
        text = "parameter_defaults:\n  A: '0'\n"
        plan = make(host, {**FILES, base.PARAMETERS: text})
        before = plan.read()

        def fail(files: PlanFiles) -> None:
            raise errors.PlanError("the line is cut")

        with pytest.raises(errors.PlanError, match="the line is cut"):
            _interfering(host, "write", of, fail).write_parameters(
                {"A": "1"}, []
            )
        assert plan.read() == before
        assert plan.write_parameters({"A": "1"}, []).changed
        assert listed(host).count(base.PARAMETERS) == 1
        assert "A: '1'" in (host.read(base.PARAMETERS) or "")
        assert host.read(path(1)) == text
        assert [each.number for each in plan.history()] == [2, 1]

    def test_failure_with_listed_parameters(self, host: PlanHost) -> None:
        """The plan has the old parameters or the new ones."""
        plan = make(host, FILES)
        plan.write_parameters({"A": "1"}, [])

        def fail(files: PlanFiles) -> None:
            raise errors.PlanError("the line is cut")

        with pytest.raises(errors.PlanError, match="the line is cut"):
            _interfering(host, "write", path(1), fail).write_parameters(
                {"A": "2"}, []
            )
        (_, data) = plan.read().environments[4]
        assert data == {"parameter_defaults": {"A": "1"}}

    def test_other_content_than_written(self, host: PlanHost) -> None:
        """A store that does not keep what it is given is found out."""
        make(host, FILES)

        class Broken(Watched):
            def write(
                self, path: str, content: bytes, *, replaces: PlanFile | None
            ) -> None:
                super().write(path, content[:-4], replaces=replaces)

        broken = Broken(host.open(), lambda *_: None)
        with pytest.raises(errors.PlanConflict, match=base.PARAMETERS):
            Plan(broken).write_parameters({"A": "1"}, [])
        assert base.PARAMETERS not in listed(host)
