"""The conformance suite: what every plan must do, told as tests.

A plan is a `Plan` over files that are kept somewhere, a `PlanFiles`. A
test module subclasses `PlanSuite` and gives a fixture ``host``, which keeps
the files of a plan and shows what they are later::

    class TestMine(suite.PlanSuite):
        @pytest.fixture
        def host(self, tmp_path):
            return MyHost(tmp_path)
"""

from __future__ import annotations

import concurrent.futures
import traceback
from typing import Any

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.plans import base, content
from imageprep_client.plans.stored import Plan
from imageprep_client.testing.plans.conflicts import ConflictSuite
from imageprep_client.testing.plans.history import HistorySuite
from imageprep_client.testing.plans.host import (
    FILES,
    PlanHost,
    Watched,
    make,
    minimal,
)

__all__ = ["FILES", "PlanHost", "PlanSuite", "make", "minimal"]


class PlanSuite(HistorySuite, ConflictSuite):
    """The contract of `plans.base`; the module says how to use it."""

    # Reading

    def test_environments_in_merge_order(self, host: PlanHost) -> None:
        """Those listed, then what the plan itself sets."""
        content = make(host, FILES).read()

        assert [data for _, data in content.environments] == [
            {"resource_registry": {"a": "b"}},
            {"parameter_defaults": {"Inline": 1}},
            {"parameter_defaults": {"Site": 3}},
            {"parameter_defaults": {"User": 5}},
            {"parameter_defaults": {"Secret": "word"}},
            {"parameter_defaults": {"Derived": 2}},
            {"parameter_defaults": {"Own": "ü"}},
            {"resource_registry": {"OS::TripleO::Services::X": "none.yaml"}},
        ]

    def test_environments_have_names(self, host: PlanHost) -> None:
        """Each is named after the plan and the file that it comes from."""
        plan = make(host, FILES)

        names = [name for name, _ in plan.read().environments]
        main = f"{plan.name}/plan-environment.yaml"
        assert names[1:3] == [
            f"{main}: environments[1].data",
            f"{plan.name}/environments/site.yaml",
        ]
        assert names[4:] == [
            f"{main} (passwords)",
            f"{main} (derived_parameters)",
            main,
            main,
        ]

    def test_roles(self, host: PlanHost) -> None:
        """The roles data is parsed, not checked."""
        assert make(host, FILES).read().roles == [{"name": "Compute"}]

    def test_no_roles(self, host: PlanHost) -> None:
        """A plan need not have roles."""
        assert make(host, minimal()).read().roles is None

    @pytest.mark.parametrize("value", [None, [], {}])
    def test_empty_sections(self, host: PlanHost, value: object) -> None:
        """Sections may be absent or empty."""
        sections = {
            "environments": value or None,
            "passwords": value or None,
            "resource_registry": value or None,
        }

        assert not make(host, minimal(**sections)).read().environments

    def test_content_is_not_shown(self, host: PlanHost) -> None:
        """Passwords do not get into a log by way of repr."""
        assert "word" not in repr(make(host, FILES).read())

    def test_paths_are_normalised(self, host: PlanHost) -> None:
        """A path may be written in a roundabout way within the plan."""
        listed = [{"path": "./environments/../environments//x.yaml"}]
        files = {**minimal(environments=listed), "environments/x.yaml": "a: b"}

        ((_, data),) = make(host, files).read().environments
        assert data == {"a": "b"}

    def test_written_parameters_may_be_absent(self, host: PlanHost) -> None:
        """They are about to be written again."""
        listed = [{"path": base.PARAMETERS}]

        assert not make(host, minimal(environments=listed)).read().environments

    # What is no plan

    def test_not_a_plan(self, host: PlanHost) -> None:
        """Files without a plan environment are no plan."""
        plan = make(host, {"roles_data.yaml": "[]"})

        with pytest.raises(errors.PlanError, match="is no deployment plan"):
            plan.read()
        with pytest.raises(errors.PlanError, match="is no deployment plan"):
            plan.write_parameters({}, [])
        assert host.read(base.PARAMETERS) is None

    def test_missing_environment(self, host: PlanHost) -> None:
        """The error names the place in the list and the file."""
        plan = make(host, minimal(environments=[{"path": "gone.yaml"}]))

        with pytest.raises(
            errors.PlanError, match=r"environments\[0\]\.path: .*gone\.yaml"
        ):
            plan.read()

    @pytest.mark.parametrize(
        "path",
        ["../x.yaml", "/etc/passwd", "a/../../x.yaml", "..", "//x", "a/../.."],
    )
    def test_path_out_of_the_plan(self, host: PlanHost, path: str) -> None:
        """No path leads out of the plan, whether a file is there or not."""
        plan = make(host, minimal(environments=[{"path": path}]))

        with pytest.raises(errors.PlanError, match="not inside of the plan"):
            plan.read()

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("x.yaml", "expected one of path and data"),
            ({}, "expected one of path and data"),
            ({"file": "x.yaml"}, "expected one of path and data"),
            ({"path": "a", "data": {}}, "expected one of path and data"),
            ({"path": None}, "expected the path of a file"),
            ({"path": ""}, "expected the path of a file"),
            ({"path": "a\0b"}, "expected the path of a file"),
            ({"path": ["a"]}, "expected the path of a file"),
        ],
    )
    def test_malformed_entry(
        self, host: PlanHost, entry: object, problem: str
    ) -> None:
        """An entry is a path or inline data."""
        plan = make(host, minimal(environments=[{"data": {}}, entry]))

        with pytest.raises(
            errors.PlanError, match=rf"environments\[1\].*: {problem}"
        ):
            plan.read()

    @pytest.mark.parametrize(
        ("sections", "problem"),
        [
            ({"environments": {"path": "x"}}, "environments: expected a list"),
            ({"passwords": ["x"]}, "passwords: expected a mapping"),
            ({"resource_registry": "x"}, "registry: expected a mapping"),
        ],
    )
    def test_malformed_section(
        self, host: PlanHost, sections: dict[str, Any], problem: str
    ) -> None:
        """The error names the section."""
        with pytest.raises(errors.PlanError, match=problem):
            make(host, minimal(**sections)).read()

    @pytest.mark.parametrize("text", ["", "[]", "text"])
    def test_plan_environment_is_a_mapping(
        self, host: PlanHost, text: str
    ) -> None:
        """Anything else is no plan environment."""
        plan = make(host, {base.PLAN_ENVIRONMENT: text})

        with pytest.raises(errors.PlanError, match="expected a mapping"):
            plan.read()

    @pytest.mark.parametrize(
        "path", [base.PLAN_ENVIRONMENT, base.ROLES, "environments/site.yaml"]
    )
    def test_invalid_yaml(self, host: PlanHost, path: str) -> None:
        """The error names the file."""
        plan = make(host, {**FILES, path: "a: [b"})

        with pytest.raises(errors.PlanError, match=f"{path}: invalid YAML"):
            plan.read()

    # Bounds

    def test_too_many_environments(self, host: PlanHost) -> None:
        """A plan that lists more files than any real one is not read."""
        listed = [{"path": "a.yaml"}] * (content.MAX_ENVIRONMENTS + 1)
        plan = make(host, {**minimal(environments=listed), "a.yaml": ""})

        with pytest.raises(errors.PlanError, match="environments: 1001 ent"):
            plan.read()

    def test_large_files_together(self, host: PlanHost) -> None:
        """Files that are small enough one by one are bounded in sum."""
        names = [f"{number}.yaml" for number in range(5)]
        listed = [{"path": name} for name in names]
        large = "#" * document.MAX_SIZE
        plan = make(
            host,
            {**minimal(environments=listed), **dict.fromkeys(names, large)},
        )

        with pytest.raises(errors.PlanError, match="bytes together"):
            plan.read()

    def test_many_values_together(self, host: PlanHost) -> None:
        """Aliases of several files do not multiply without bound."""
        row = ", ".join(["x"] * 1000)
        bomb = f"a: &a [{row}]\nb: [{', '.join(['*a'] * 150)}]\n"
        listed = [{"path": "a.yaml"}, {"path": "b.yaml"}]
        files = {"a.yaml": bomb, "b.yaml": bomb}
        plan = make(host, {**minimal(environments=listed), **files})

        with pytest.raises(errors.PlanError, match=r"b\.yaml: is too large"):
            plan.read()

    def test_file_that_is_listed_often(self, host: PlanHost) -> None:
        """A file counts once, however often it is listed."""
        bomb = "parameter_defaults: {a: [" + "x, " * 150_000 + "]}"
        listed = [{"path": "a.yaml"}] * 5
        plan = make(host, {**minimal(environments=listed), "a.yaml": bomb})

        first, *others = [data for _, data in plan.read().environments]
        assert all(data is first for data in others)

    @pytest.mark.parametrize("value", ["!canary", "!!int canary", "*canary"])
    def test_causes_have_no_values(self, host: PlanHost, value: str) -> None:
        """A password that YAML takes for a tag is in no cause, either."""
        text = f"passwords: {{A: {value}}}"
        plan = make(host, {base.PLAN_ENVIRONMENT: text})

        with pytest.raises(errors.PlanError) as caught:
            plan.read()
        shown = "".join(traceback.format_exception(caught.value))
        assert "canary" not in shown

    # Writing

    def test_written_parameters_are_read(self, host: PlanHost) -> None:
        """Parameters come back as the last listed environment."""
        plan = make(host, FILES)
        plan.write_parameters({"ContainerXImage": "r/x:1"}, ["header"])

        (_, data) = plan.read().environments[4]
        assert data == {"parameter_defaults": {"ContainerXImage": "r/x:1"}}
        text = host.read(base.PARAMETERS)
        assert text is not None
        assert text.startswith("# header\n")

    def test_parameters_are_replaced(self, host: PlanHost) -> None:
        """Those of an earlier run are gone."""
        plan = make(host, FILES)
        plan.write_parameters({"Old": "1"}, [])
        plan.write_parameters({"New": "2"}, [])

        text = host.read(base.PARAMETERS)
        assert yaml.safe_load(text or "") == {
            "parameter_defaults": {"New": "2"}
        }

    def test_plan_keeps_its_content(self, host: PlanHost) -> None:
        """The file is appended to the list; all else is as it was."""
        plan = make(host, FILES)
        plan.write_parameters({}, [])

        before = yaml.safe_load(FILES[base.PLAN_ENVIRONMENT])
        after = yaml.safe_load(host.read(base.PLAN_ENVIRONMENT) or "")
        assert list(after) == list(before)
        before["environments"].append({"path": base.PARAMETERS})
        assert after == before

    def test_other_files_stay(self, host: PlanHost) -> None:
        """Only two files are ever written."""
        make(host, FILES).write_parameters({}, [])

        for path in set(FILES) - {base.PLAN_ENVIRONMENT}:
            assert host.read(path) == FILES[path]

    def test_values_keep_their_types(self, host: PlanHost) -> None:
        """Strings that look like other types stay strings."""
        values = {"a": "1", "b": "yes", "c": "2020-01-01", "d": "", "e": None}
        values |= {"f": "x: y\n  z\n", "g": "!x", "h": "0o10"}
        plan = make(host, minimal(parameter_defaults=values))
        plan.write_parameters({}, [])

        ((_, data),) = plan.read().environments[1:]
        assert data == {"parameter_defaults": values}

    @pytest.mark.parametrize("environments", [None, []])
    def test_plan_without_environments(
        self, host: PlanHost, environments: object
    ) -> None:
        """The list is made when there is none."""
        plan = make(host, minimal(environments=environments))
        plan.write_parameters({}, [])

        after = yaml.safe_load(host.read(base.PLAN_ENVIRONMENT) or "")
        assert after["environments"] == [{"path": base.PARAMETERS}]

    @pytest.mark.parametrize("path", [base.PARAMETERS, f"./{base.PARAMETERS}"])
    def test_file_that_is_listed(self, host: PlanHost, path: str) -> None:
        """It is not listed again: not a byte of the plan changes."""
        text = f"# mine\nname: x\nenvironments: [{{path: {path}}}]\n"
        plan = make(host, {base.PLAN_ENVIRONMENT: text})
        plan.write_parameters({}, [])

        assert host.read(base.PLAN_ENVIRONMENT) == text
        assert host.read(base.PARAMETERS) is not None

    def test_all_absent_environments(self, host: PlanHost) -> None:
        """The error names each of them, not only the first."""
        entries = [{"path": "gone"}, {"data": {}}, {"path": "lost"}]
        plan = make(host, minimal(environments=entries))

        with pytest.raises(
            errors.PlanError, match=r"\[0\]\.path: .*gone; .*\[2\].*lost"
        ):
            plan.read()

    def test_each_file_is_read_once(self, host: PlanHost) -> None:
        """Also one that is listed twice, and in two ways."""
        entries = [{"path": "a"}, {"path": "./a"}, {"path": "b"}]
        host.keep({**minimal(environments=entries), "a": "", "b": ""})
        reads: list[str] = []
        plan = Plan(Watched(host.open(), lambda _, n: reads.append(n)))
        plan.read()

        assert reads[0] == base.PLAN_ENVIRONMENT
        assert sorted(set(reads[1:])) == ["a", "b", base.ROLES]

    def test_listed_once(self, host: PlanHost) -> None:
        """Writing again changes only the parameters."""
        plan = make(host, FILES)
        plan.write_parameters({"A": "1"}, [])
        first = host.read(base.PLAN_ENVIRONMENT)
        plan.write_parameters({"A": "2"}, [])

        assert host.read(base.PLAN_ENVIRONMENT) == first

    def test_check_writes_nothing(self, host: PlanHost) -> None:
        """To find out whether it can be written changes nothing."""
        plan = make(host, FILES)
        plan.check_writable()

        assert {path: host.read(path) for path in FILES} == FILES
        assert host.read(base.PARAMETERS) is None

    def test_broken_plan_is_not_writable(self, host: PlanHost) -> None:
        """A plan that could not be read is found out before."""
        plan = make(host, minimal(environments="x"))

        with pytest.raises(errors.PlanError):
            plan.check_writable()

    def test_broken_plan_is_not_written(self, host: PlanHost) -> None:
        """Nothing is written to what could not be read."""
        plan = make(host, minimal(environments="x"))

        with pytest.raises(errors.PlanError):
            plan.write_parameters({}, [])
        assert host.read(base.PARAMETERS) is None

    def test_concurrent_writers(self, host: PlanHost) -> None:
        """Writers wait for each other; readers see one writer's whole."""
        plan = make(host, FILES)

        def write(number: int) -> None:
            plan.write_parameters(
                {f"P{key}": str(number) for key in range(50)}, []
            )
            for _, data in plan.read().environments:
                values = data.get("parameter_defaults", {})
                mine = {v for k, v in values.items() if k.startswith("P")}
                assert len(mine) <= 1

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(write, n) for n in range(12)]:
                done.result(timeout=60)
        text = host.read(base.PLAN_ENVIRONMENT)
        listed = yaml.safe_load(text or "")["environments"]
        assert listed.count({"path": base.PARAMETERS}) == 1
