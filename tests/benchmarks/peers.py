"""One job with this program and its peers: skopeo, crane, tripleo-common.

Prints a table of seconds; see doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.peers [--scale 0.1] [--runs N] [--crane PATH]

crane is left out where it is not installed. Exit status 1 when a command
failed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator

from imageprep_client.testing import images
from tests import servers
from tests.benchmarks import proxy, site
from tests.benchmarks.site import Bench, NotMeasured, Taken

_UNIQUE, _SMALL_UNIQUE = 732_000_000, 4_000_000
_ROUND_TRIP = 0.040
_TOP = pathlib.Path(__file__).parents[2]
#: Images that crane copies at once; one process copies one image.
_CRANES = 8
#: Of the names of the images: later releases have another one.
_PREFIX = "centos-binary-"
_Program = Callable[[str, images.ImageSet, str, str], Taken]
#: Of each job, by program.
_Seconds = dict[str, dict[str, list[float]]]
_PREDECESSOR = "tripleo-common"


class Peers:
    """The programs, each of which copies all images in its own way.

    :param crane: where it is, or None.
    :ivar programs: the programs by name; each is given the name of the
        measurement, the images, the registry to copy from, and a registry or
        the path of a new directory to copy to.
    """

    def __init__(self, bench: Bench, crane: str | None) -> None:
        self._bench = bench
        self._crane = crane or ""
        self.programs: dict[str, _Program] = {
            "this": self._by_this,
            "skopeo": bench.skopeo,
        }
        if crane:
            self.programs["crane"] = self._by_crane
        self.programs[_PREDECESSOR] = self._by_predecessor

    def _by_this(
        self, name: str, found: images.ImageSet, host: str, destination: str
    ) -> Taken:
        """With the cache of the run before, if there was one."""
        again = name.endswith("again")
        return self._bench.run(name, found, host, destination, again=again)

    def _by_predecessor(
        self, name: str, found: images.ImageSet, host: str, destination: str
    ) -> Taken:
        """The predecessor, without the start of its openstack and ansible.

        It is told the versioned tags, as the others are.
        """
        self._bench.write_environment(
            *(found, host, destination), tag=site.VERSION, name_prefix=_PREFIX
        )
        home = os.environ.get("IMAGEPREP_PREDECESSOR")
        python = (
            pathlib.Path(home or _TOP / ".venv-predecessor") / "bin/python"
        )
        program = pathlib.Path(__file__).with_name("predecessor_program.py")
        count = str(len(found.images))
        return self._bench.take(
            name, [str(python), str(program), "env.yaml", count]
        )

    def _by_crane(
        self, name: str, found: images.ImageSet, host: str, destination: str
    ) -> Taken:
        """Several at once, or all into one layout, which shares blobs."""
        names = [f"{i.repository}:{site.VERSION}" for i in found.images]
        if destination.startswith("/"):
            sources = [f"{host}/{one}" for one in names]
            command = [self._crane, "pull", "--insecure", "--format", "oci"]
            return self._bench.take(name, [*command, *sources, destination])
        copy = shlex.join(
            [
                *("xargs", "-P", str(_CRANES), "-I", "{}"),
                *(self._crane, "copy", "--insecure"),
                *(f"{host}/{{}}", f"{destination}/{{}}"),
            ]
        )
        script = f'printf "%s\\n" "$@" | {copy}'
        return self._bench.take(name, ["sh", "-c", script, "sh", *names])


def _measured(
    peers: Peers, work: pathlib.Path, found: images.ImageSet, host: str
) -> Iterator[tuple[str, str, float]]:
    """The job, the program and seconds; programs take turns."""
    for program, copy in peers.programs.items():
        with (
            tempfile.TemporaryDirectory(dir=work) as place,
            servers.docker_registry(pathlib.Path(place)) as target,
        ):
            for job in ("registry", "again"):
                taken = copy(f"{program}, {job}", found, host, target.host)
                yield job, program, taken.seconds
        # The directory of the predecessor is fixed.
        if program != _PREDECESSOR:
            with tempfile.TemporaryDirectory(dir=work) as place:
                taken = copy(f"{program}, directory", found, host, place)
            yield "directory", program, taken.seconds


def _print(seconds: _Seconds, programs: Collection[str]) -> None:
    print(f"{'':20}" + "".join(f"{name:>16}" for name in programs))
    for title, row in seconds.items():
        cells = (
            f"{statistics.median(row[name]):.2f}" if name in row else "-"
            for name in programs
        )
        print(f"{title:20}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> int:
    """Measure the jobs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--crane", default=shutil.which("crane"))
    options = parser.parse_args()
    seconds: _Seconds = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        work = pathlib.Path(name)
        peers = Peers(Bench(work / "home", print), options.crane)
        for place, unique in (("near", _UNIQUE), ("distant", _SMALL_UNIQUE)):
            found = site.release(int(unique * options.scale), place)
            with (
                site.filled(work / place, found) as source,
                proxy.running(source.host, round_trip=_ROUND_TRIP) as far,
            ):
                host = far.host if place == "distant" else source.host
                try:
                    for _ in range(options.runs):
                        for job, program, took in _measured(
                            peers, work, found, host
                        ):
                            row = seconds.setdefault(f"{place}, {job}", {})
                            row.setdefault(program, []).append(took)
                except NotMeasured as error:
                    print(error, file=sys.stderr)
                    return 1
    _print(seconds, peers.programs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
