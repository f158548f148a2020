"""The events of ansible, and the result for each image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.ansible import events
from imageprep_client.modify import playbook
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.modify.results import Changes
from imageprep_client.observer import Observer
from tests.recorder import Recorder


def change(name: str, **variables: Any) -> ImageChange:
    return ImageChange(
        source_image=f"r.io/{name}:1",
        target_image=f"d.io/{name}:1",
        append_tag="-x",
        ansible_role="r",
        variables=variables,
    )


class Events:
    """The events of a run that changes images."""

    def __init__(self, changes: list[ImageChange], observer: Observer) -> None:
        self._changes = Changes(changes, observer)
        hosts = [playbook.host(index) for index in range(len(changes))]
        secrets = [text for each in changes for text in each.secrets]
        self._events = events.Events(hosts, self._changes.note, secrets)
        self.take = self._events.take

    def results(self, *, ended: bool) -> Sequence[Changed]:
        """The result of each image."""
        return self._changes.of(self._events.result(complete=ended))


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def taken(seen: Recorder) -> Events:
    """Events of two images; the first has a password."""
    return Events([change("a", password="hunter2"), change("b")], seen)


def failed(host: str = "image-0", **result: Any) -> dict[str, Any]:
    data = {"host": host, "task": "do it", "res": result}
    return {"event": "runner_on_failed", "event_data": data}


def done(host: str) -> dict[str, Any]:
    data = {"host": host, "task": playbook.DONE, "res": {}}
    return {"event": "runner_on_ok", "event_data": data}


def stats(**failures: int) -> dict[str, Any]:
    hosts = {name.replace("_", "-"): n for name, n in failures.items()}
    data = {"failures": hosts, "dark": {}}
    return {"event": "playbook_on_stats", "event_data": data}


def error_of(changed: Changed) -> errors.ModifyError:
    assert changed.error is not None
    return changed.error


def first(taken: Events) -> errors.ModifyError:
    return error_of(taken.results(ended=False)[0])


def test_done(taken: Events, seen: Recorder) -> None:
    """An image is done when its host comes to the last task."""
    taken.take(done("image-1"))
    first, second = taken.results(ended=True)
    assert (first.done, second.done) == (False, True)
    assert [image for image, _ in seen.told("image_finished")] == ["r.io/b:1"]


def test_other_tasks(taken: Events) -> None:
    """Before that it is not."""
    event = done("image-0")
    event["event_data"]["task"] = "another"
    taken.take(event)
    assert not taken.results(ended=True)[0].done


def test_events_are_not_kept(taken: Events) -> None:
    """They may have secrets in them."""
    assert taken.take(done("image-0")) is False


def test_failure(taken: Events) -> None:
    """The image, role and task are named, and the tail of the log."""
    taken.take(failed(msg="no way", stdout="x\n\ny", stderr="z\n"))
    error = first(taken)
    assert str(error) == (
        "r.io/a:1: ansible role r: task 'do it' failed: no way"
    )
    assert error.log == ("x", "y", "z", "no way")


def test_nothing_but_the_message(taken: Events) -> None:
    """The text of the message is not shown again as a log."""
    taken.take(failed(msg="no way"))
    assert first(taken).log == ()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"msg": "non-zero return code", "stderr": "a\nb"}, "b"),
        ({"msg": "MODULE FAILURE\nSee", "module_stderr": "oh"}, "oh"),
        ({"reason": "not found"}, "not found"),
        ({"msg": "r.io/a:1: told twice"}, "told twice"),
        ({"censored": "hidden"}, "is not shown"),
        ({}, "it does not say why"),
        (
            {"msg": "All items", "results": [{"failed": 1, "stderr": "i"}]},
            "All",
        ),
    ],
)
def test_messages(taken: Events, result: Any, message: str) -> None:
    """The most telling part of a result is in the message."""
    taken.take(failed(**result))
    assert message in str(first(taken))


def test_items(taken: Events) -> None:
    """Of a loop the items that failed are shown."""
    items = [{"stdout": "good"}, {"failed": True, "stderr": "bad"}]
    taken.take(failed(msg="items", results=items))
    assert first(taken).log == ("bad", "items")


def test_log_is_bounded(taken: Events) -> None:
    """Of a long log the end, of long lines the start."""
    taken.take(failed(stdout="\n".join(["x" * 1000] * 100), msg="last"))
    error = first(taken)
    assert len(error.log) == events.LINES
    assert max(map(len, error.log)) == 300
    assert error.log[-1] == "last"


def test_secrets(taken: Events) -> None:
    """Secrets of any image, and passwords in URLs, are masked."""
    taken.take(
        failed("image-1", msg="is hunter2", stderr="http://u:pw@h/ \x1b[1mx")
    )
    error = error_of(taken.results(ended=False)[1])
    assert error.log == ("http://u:***@h/ x", "is ***")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("form", [repr, json.dumps])
def test_secrets_within_mappings(
    seen: Observer, form: Callable[[object], str]
) -> None:
    """They are masked in either notation, with their escapes."""
    password = "p'\"q\\z"
    events = Events([change("a", password=password)], seen)
    events.take(failed(msg=form({"why": f"cannot log in with {password}"})))
    told = str(error_of(events.results(ended=False)[0]))
    assert "q\\" not in told
    assert "***" in told


def test_ignored_failure(taken: Events) -> None:
    """A role may go on after what it expects to fail."""
    event = failed(msg="never mind")
    event["event_data"]["ignore_errors"] = True
    taken.take(event)
    taken.take(done("image-0"))
    assert taken.results(ended=True)[0].done


def test_rescued_failure(taken: Events) -> None:
    """A role may repair what failed; or say in the end what it was."""
    taken.take(failed(msg="first"))
    taken.take(failed("image-1", msg="first"))
    taken.take(failed("image-1", msg="last"))
    taken.take(done("image-0"))
    one, two = taken.results(ended=False)
    assert one.done
    assert "last" in str(two.error)


def test_ended_with_another(taken: Events) -> None:
    """An image whose host was stopped has no error of its own."""
    taken.take(failed(msg="no"))
    taken.take(stats(image_0=1))
    other = taken.results(ended=False)[1]
    assert not other.done
    assert other.error is None


def test_failure_without_event(taken: Events) -> None:
    """Statistics tell of a failure that no task was heard of."""
    taken.take({"event": "verbose", "stdout": "[ERROR]: it is so\nmore"})
    taken.take(stats(image_0=1))
    error = first(taken)
    assert str(error) == "r.io/a:1: ansible role r failed: it is so"
    assert error.log == ("[ERROR]: it is so", "more")


def test_ansible_itself_fails(taken: Events) -> None:
    """Without a word for any image, its output is the error."""
    taken.take({"event": "verbose", "stdout": "ERROR! no YAML"})
    with pytest.raises(errors.ModifyError, match="ansible: no YAML"):
        taken.results(ended=False)


def test_ansible_says_nothing(taken: Events) -> None:
    """Nor is that hidden."""
    with pytest.raises(errors.ModifyError, match="it says nothing"):
        taken.results(ended=False)


@pytest.mark.parametrize("key", ["stdout", "msg", "module_stderr"])
def test_endless_output(taken: Events, key: str) -> None:
    """Of what a program of an image prints only the end is read; a password
    that is cut there is not shown either.
    """
    text = f"{'x' * 100}hunter2{'y' * (1 << 18)}\nhunter2\nend\n"
    for cut in range(1, 7):
        taken.take(failed(**{key: text[:-5] + "e" * cut + "\n"}))
        told = f"{first(taken)} {first(taken).log}"
        assert len(told) < 10_000
        assert "unter" not in told
