"""The part of the conformance suite that is about a plan's history."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.plans import base
from imageprep_client.plans.history import path
from imageprep_client.plans.stored import Plan
from imageprep_client.testing.plans.host import (
    FILES,
    PlanHost,
    Watched,
    make,
    minimal,
)

#: The command's header for `stored.Plan.write_parameters`.
HEADER = ("Generated on {}T00:00:00+00:00 by:", "openstack image-prepare {}")


def write(plan: Plan, day: str, word: str, **images: Any) -> base.Written:
    """Write parameters with the header that a command has."""
    header = [HEADER[0].format(day), HEADER[1].format(word)]
    return plan.write_parameters(images, header)


def present(host: PlanHost) -> dict[str, Any]:
    """The parameters that the plan has."""
    data = yaml.safe_load(host.read(base.PARAMETERS) or "")
    found: dict[str, Any] = data["parameter_defaults"]
    return found


class HistorySuite:
    """The contract of `plans.base` about earlier parameters.

    `suite.PlanSuite` has these tests, too, and says how it is used.
    """

    def test_no_history(self, host: PlanHost) -> None:
        """A plan that was never prepared has none."""
        plan = make(host, FILES)

        assert not plan.history()
        with pytest.raises(errors.PlanError, match="no earlier parameters"):
            plan.restore(None, [])

    def test_old_files_are_not_read(self, host: PlanHost) -> None:
        """However many files others leave there, the newest are read."""
        host.keep(
            {
                **minimal(),
                **{path(number): "a: b" for number in range(1, 60)},
                base.PARAMETERS: "parameter_defaults: {}",
            }
        )
        reads: list[str] = []
        watched = Watched(host.open(), lambda _, name: reads.append(name))
        Plan(watched, 3).history()

        expected = [path(number) for number in (56, 57, 58, 59)]
        assert [name for name in reads if "history" in name] == expected

    def test_many_values_in_the_history(self, host: PlanHost) -> None:
        """Kept files have a bound together; the rest is told as broken."""
        row = ", ".join(["x"] * 1000)
        bomb = (
            f"parameter_defaults: {{a: &a [{row}],"
            f" b: [{', '.join(['*a'] * 150)}]}}"
        )
        host.keep({**minimal(), path(1): bomb, path(2): bomb})
        newest, oldest = Plan(host.open()).history()

        assert not oldest.problem
        assert "is too large" in newest.problem

    def test_long_header(self, host: PlanHost) -> None:
        """Empty lines at the top take no time and no memory."""
        text = "\n" * 1_000_000 + "parameter_defaults: {A: x}\n"
        plan = make(host, {**minimal(), base.PARAMETERS: text})

        (revision,) = plan.history()
        assert revision.number == 1

    def test_history_of_what_is_no_plan(self, host: PlanHost) -> None:
        """A directory that is no plan has no history either."""
        plan = make(host, {base.ROLES: "[]"})

        with pytest.raises(errors.PlanError, match="is no deployment plan"):
            plan.history()
        with pytest.raises(errors.PlanError, match="is no deployment plan"):
            plan.restore(None, [])

    def test_history(self, host: PlanHost) -> None:
        """Each write has its number, time, command line and changes."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run 1", ContainerXImage="r/x:1")
        write(
            plan,
            "2020-01-02",
            "run 2",
            ContainerXImage="r/x:2",
            ContainerYImage="r/y:2",
        )
        write(plan, "2020-01-03", "run 3", ContainerXImage="r/x:2")

        assert plan.history() == [
            base.Revision(
                3,
                True,
                "2020-01-03T00:00:00+00:00",
                "openstack image-prepare run 3",
                [base.ParameterChange("ContainerYImage", "r/y:2", "")],
            ),
            base.Revision(
                2,
                False,
                "2020-01-02T00:00:00+00:00",
                "openstack image-prepare run 2",
                [
                    base.ParameterChange("ContainerXImage", "r/x:1", "r/x:2"),
                    base.ParameterChange("ContainerYImage", "", "r/y:2"),
                ],
            ),
            base.Revision(
                1,
                False,
                "2020-01-01T00:00:00+00:00",
                "openstack image-prepare run 1",
                [base.ParameterChange("ContainerXImage", "", "r/x:1")],
            ),
        ]

    def test_write_tells_its_changes(self, host: PlanHost) -> None:
        """They are those that the history has."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")
        written = write(plan, "2020-01-02", "run", ContainerXImage="r/x:2")

        change = base.ParameterChange("ContainerXImage", "r/x:1", "r/x:2")
        assert written == base.Written(True, [change])

    def test_equal_parameters(self, host: PlanHost) -> None:
        """They change nothing, whatever the header: no byte, no number."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")
        paths = [*FILES, base.PARAMETERS]
        before = {each: host.read(each) for each in paths}
        written = write(plan, "2020-01-02", "other", ContainerXImage="r/x:1")

        assert written == base.Written(False)
        assert {each: host.read(each) for each in paths} == before
        assert [each.number for each in plan.history()] == [1]

    @pytest.mark.parametrize("value", [1, True, 1.0, ["1"], None, "1 "])
    def test_other_type_is_a_change(
        self, host: PlanHost, value: object
    ) -> None:
        """A number is no text, and true is not 1."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", Port="1")

        assert write(plan, "2020-01-01", "run", Port=value).changed
        assert present(host) == {"Port": value}

    def test_unlisted_parameters(self, host: PlanHost) -> None:
        """Parameters that only have to be listed make no revision."""
        text = "parameter_defaults:\n  ContainerXImage: r/x:1\n"
        plan = make(host, {**FILES, base.PARAMETERS: text})

        written = write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")
        assert written == base.Written(True)
        assert host.read(base.PARAMETERS) == text
        assert [each.number for each in plan.history()] == [1]

    def test_parameters_of_somebody_else(self, host: PlanHost) -> None:
        """The first write keeps what was there, byte for byte."""
        text = "# by hand\nparameter_defaults: {ContainerXImage: 'r/x:0'}\n"
        plan = make(host, {**FILES, base.PARAMETERS: text})
        write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")

        newest, oldest = plan.history()
        change = base.ParameterChange("ContainerXImage", "r/x:0", "r/x:1")
        assert newest.changes == [change]
        assert (oldest.time, oldest.command) == ("", "")
        assert host.read(path(1)) == text

    def test_values_that_are_no_images(self, host: PlanHost) -> None:
        """They may be secrets: that they changed is told, and no more."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", Pin="canary", ContainerXImage="")
        written = write(
            plan,
            "2020-01-02",
            "run",
            Pin="canary2",
            DockerInsecureRegistryAddress=["a:1"],
            ContainerXImage=None,
        )
        assert written.changes == [
            base.ParameterChange("ContainerXImage", '""', "null"),
            base.ParameterChange(
                "DockerInsecureRegistryAddress", "", '["a:1"]'
            ),
            base.ParameterChange("Pin", "***", "***"),
        ]
        assert "canary" not in repr(plan.history())

    def test_bound(self, host: PlanHost) -> None:
        """The oldest go; what the oldest that is left changed is known."""
        plan = make(host, FILES, kept=3)
        for number in range(1, 8):
            write(plan, "2020-01-01", "run", ContainerXImage=f"r/x:{number}")

        found = plan.history()
        assert [each.number for each in found] == [7, 6, 5, 4]
        assert found[-1].changes == [
            base.ParameterChange("ContainerXImage", "r/x:3", "r/x:4")
        ]
        assert host.read(path(2)) is None
        with pytest.raises(errors.PlanError, match="no number 3 in the") as e:
            plan.restore(3, [])
        assert e.value.hint == "the numbers there are: 4, 5, 6, 7"

    def test_ten_are_kept(self, host: PlanHost) -> None:
        """Unless another number is asked for."""
        plan = make(host, FILES)
        for number in range(12):
            write(plan, "2020-01-01", "run", ContainerXImage=f"r/x:{number}")

        kept = [each for each in plan.history() if not each.present]
        assert len(kept) == 10

    def test_history_is_no_environment(self, host: PlanHost) -> None:
        """Nothing of it is in what the plan says."""
        plan = make(host, minimal())
        write(plan, "2020-01-01", "run", A="1")
        write(plan, "2020-01-02", "run", A="2")

        ((_, data),) = plan.read().environments
        assert data == {"parameter_defaults": {"A": "2"}}

    # Restoring

    def test_restore(self, host: PlanHost) -> None:
        """By default it is the one before the present."""
        plan = make(host, FILES)
        for number in (1, 2, 3):
            write(plan, "2020-01-01", "run", ContainerXImage=f"r/x:{number}")
        revision, written = plan.restore(None, ["restored"])

        assert revision.number == 2
        change = base.ParameterChange("ContainerXImage", "r/x:3", "r/x:2")
        assert written == base.Written(True, [change])
        assert present(host) == {"ContainerXImage": "r/x:2"}

    def test_restore_is_a_revision(self, host: PlanHost) -> None:
        """It has the header of who restored, and can be undone."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")
        write(plan, "2020-01-02", "run", ContainerXImage="r/x:2")
        plan.restore(1, ["on 2020-01-03T00:00:00Z", "openstack restore"])

        newest = plan.history()[0]
        assert newest == base.Revision(
            3,
            True,
            "2020-01-03T00:00:00Z",
            "openstack restore",
            [base.ParameterChange("ContainerXImage", "r/x:2", "r/x:1")],
        )
        plan.restore(None, [])
        assert present(host) == {"ContainerXImage": "r/x:2"}

    def test_restore_of_deleted_parameters(self, host: PlanHost) -> None:
        """A file that somebody has deleted is restored from the history."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", A="1")
        write(plan, "2020-01-02", "run", A="2")
        host.open().delete(base.PARAMETERS)
        assert [each.present for each in plan.history()] == [False]
        plan.restore(None, [])

        assert present(host) == {"A": "1"}
        assert [each.number for each in plan.history()] == [2, 1]

    def test_restore_of_what_is_there(self, host: PlanHost) -> None:
        """The present parameters need not be restored."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", A="1")
        write(plan, "2020-01-02", "run", A="2")
        _, written = plan.restore(2, [])

        assert written == base.Written(False)
        assert [each.number for each in plan.history()] == [2, 1]

    def test_restore_keeps_what_heat_reads(self, host: PlanHost) -> None:
        """Of a file of somebody else only the first comments go."""
        text = "# by hand\n\nresource_registry: {a: b}\nparameter_defaults:\n"
        text += "  # why\n  A: 1\n"
        plan = make(host, {**FILES, base.PARAMETERS: text})
        write(plan, "2020-01-01", "run", A="1")
        plan.restore(None, ["again"])

        assert host.read(base.PARAMETERS) == text.replace("by hand", "again")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: [b", "invalid YAML"),
            ("- x", "expected a mapping"),
            ("parameter_defaults: [x]", "expected a mapping"),
        ],
    )
    def test_broken_revision(
        self, host: PlanHost, text: str, problem: str
    ) -> None:
        """It is reported, it is not restored, and all else goes on."""
        plan = make(host, FILES)
        write(plan, "2020-01-01", "run", A="1")
        write(plan, "2020-01-02", "run", A="2")
        files = host.open()
        files.write(path(1), text.encode(), replaces=files.read(path(1)))
        newest, oldest = plan.history()

        assert problem in oldest.problem
        assert oldest.changes is None
        assert newest.changes is None
        with pytest.raises(
            errors.PlanError, match=rf"number 1 .* restored: .*{problem}"
        ):
            plan.restore(None, [])
        assert write(plan, "2020-01-03", "run", A="3").changed
        assert plan.history()[0].changes

    def test_broken_parameters(self, host: PlanHost) -> None:
        """Parameters that are no YAML are kept and replaced."""
        plan = make(host, {**FILES, base.PARAMETERS: "a: [b"})
        written = write(plan, "2020-01-01", "run", ContainerXImage="r/x:1")

        assert written.changes == [
            base.ParameterChange("ContainerXImage", "", "r/x:1")
        ]
        assert host.read(path(1)) == "a: [b"

    def test_other_files_in_the_history(self, host: PlanHost) -> None:
        """Files that image preparation did not make are left alone."""
        stray = {
            f"{base.HISTORY}/{name}": "x"
            for name in ("README", "1.yaml", "00005.yaml", "0000.yaml")
        }
        plan = make(host, {**FILES, **stray}, kept=1)
        for number in range(4):
            write(plan, "2020-01-01", "run", A=str(number))

        assert [each.number for each in plan.history()] == [4, 3]
        assert {each: host.read(each) for each in stray} == stray

    def test_writers_at_once_keep_all(self, host: PlanHost) -> None:
        """Every write is in the history, once."""
        make(host, FILES)

        def one(number: int) -> None:
            plan = Plan(host.open(), kept=20)
            write(plan, "2020-01-01", "run", ContainerXImage=f"r/x:{number}")

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(one, number) for number in range(12)]:
                done.result(timeout=60)
        found = Plan(host.open(), kept=20).history()
        assert [each.number for each in found] == [*range(12, 0, -1)]
        news = [change.new for each in found for change in each.changes or ()]
        assert sorted(news) == sorted(f"r/x:{n}" for n in range(12))
