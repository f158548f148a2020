"""The plugin hook."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys

import pytest

from imageprep_client import plugin
from imageprep_client.client.images import ContainerImages
from tests import programs

_NEW_MODULES = """
import json, sys
before = set(sys.modules)
import imageprep_client.plugin
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(new - sys.stdlib_module_names)))
"""


_LOADED_COMMANDS = """
import importlib.metadata, json, sys
group = "openstack.image_prepare.v1"
commands = [c.load() for c in importlib.metadata.entry_points(group=group)]
assert commands
loaded = [n for n in sys.modules if n.startswith("imageprep_client.")]
print(json.dumps(sorted({name.split(".")[1] for name in loaded})))
"""


def _default(monkeypatch: pytest.MonkeyPatch, value: str | None) -> str:
    if value is None:
        monkeypatch.delenv("OS_IMAGE_PREPARE_API_VERSION", raising=False)
    else:
        monkeypatch.setenv("OS_IMAGE_PREPARE_API_VERSION", value)
    parser = plugin.build_option_parser(argparse.ArgumentParser())
    return str(getattr(parser.parse_args([]), plugin.API_VERSION_OPTION))


def test_imports_only_the_standard_library() -> None:
    """Importing the plugin loads no module of another distribution."""
    output = programs.run(sys.executable, "-c", _NEW_MODULES)

    assert json.loads(output) == ["imageprep_client"]


_INTERRUPTED = """
import os, signal, sys
sys.argv = sys.argv[1:]
import imageprep_client.plugin
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize(
    ("words", "status", "stderr"),
    [
        (["image-prepare", "run"], 130, "stopped; nothing was done\n"),
        (["server", "list"], -signal.SIGINT, "Traceback"),
    ],
)
def test_interrupt_during_the_start(
    words: list[str], status: int, stderr: str
) -> None:
    """Before our commands begin, it ends them in a line; and only ours."""
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, "openstack", *words],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == status
    assert done.stderr.startswith(stderr)


_COLLECTS_AS_BEFORE = """
import gc, sys
sys.argv = sys.argv[1:]
before = gc.get_threshold()
import imageprep_client.plugin
print(gc.isenabled() and gc.get_threshold() == before)
"""


@pytest.mark.parametrize(
    ("words", "as_before"),
    [(["image-prepare", "run"], "False"), (["server", "list"], "True")],
)
def test_garbage_is_collected_rarely(words: list[str], as_before: str) -> None:
    """Only our commands change how often garbage is looked for."""
    output = programs.run(
        sys.executable, "-c", _COLLECTS_AS_BEFORE, "openstack", *words
    )

    assert output.strip() == as_before


def test_commands_load_nothing_that_they_do_not_use() -> None:
    """Every ``openstack`` command loads ours: what is behind them waits."""
    output = programs.run(sys.executable, "-c", _LOADED_COMMANDS)

    assert json.loads(output) == [
        "cli",
        "errors",
        "observer",
        "oci",
        "plugin",
        "wording",
    ]


def test_version_defaults_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without option and variable the API version is the default."""
    assert _default(monkeypatch, None) == plugin.DEFAULT_API_VERSION


def test_empty_variable_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as one that is not set."""
    assert _default(monkeypatch, "") == plugin.DEFAULT_API_VERSION


def test_version_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable gives the default of the option."""
    assert _default(monkeypatch, "7") == "7"


def test_default_version_is_supported() -> None:
    """The shell warns about versions that the plugin does not list."""
    assert plugin.DEFAULT_API_VERSION in plugin.API_VERSIONS


def test_client() -> None:
    """The client manager gets the use cases of container images."""
    assert isinstance(plugin.make_client(object()), ContainerImages)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("image-prepare push --source-password a b -f x", "*** -f x"),
        ("image-prepare push --password=a b", "***"),
        ("image-prepare push --source-password-file a", "-file a"),
        ("--os-password a b -v image-prepare run", "*** -v image-prepare run"),
        ("--os-token=a image-prepare run -f x", "*** image-prepare run -f x"),
        ("--os-passw a image-prepare run", "*** image-prepare run"),
        (
            "--os-application-credential-s a image-prepare run",
            "*** image-prepare run",
        ),
        ("--os-client-secret a image-prepare run", "*** image-prepare run"),
        ("--os-auth-type a image-prepare run", "a image-prepare run"),
        ("user create --password a b", "a b"),
    ],
)
def test_passwords_are_masked(line: str, shown: str) -> None:
    """The shell's log of our commands has no password in it."""
    args = (line, 1)
    record = logging.LogRecord("x", 20, "x", 1, "START %s %d", args, None)
    assert plugin.mask_passwords(record)
    assert record.getMessage().endswith(f"{shown} 1")


def test_a_record_without_words_is_left_alone() -> None:
    """Whatever the shell logs comes through."""
    args = ({"key": "value"},)
    record = logging.LogRecord("x", 20, "x", 1, "%(key)s", args, None)
    assert plugin.mask_passwords(record)
    assert record.getMessage() == "value"
