"""The containers of a deployment, and the names of their images."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import pytest

from imageprep_client import ansible, errors
from imageprep_client.ansible import HostJob, HostState, JobResult
from imageprep_client.machine.deployment import changing, hosts
from imageprep_client.machine.deployment.containers import (
    DeployedContainer,
    Deployment,
    deployment,
)
from imageprep_client.machine.deployment.hosts import (
    CommandOutcome,
    HostCommand,
)
from imageprep_client.machine.deployment.naming import HostFacts, ImageTemplate

CONTAINERS = [
    DeployedContainer(f"{host}-nova-{number}", host, "nova")
    for host in ("h1", "h2")
    for number in (1, 2)
]
SESSION = ansible.Session("inventory")
DEPLOYMENT = Deployment(SESSION, CONTAINERS, {"h1": {}, "h2": {}})
IMAGES = {one.name: "r/osa/nova:1" for one in CONTAINERS}


def test_fields_of_a_name() -> None:
    """All fields of a template have the values of the host."""
    template = ImageTemplate.parse(
        "r/{distro}/{service}:{release}-{arch}", "1"
    )
    facts = HostFacts.parse("debian", "x86_64")
    assert template.needs_facts
    assert template.name("nova_api", facts) == "r/debian/nova_api:1-amd64"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("r/{service}:{release}", "the release is not known"),
        ("r/nova:1", "all services would have one image"),
        ("r/{service}:{0}", "{0} is not known"),
        ("r/{service.__class__}:1", "{service.__class__} is not known"),
        ("r/{service!r}:1", "{service} is not known"),
        ("r/{service:>99999999}:1", "{service} is not known"),
        ("r/{service:1", "r/{service:1: "),
    ],
)
def test_bad_template(text: str, said: str) -> None:
    """A template with other fields is refused."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ImageTemplate.parse(text, None)
    assert said in str(caught.value)


def test_facts_of_a_host_are_words() -> None:
    """A host cannot choose another image by what it calls itself."""
    with pytest.raises(errors.InvalidContent):
        HostFacts.parse("../debian", "x86_64")


def test_containers_of_an_inventory(tmp_path: pathlib.Path) -> None:
    """The file of OpenStack-Ansible is read; hosts and services on metal are
    no containers, and a host selects its containers.
    """
    path = write(
        tmp_path,
        {
            "h1": {},
            "h2": {},
            "h1_x_container-11111111": {"physical_host": "h1"},
            "h2-y-container-22222222": {
                "component": "nova_api",
                "physical_host": "h2",
            },
            "metal": {"physical_host": "h2", "is_metal": True},
        },
    )
    with deployment(path) as every:
        assert list(every.containers) == [
            DeployedContainer("h1_x_container-11111111", "h1", "x"),
            DeployedContainer("h2-y-container-22222222", "h2", "nova_api"),
        ]
    with deployment(path, "h2") as some:
        assert list(some.containers) == list(every.containers)[1:]


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ({"h1": {}}, "no containers"),
        ({"h1": {}, "c": {"physical_host": "h1"}}, "c: its service is not"),
        (
            {"h1": {}, "c": {"physical_host": "h1", "component": "../x"}},
            "'../x' is no name of a service",
        ),
        (
            {"h1": {}, "-c": {"physical_host": "h1", "component": "x"}},
            "'-c' is no name of a container",
        ),
    ],
)
def test_bad_inventory(
    tmp_path: pathlib.Path, hosts: Mapping[str, object], said: str
) -> None:
    """Names that could be something else on a host are refused."""
    with (
        pytest.raises(errors.InvalidArgument, match=said),
        deployment(write(tmp_path, hosts)),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"_meta": {', "no JSON: "),
        ('{"_meta": {"hostvars": []}}', "'list' instead of 'dict'"),
    ],
)
def test_broken_inventory(
    tmp_path: pathlib.Path, text: str, said: str
) -> None:
    """The message names the file of the user."""
    path = tmp_path / "openstack_inventory.json"
    path.write_text(text)
    with (
        pytest.raises(errors.InputError, match=said) as caught,
        deployment(str(path)),
    ):
        pass
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"image_prepare_command": "openstack image-prepare"}, "is no list"),
        ({"image_prepare_store": "{{ lxc_path }}"}, "has a template"),
        ({"image_prepare_options": ["--check", "{{ x }}"]}, "has a template"),
    ],
)
def test_unusable_variables_of_a_host(
    variables: Mapping[str, object], said: str
) -> None:
    """No host is changed by a command that was not meant."""
    broken = Deployment(SESSION, CONTAINERS, {"h1": variables, "h2": {}})
    with pytest.raises(errors.InvalidArgument, match=f"h1: .* {said}"):
        hosts.run(
            broken,
            [HostCommand("h1", "export", ("c1",), ())],
            lambda outcome: None,
        )


def test_options_of_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that only one command has is given to no other one."""
    jobs: list[HostJob] = []
    monkeypatch.setattr(
        ansible, "run_jobs", lambda given, *_, **__: jobs.extend(given)
    )
    variables = {
        "image_prepare_options": ["--max-size", "1"],
        "image_prepare_replace_options": ["--keep", "2"],
    }
    hosts.run(
        Deployment(SESSION, CONTAINERS, {"h1": variables}),
        [
            HostCommand("h1", "replace", ("c1",), ()),
            HostCommand("h1", "cache", (), (), has_store=False),
        ],
        lambda outcome: None,
    )
    form = ["--format", "json"]
    assert [command["after"] for command in jobs[0].document["commands"]] == [
        [*form, "--max-size", "1", "--keep", "2"],
        [*form, "--max-size", "1"],
    ]


def test_base_has_no_service() -> None:
    """The image of a cache is named by the host alone."""
    template = ImageTemplate.parse("r/base:{distro}", None, is_base=True)
    assert template.name("", HostFacts("debian", "amd64")) == "r/base:debian"
    with pytest.raises(errors.InvalidArgument, match=r"{service} is not"):
        ImageTemplate.parse("r/{service}:1", None, is_base=True)


def write(directory: pathlib.Path, hosts: Mapping[str, object]) -> str:
    """An inventory as OpenStack-Ansible keeps it."""
    path = directory / "openstack_inventory.json"
    path.write_text(
        json.dumps(
            {
                "_meta": {"hostvars": hosts},
                "all_containers": {"hosts": list(hosts)},
            }
        )
    )
    return str(path)


Answer = Callable[[HostCommand], CommandOutcome]


def answering(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> list[HostCommand]:
    """Let hosts answer without ansible; the commands that they got."""
    asked: list[HostCommand] = []

    def run(
        deployment: Deployment,
        commands: Sequence[HostCommand],
        on_outcome: Callable[[CommandOutcome], object],
    ) -> None:
        for command in commands:
            asked.append(command)
            on_outcome(answer(command))

    monkeypatch.setattr(hosts, "run", run)
    return asked


def test_archive_tries_the_next_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of a service comes from another host when one is away."""

    def answer(command: HostCommand) -> CommandOutcome:
        if command.host == "h1":
            return CommandOutcome(
                command, command.names, failure="away", is_unreachable=True
            )
        result = {"digest": "sha256:1", "state": "exported"}
        return CommandOutcome(command, command.names[:1], result)

    answering(monkeypatch, answer)
    told: list[str] = []
    rows = changing.DeploymentChange(
        DEPLOYMENT, IMAGES, {}, lambda row: told.append(str(row.state))
    ).archive()
    assert [str(row.state) for row in rows] == [
        *("left", "left", "exported", "left")
    ]
    assert told.count("unreachable") == 2


def test_preload_asks_a_host_once_for_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The containers of a host are replaced by one command, and each has
    its row: what the command says about it, or why it failed.
    """

    def answer(command: HostCommand) -> CommandOutcome:
        if command.host == "h2":
            return CommandOutcome(command, command.names, None, "no image")
        result = [
            {
                "Name": command.names[0],
                "State": "replaced",
                "Digest": "sha256:1",
            },
            {
                "Name": command.names[1],
                "State": "failed",
                "Detail": "h1-nova-2: ill",
            },
        ]
        return CommandOutcome(command, command.names, result, "1 of 2")

    asked = answering(monkeypatch, answer)
    rows = changing.DeploymentChange(
        DEPLOYMENT, IMAGES, {}, lambda row: None
    ).preload()
    assert [command.host for command in asked] == ["h1", "h2"]
    assert [(str(row.state), row.digest, row.detail) for row in rows] == [
        ("replaced", "sha256:1", ""),
        ("failed", "", "ill"),
        ("failed", "", "no image"),
        ("failed", "", "no image"),
    ]


def test_hosts_without_facts_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The containers of a host that could not be asked have its failure."""
    answering(monkeypatch, lambda command: CommandOutcome(command, ()))
    failure = JobResult("h1", HostState.UNREACHABLE, "no route")
    images = {name: IMAGES[name] for name in IMAGES if "h2" in name}
    rows = changing.DeploymentChange(
        DEPLOYMENT, images, {"h1": failure}, lambda row: None
    ).preload()
    assert [row.detail for row in rows if row.host == "h1"] == ["no route"] * 2
    assert all(row.state.is_failed for row in rows[:2])


def test_archive_needs_no_host_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unusable host is not asked, and its containers need no image of
    their own when another host has exported it.
    """
    result = {"digest": "sha256:1", "state": "exported"}
    asked = answering(
        monkeypatch,
        lambda command: CommandOutcome(command, command.names[:1], result),
    )
    failure = JobResult("h1", HostState.FAILED, "h1 is not in the inventory")
    rows = changing.DeploymentChange(
        DEPLOYMENT, IMAGES, {"h1": failure}, lambda row: None
    ).archive()
    assert [command.host for command in asked] == ["h2"]
    assert [str(row.state) for row in rows] == [
        *("left", "left", "exported", "left")
    ]
