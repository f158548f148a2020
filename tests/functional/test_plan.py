"""``openstack image-prepare plan`` over plans in directories."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from imageprep_client.cloud import connection
from imageprep_client.plans import base as plans
from tests.functional import base

LIST = ("image-prepare", "plan", "list")
SHOW = ("image-prepare", "plan", "show")
RESTORE = ("image-prepare", "plan", "restore")
HERE = ("--plan-dir", "plans/overcloud")


@pytest.fixture
def plan(openstack: base.OpenStack) -> Path:
    """A plan that was prepared three times, below the current directory."""
    directory = openstack.home / "plans" / "overcloud"
    (directory / "environments").mkdir(parents=True)
    for tag in (1, 2, 3):
        images = {"ContainerApiImage": f"r/api:{tag}"}
        if tag > 1:
            images["ContainerDbImage"] = "r/db:1"
        write(
            directory / f".image-prepare/history/000{tag}.yaml"
            if tag < 3
            else directory / plans.PARAMETERS,
            f"# Generated on 2026-01-0{tag}T00:00:00+00:00 by:\n"
            f"# openstack image-prepare run {tag}\n\n",
            images,
        )
    listed = {"environments": [{"path": plans.PARAMETERS}]}
    (directory / plans.PLAN_ENVIRONMENT).write_text(yaml.safe_dump(listed))
    return directory


def write(path: Path, head: str, images: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + yaml.safe_dump({"parameter_defaults": images}))


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("directory", ["plans", "plans/overcloud"])
def test_list(openstack: base.OpenStack, directory: str) -> None:
    """A plan, or a directory of plans, with the time of the last run."""
    assert openstack.json(*LIST, "--plan-dir", directory) == [
        {
            "Plan": "plans/overcloud",
            "Kind": "directory",
            "Prepared": "2026-01-03T00:00:00+00:00",
        }
    ]


@pytest.mark.usefixtures("plan")
def test_show(openstack: base.OpenStack) -> None:
    """Each image parameter and its image."""
    assert openstack.json(*SHOW, *HERE) == [
        {"Parameter": "ContainerApiImage", "Image": "r/api:3"},
        {"Parameter": "ContainerDbImage", "Image": "r/db:1"},
    ]


@pytest.mark.usefixtures("plan")
def test_show_table(openstack: base.OpenStack) -> None:
    """By default it is a table."""
    shown = openstack(*SHOW, *HERE).stdout

    assert "| ContainerApiImage | r/api:3 |" in shown


@pytest.mark.usefixtures("plan")
def test_diff(openstack: base.OpenStack) -> None:
    """Only what an environment has otherwise."""
    write(
        openstack.home / "env.yaml",
        "",
        {"ContainerApiImage": "r/api:4", "ContainerDbImage": "r/db:1"},
    )
    assert openstack.json(*SHOW, *HERE, "--diff", "env.yaml") == [
        {
            "Parameter": "ContainerApiImage",
            "Plan": "r/api:3",
            "File": "r/api:4",
        }
    ]


@pytest.mark.usefixtures("plan")
def test_history(openstack: base.OpenStack) -> None:
    """The newest first, with time, command line and changes."""
    found = openstack.json(*SHOW, *HERE, "--history")

    assert [row["State"] for row in found] == ["present", "kept", "kept"]
    assert found[1] == {
        "Number": 2,
        "State": "kept",
        "Time": "2026-01-02T00:00:00+00:00",
        "Command": "openstack image-prepare run 2",
        "Changes": [
            {
                "parameter": "ContainerApiImage",
                "old": "r/api:1",
                "new": "r/api:2",
            },
            {"parameter": "ContainerDbImage", "old": "", "new": "r/db:1"},
        ],
    }


@pytest.mark.usefixtures("plan")
def test_history_table(openstack: base.OpenStack) -> None:
    """A cell has a line for each change; the first run only their count."""
    openstack.environment["COLUMNS"] = "300"
    shown = openstack(*SHOW, *HERE, "--history").stdout

    assert "| ContainerApiImage: r/api:1 -> r/api:2" in shown
    assert "| ContainerDbImage: - -> r/db:1 " in shown
    assert "| 1 set " in shown


def test_history_table_of_many_changes(
    openstack: base.OpenStack, plan: Path
) -> None:
    """A table has ten changes, and how many there are besides."""
    for file, tag in (
        (plans.PARAMETERS, 2),
        (f"{plans.HISTORY}/0002.yaml", 1),
    ):
        images = {f"Container{n}Image": f"r/x:{tag}" for n in range(25)}
        write(plan / file, "", images)
    shown = openstack(*SHOW, *HERE, "--history").stdout

    assert shown.count("r/x:1 -> r/x:2") == 10
    assert "and 15 more" in shown


def test_broken_history(openstack: base.OpenStack, plan: Path) -> None:
    """A broken plan is told, and the others are shown."""
    (plan / plans.HISTORY / "0002.yaml").write_text("a: [b")
    found = openstack.json(
        *SHOW,
        *HERE,
        "--history",
        stderr="plan plans/overcloud: number 2 of the history is broken:"
        " invalid YAML[^\n]*",
    )
    assert [(row["State"], row["Changes"] is None) for row in found] == [
        ("present", True),
        ("broken", True),
        ("kept", False),
    ]


def test_unknown_changes(openstack: base.OpenStack, plan: Path) -> None:
    """A table has words for what is not known, and for no change."""
    history = plan / plans.HISTORY
    parameters = (plan / plans.PARAMETERS).read_text()
    (history / "0001.yaml").write_text("a: [b")
    (history / "0002.yaml").write_text(parameters)
    (plan / plans.PARAMETERS).write_text(f"# mine\n{parameters}")
    shown = openstack(*SHOW, *HERE, "--history", stderr=".*broken.*").stdout

    assert shown.count("| not known ") == 2
    assert shown.count("| none ") == 1


def test_restore(openstack: base.OpenStack, plan: Path) -> None:
    """The parameters before the present are restored, and that is told."""
    found = openstack.json(
        *RESTORE,
        *HERE,
        stderr="plan plans/overcloud: number 2 of the history restored"
        r": \d+ parameters? changed in [\d.]+ s",
    )
    assert found == [
        {
            "Parameter": "ContainerApiImage",
            "Before": "r/api:3",
            "Now": "r/api:2",
        }
    ]
    text = (plan / plans.PARAMETERS).read_text()
    assert text.splitlines()[1] == (
        "# openstack image-prepare plan restore --plan-dir plans/overcloud"
        " -f json"
    )


def test_restore_to(openstack: base.OpenStack, plan: Path) -> None:
    """The history's number chooses."""
    openstack(*RESTORE, *HERE, "--to", "1", stderr=".*number 1 .* restored:.*")

    text = (plan / plans.PARAMETERS).read_text()
    assert yaml.safe_load(text)["parameter_defaults"] == {
        "ContainerApiImage": "r/api:1"
    }


def test_restore_again(openstack: base.OpenStack, plan: Path) -> None:
    """Parameters that the plan has are not written, and that is told."""
    before = (plan / plans.PARAMETERS).read_bytes()
    openstack(
        *RESTORE,
        *HERE,
        *("--to", "3"),
        stderr=".*number 3 .* equals the present parameters; nothing was.*",
    )
    assert (plan / plans.PARAMETERS).read_bytes() == before


def test_bound(openstack: base.OpenStack, plan: Path) -> None:
    """The user chooses how much is kept."""
    words = (*HERE, "--plan-history", "1")
    openstack(*RESTORE, *words, stderr=".*restored:.*")

    found = openstack.json(*SHOW, "--history", *words)
    assert [row["Number"] for row in found] == [4, 3]
    assert not (plan / plans.HISTORY / "0001.yaml").exists()


MISTAKES = {
    "no plan": (SHOW, "which plan is not said\nhint: [^\n]*"),
    "two plans": (
        (*SHOW, "x", *HERE),
        "plan x: it is given by name and by directory\nhint: [^\n]*",
    ),
    "empty name": ((*SHOW, ""), "<plan>: its value is empty\nhint: [^\n]*"),
    "empty name beside a directory": (
        (*RESTORE, "", *HERE),
        "<plan>: its value is empty\nhint: [^\n]*",
    ),
    "empty directory": (
        (*RESTORE, "overcloud", "--plan-dir", ""),
        "--plan-dir: its value is empty\nhint: [^\n]*",
    ),
    "list empty": (
        (*LIST, "--plan-dir", "plans", "--plan-dir", ""),
        "--plan-dir: its value is empty\nhint: [^\n]*",
    ),
    "no file to compare with": (
        (*SHOW, *HERE, "--diff", ""),
        "--diff: its value is empty\nhint: [^\n]*",
    ),
    "absent": (
        (*SHOW, "--plan-dir", "gone"),
        "plan gone: no such file or directory\nhint: [^\n]*",
    ),
    "none": (
        (*SHOW, "--plan-dir", "plans", "--history"),
        "plan plans: is no deployment plan: [^\n]*\nhint: [^\n]*",
    ),
    "list absent": (
        (*LIST, "--plan-dir", "gone"),
        "gone: no such file or directory\nhint: [^\n]*",
    ),
    "no file": (
        (*SHOW, *HERE, "--diff", "gone.yaml"),
        "gone.yaml: no such file",
    ),
    "no number": (
        (*RESTORE, *HERE, "--to", "9"),
        "plan plans/overcloud: there is no number 9 in the history\n"
        "hint: the numbers there are: 1, 2, 3",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(openstack: base.OpenStack, plan: Path, mistake: str) -> None:
    """Bad input is one clear line; nothing is written."""
    before = {each: each.stat().st_mtime_ns for each in plan.rglob("*")}
    words, message = MISTAKES[mistake]
    openstack(*words, status=2, stderr=message)

    after = {each: each.stat().st_mtime_ns for each in plan.rglob("*")}
    assert after == before


@pytest.mark.usefixtures("plan")
def test_history_or_diff(openstack: base.OpenStack) -> None:
    """Both at once is refused."""
    words = (*SHOW, *HERE, "--history", "--diff", "x")
    openstack(
        *words,
        status=2,
        stderr=r"openstack [^\n]*not allowed with[^\n]*\nhint: [^\n]*",
    )


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_number(openstack: base.OpenStack, number: str) -> None:
    """Revisions have numbers from 1 on."""
    words = (*RESTORE, *HERE, f"--to={number}")
    openstack(
        *words,
        status=2,
        stderr=r"openstack [^\n]*is not a positive whole number\nhint: [^\n]*",
    )


@pytest.mark.parametrize("configured", [True, False])
def test_mute_keystone(
    openstack: base.OpenStack,
    monkeypatch: pytest.MonkeyPatch,
    *,
    configured: bool,
) -> None:
    """Keystone that does not answer is given up, when the user wants it."""
    monkeypatch.setattr(connection, "_TIMEOUT", 10_000 if configured else 0.5)
    with socket.create_server(("127.0.0.1", 0)) as keystone:
        port = keystone.getsockname()[1]
        cloud = {
            "auth": {
                "auth_url": f"http://127.0.0.1:{port}/v3",
                **{"username": "u", "password": "p", "project_name": "p"},
                **{"user_domain_id": "default"},
                **{"project_domain_id": "default"},
            },
            **({"api_timeout": 0.5} if configured else {}),
        }
        (openstack.home / "clouds.yaml").write_text(
            yaml.safe_dump({"clouds": {"mute": cloud}})
        )
        openstack(
            *("--os-cloud", "mute", *LIST),
            status=2,
            stderr=r"Failed to discover[^\n]*\ncloud: keystone does not serve:"
            rf" Request to http://127.0.0.1:{port}/v3[^\n]* timed out\n"
            "hint: look at --os-auth-url",
        )
