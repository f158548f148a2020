"""``--report``: the outcome of a command in a file, for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageprep_client import errors

#: Raised when a field changes its meaning or goes away.
VERSION = 1
_REPORTS = ("report", "report_html", "log_file")
#: Options that name files to write, the reports last.
_RESULTS = (
    "output_env_file",
    "output_images_file",
    "ceph_vars_file",
    *_REPORTS,
)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the report."""
    parser.add_argument(
        "--report",
        metavar="<file>",
        help="JSON file to write the outcome to, for programs",
    )


def check(parsed_args: argparse.Namespace, log_file: str | None) -> None:
    """Check that the reports can be written and replace no other file.

    :param log_file: the file that the command logs to.
    :raises InvalidFile: when one cannot be written.
    :raises InvalidArgument: when a result is another one, or a file or in a
        deployment plan that the command line names.
    """
    given = {**vars(parsed_args), "log_file": log_file}
    paths = {name: given[name] for name in _RESULTS if given.get(name)}
    if not paths:
        return
    for name, path in paths.items():
        if path == "-":
            raise errors.InvalidArgument(
                f"--{name.replace('_', '-')} -: not a file",
                hint="name a file; what -f formats is written to standard"
                " output",
            )
    # Every `openstack` command imports this module.
    from imageprep_client.host import files

    files.check_different(paths.values())
    for name, path in paths.items():
        if name in ("report", "report_html"):
            files.check(path)
        if given.get("plan_dir") and isinstance(given["plan_dir"], str):
            files.check_outside(path, given["plan_dir"])
        others = {key: given[key] for key in given if key not in _RESULTS}
        if name == "output_env_file":
            # An older result may be among the environments.
            others.pop("environment_files", None)
        files.check_apart(path, _words(others))


def _words(given: Mapping[str, Any]) -> Iterator[str]:
    """The values of a command line that may be names of files."""
    for value in given.values():
        for word in value if isinstance(value, list | tuple) else [value]:
            if isinstance(word, str) and word:
                yield word


def write(
    parsed_args: argparse.Namespace,
    fields: Mapping[str, Any],
    failures: Sequence[errors.ImagePrepError],
    page: str | None,
) -> Iterator[tuple[str, errors.ImagePrepError | None]]:
    """Write the requested reports.

    :param fields: those of the command and of its life cycle.
    :param page: the report as HTML, if the command makes one.
    :returns: the path of each report, and why it could not be written.
    """
    texts = {}
    if path := getattr(parsed_args, "report", None):
        document = {
            "version": VERSION,
            **fields,
            "failures": [
                {"error": str(failure), "hint": failure.hint}
                for failure in failures
            ],
        }
        texts[path] = json.dumps(document, indent=2, default=str) + "\n"
    if page and (path := getattr(parsed_args, "report_html", None)):
        texts[path] = page
    if not texts:
        return
    from imageprep_client.host import files

    for path, text in texts.items():
        try:
            files.write(path, text)
        except (errors.InvalidFile, errors.NoSpace) as error:
            yield path, error
        else:
            yield path, None
