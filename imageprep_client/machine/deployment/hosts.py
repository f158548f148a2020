"""Commands that hosts run about their machines."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imageprep_client import ansible, errors
from imageprep_client.ansible import HostJob, HostState, JobObserver, JobResult
from imageprep_client.machine.deployment.containers import Deployment
from imageprep_client.machine.deployment.naming import HostFacts

#: Hosts that work at the same time.
WINDOW = 8
_COMMAND = ("openstack", "image-prepare")


@dataclasses.dataclass(frozen=True, slots=True)
class HostCommand:
    """A command of ``openstack image-prepare machine`` for one host.

    :ivar verb: such as ``export``.
    :ivar names: of containers.
    :ivar options: what follows the names.
    :ivar runs: the first running one of the containers is meant.
    :ivar has_store: whether it is about a directory of roots.
    """

    host: str
    verb: str
    names: tuple[str, ...]
    options: tuple[str, ...]
    runs: bool = False
    has_store: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class CommandOutcome:
    """The output of a command, and its failure.

    :ivar names: the containers that it was about.
    :ivar result: the JSON that it printed; None: nothing.
    :ivar failure: one line; empty: it succeeded.
    """

    command: HostCommand
    names: tuple[str, ...]
    result: Any = None
    failure: str = ""
    is_unreachable: bool = False


def run(
    deployment: Deployment,
    commands: Sequence[HostCommand],
    on_outcome: Callable[[CommandOutcome], object],
) -> None:
    """Run commands on hosts, on each host one after the other.

    :param on_outcome: is told each outcome as soon as it is known.
    """
    by_host: dict[str, list[HostCommand]] = {}
    for command in commands:
        by_host.setdefault(command.host, []).append(command)
    documents = {
        host: _document(host, deployment.hosts[host], listed)
        for host, listed in by_host.items()
    }
    _run(deployment, documents, _Outcomes(by_host, on_outcome))


def facts(
    deployment: Deployment,
) -> tuple[dict[str, HostFacts], dict[str, JobResult]]:
    """The facts of all hosts, and the failures of those without facts."""
    observer = _Facts()
    documents = {
        host: {"facts": True, "commands": []} for host in deployment.hosts
    }
    _run(deployment, documents, observer)
    return observer.known, observer.failures


def _run(
    deployment: Deployment,
    documents: Mapping[str, Mapping[str, Any]],
    observer: JobObserver,
) -> None:
    program = importlib.resources.files(__package__) / "node" / "commands.py"
    ansible.run_jobs(
        [
            HostJob(host=host, lane="", document=document)
            for host, document in documents.items()
        ],
        program.read_text("utf-8"),
        deployment.session,
        window=WINDOW,
        observer=observer,
    )


def _document(
    host: str, variables: Mapping[str, Any], commands: Sequence[HostCommand]
) -> dict[str, Any]:
    """A job; the host variables are those of the playbooks."""
    command = _words(host, variables, "image_prepare_command") or _COMMAND
    options = _words(host, variables, "image_prepare_options")
    own = {
        one.verb: _words(host, variables, f"image_prepare_{one.verb}_options")
        for one in commands
    }
    store = variables.get("image_prepare_store")
    program = [*command, "machine"]
    form = ("--format", "json")
    where = ["--store", _word(host, "image_prepare_store", store)]
    if not store:
        where = []
    return {
        "facts": False,
        "list": [*program, "list", *where, *form],
        "commands": [
            {
                "key": number,
                "names": one.names,
                "runs": one.runs,
                "before": [*program, one.verb],
                "after": [
                    *one.options,
                    *(where if one.has_store else ()),
                    *form,
                    *options,
                    *own[one.verb],
                ],
            }
            for number, one in enumerate(commands)
        ],
    }


def _words(host: str, variables: Mapping[str, Any], key: str) -> list[str]:
    """The words that a host variable has.

    :raises InvalidArgument: when it is no list.
    """
    value = variables.get(key) or ()
    if not isinstance(value, list | tuple):
        raise errors.InvalidArgument(
            f"{host}: the variable {key} is no list",
            hint="write each word as an entry of its own",
        )
    return [_word(host, key, word) for word in value]


def _word(host: str, key: str, value: object) -> str:
    word = str(value)
    if "{{" in word or "{%" in word:
        raise errors.InvalidArgument(
            f"{host}: the variable {key} has a template, {word[:100]!r},"
            " which is not evaluated here",
            hint="write its value into the inventory",
        )
    return word


class _Outcomes(JobObserver):
    def __init__(
        self,
        commands: Mapping[str, Sequence[HostCommand]],
        on_outcome: Callable[[CommandOutcome], object],
    ) -> None:
        self._left = {
            host: dict(enumerate(listed)) for host, listed in commands.items()
        }
        self._on_outcome = on_outcome

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        command = self._left[job.host].pop(line.get("key", -1), None)
        if command is None:
            return
        self._on_outcome(
            CommandOutcome(
                command,
                tuple(line.get("names", command.names)),
                line.get("result"),
                str(line.get("said") or ""),
            )
        )

    def ended(self, job: HostJob, result: JobResult) -> None:
        for command in self._left.pop(job.host).values():
            self._on_outcome(
                CommandOutcome(
                    command,
                    command.names,
                    failure=result.reason or "the command did not run",
                    is_unreachable=result.state is HostState.UNREACHABLE,
                )
            )


class _Facts(JobObserver):
    def __init__(self) -> None:
        self.known: dict[str, HostFacts] = {}
        self.failures: dict[str, JobResult] = {}
        self._problems: dict[str, str] = {}

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        told = line["facts"]
        try:
            self.known[job.host] = HostFacts.parse(
                str(told["distro"]), str(told["machine"])
            )
        except errors.InvalidContent as error:
            self._problems[job.host] = str(error)

    def ended(self, job: HostJob, result: JobResult) -> None:
        if job.host in self.known:
            return
        reason = self._problems.get(job.host) or result.reason
        state = result.state
        if state is HostState.OK:
            state = HostState.FAILED
        self.failures[job.host] = JobResult(job.host, state, reason)
