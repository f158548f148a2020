"""The cost of copying, beside that of others on the same machine.

Prints one table: each row a ratio or a number, with the bar that it is to
meet. See doc/source/contributor/benchmarks.rst for what each row means::

    python -m tests.benchmarks.transfer [--scale 0.1] [--only NAME]
        [--runs N] [--json FILE] [--work DIRECTORY]

Exit status 0 whether or not the bars are met; 1 when something could not be
measured.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from imageprep_client.testing import images
from tests import servers
from tests.benchmarks import proxy, site
from tests.benchmarks.site import Bench, NotMeasured, Source, Taken

_MB = 1_000_000
# Of the 86 images of a deployment that was measured.
_UNIQUE, _SMALL_UNIQUE = 732 * _MB, 4 * _MB
_LARGE = 2 * 1024**3
_MANY = (100, 1000)
_BYTES_EACH = 20_000
_MEMORY = 120
# Seconds that the client may use.
_PROCESSOR = 1.5
# Into trees only the source is asked.
_REQUESTS = {"tree": 1, "registry": 2}
_ROUND_TRIP = 0.040
_DISTANT = {"cold": 0.06, "again": 0.045}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar value: is compared with the bar; at most that is asked.
    :ivar bar: None for what is only shown.
    :ivar detail: where the value comes from.
    """

    name: str
    value: float
    bar: float | None
    detail: str = ""

    @property
    def met(self) -> str:
        if self.bar is None:
            return "-"
        return "yes" if self.value <= self.bar else "NO"


def _ratio(
    name: str, ours: float, theirs: float, what: str, bar: float | None
) -> Row:
    detail = f"{ours:.2f} s : {theirs:.2f} s {what}"
    return Row(name, ours / theirs, bar, detail)


def _memory(name: str, *taken: Taken) -> Row:
    peak = max(each.peak for each in taken) / _MB
    return Row(f"{name}: peak memory, MB", peak, _MEMORY)


class Groups:
    """The measurements, in groups that share their preparations.

    :param work: where everything is kept, on the disk that is measured.
    :param runs: how often each is repeated; medians count.
    """

    def __init__(
        self,
        work: pathlib.Path,
        scale: float,
        runs: int,
        stack: contextlib.ExitStack,
    ) -> None:
        self._work = work
        self._scale = scale
        self._runs = runs
        self._stack = stack
        self._bench = Bench(work / "home", _say)
        self._tree = str(work / "tree")

    @property
    def all(self) -> dict[str, Callable[[], Iterator[Row]]]:
        return {
            "tree": self.tree,
            "registry": self.registry,
            "again": self.again,
            "once": self.once,
            "distant": self.distant,
            "large": self.large,
            "many": self.many,
        }

    # Sources, each made when it is first needed.

    @functools.cached_property
    def _overcloud(self) -> Source:
        unique = int(_UNIQUE * self._scale)
        return self._source("overcloud", site.release(unique))

    def _source(self, name: str, found: images.ImageSet) -> Source:
        _say(
            f"{name}: {len(found.images)} images, {len(found.blobs)} blobs,"
            f" {found.unique_bytes / _MB:.0f} MB"
            f" ({found.naive_bytes / _MB:.0f} MB if nothing were shared)"
        )
        place = self._work / f"source-{name}"
        return self._stack.enter_context(site.filled(place, found))

    @contextlib.contextmanager
    def _empty(self) -> Iterator[servers.DockerRegistry]:
        """A registry that has nothing yet."""
        place = self._new_directory()
        with servers.docker_registry(place, access_log=True) as registry:
            yield registry
        _give_back(place)

    def _fresh_tree(self) -> str:
        _give_back(pathlib.Path(self._tree))
        self._tree = str(self._new_directory() / "tree")
        return self._tree

    def _new_directory(self) -> pathlib.Path:
        """A directory that is deleted at the end of all.

        For minutes after many files were deleted, ext4 is slow to make new
        ones: it passes over their inodes one by one.
        """
        made = tempfile.mkdtemp(prefix="new-", dir=self._work)
        self._stack.callback(shutil.rmtree, made)
        return pathlib.Path(made)

    def _times(self, *works: Callable[[], Taken]) -> list[list[Taken]]:
        """Each work as often as wanted, taking turns."""
        rounds = [[work() for work in works] for _ in range(self._runs)]
        return [list(column) for column in zip(*rounds, strict=True)]

    # Groups

    def tree(self) -> Iterator[Row]:
        """Into an empty tree, against moving the bytes alone."""
        source, bench = self._overcloud, self._bench

        def ours() -> Taken:
            tree = self._fresh_tree()
            return bench.run("tree, cold", source.images, source.host, tree)

        before = len(source.blob_requests())
        ours()
        asked = source.blob_requests()[before:]
        own, limit = self._times(ours, lambda: bench.limit(source))
        name = "tree, cold"
        bound = _median(limit)
        yield _ratio(name, _median(own), bound, "the limit", 1.1)
        yield _memory(name, *own)
        yield Row(
            f"{name}: blobs and configs fetched twice",
            len(asked) - len(set(asked)),
            0,
            f"{len(asked)} requests for {len(set(asked))}",
        )
        version = _median([bench.version() for _ in range(self._runs)])
        yield _ratio(
            f"{name}, without openstack's start",
            _median(own) - version,
            bound,
            "the limit",
            None,
        )
        target = self._work / "skopeo"
        target.mkdir(exist_ok=True)
        theirs = bench.skopeo(
            "skopeo sync, dir:", source.images, source.host, str(target)
        )
        shutil.rmtree(target)
        yield _ratio(
            name, _median(own), theirs.seconds, "skopeo sync to dir:", None
        )

    def registry(self) -> Iterator[Row]:
        """Into an empty registry, against skopeo and moving the bytes."""
        source, bench = self._overcloud, self._bench

        def ours() -> Taken:
            with self._empty() as target:
                return bench.run(
                    "registry, cold", source.images, source.host, target.host
                )

        def theirs() -> Taken:
            with self._empty() as target:
                return bench.skopeo(
                    "skopeo sync", source.images, source.host, target.host
                )

        def least() -> Taken:
            with self._empty() as target:
                before = source.registry.processor()
                taken = bench.moves(source, target.host)
                after = source.registry.processor() + target.processor()
                needed.append(after - before)
                return taken

        needed: list[float] = []
        ours()  # the first one compiles what it imports
        own, other, limit = self._times(ours, theirs, least)
        version = _median([bench.version() for _ in range(self._runs)])
        name = "registry, cold"
        yield _ratio(name, _median(own), _median(other), "skopeo sync", 0.5)
        processor = statistics.median(each.processor for each in own)
        yield Row(f"{name}: processor, s", processor, _PROCESSOR)
        yield _ratio(name, _median(own), _median(limit), "the limit", None)
        cores = os.cpu_count() or 1
        floor = statistics.median(needed) / cores + version
        yield Row(
            f"{name}, were it free",
            floor / _median(other),
            None,
            f"{statistics.median(needed):.2f} s of the registries on {cores}"
            f" processors + {version:.2f} s openstack --version",
        )
        yield _memory(name, *own)

    def again(self) -> Iterator[Row]:
        """With nothing to do, into tree and registry."""
        source, bench = self._overcloud, self._bench
        count = len(source.images.images)
        with self._empty() as theirs, contextlib.ExitStack() as stack:
            bench.skopeo(
                "skopeo sync", source.images, source.host, theirs.host
            )
            own = stack.enter_context(
                servers.docker_registry(self._work / "own", access_log=True)
            )
            stack.callback(shutil.rmtree, self._work / "own")
            mine = Source(source.images, own)

            def run(name: str, destination: str) -> Taken:
                return bench.run(
                    name,
                    source.images,
                    source.host,
                    destination,
                    again="again" in name,
                )

            run("tree, cold", self._fresh_tree())
            run("registry, cold", own.host)
            asked = {}
            for name, place in (("tree", self._tree), ("registry", own.host)):
                before = source.requests() + mine.requests()
                run(f"{name}, again", place)
                after = source.requests() + mine.requests()
                asked[name] = after - before
            tree, registry, other, version = self._times(
                lambda: run("tree, again", self._tree),
                lambda: run("registry, again", own.host),
                lambda: bench.skopeo(
                    "skopeo sync, again",
                    source.images,
                    source.host,
                    theirs.host,
                ),
                bench.version,
            )
        bound = _median(other) + _median(version)
        for name, taken in (("tree", tree), ("registry", registry)):
            title = f"{name}, again"
            what = "skopeo + openstack --version"
            yield _ratio(title, _median(taken), bound, what, 0.85)
            yield _memory(title, *taken)
            yield Row(
                f"{title}: requests per image",
                asked[name] / count,
                _REQUESTS[name],
                f"{asked[name]} : {count}",
            )

    def once(self) -> Iterator[Row]:
        """Each blob leaves the source once and is sent once."""
        source, bench = self._overcloud, self._bench
        blobs, unique = source.images.blobs, source.images.unique_bytes
        for concurrency in ("1", "32", "128"):
            name = f"concurrency {concurrency}"
            with (
                self._empty() as target,
                proxy.running(source.host, counts=True) as near,
                proxy.running(target.host, counts=True) as far,
            ):
                bench.run(
                    f"registry, {name}",
                    source.images,
                    near.host,
                    far.host,
                    "--concurrency",
                    concurrency,
                )
            asked = near.requests["GET", "blobs"]
            sent = sum(
                size
                for (_, kind), size in far.sent.items()
                if kind == "uploads"
            )
            yield Row(
                f"{name}: GETs per unique blob",
                asked / len(blobs),
                1,
                f"{asked} : {len(blobs)}",
            )
            yield Row(
                f"{name}: bytes sent per unique byte",
                sent / unique,
                1,
                f"{sent} : {unique}",
            )

    def distant(self) -> Iterator[Row]:
        """Small blobs from a source that is 40 ms away."""
        found = site.release(_SMALL_UNIQUE, "small")
        source = self._source("small", found)
        own: dict[str, list[Taken]] = {}
        other: dict[str, list[Taken]] = {}
        with proxy.running(source.host, round_trip=_ROUND_TRIP) as far:
            host = far.host
            for _ in range(self._runs):
                with self._empty() as target:
                    tree = self._fresh_tree()
                    for when in ("cold", "again"):
                        for place in (tree, target.host):
                            kind = "tree" if place == tree else "registry"
                            name = f"distant, {kind}, {when}"
                            taken = self._bench.run(
                                name, found, host, place, again=when == "again"
                            )
                            own.setdefault(name, []).append(taken)
                with self._empty() as target:
                    for when in ("cold", "again"):
                        taken = self._bench.skopeo(
                            f"distant, skopeo, {when}",
                            found,
                            host,
                            target.host,
                        )
                        other.setdefault(when, []).append(taken)
        for name, times in own.items():
            when = name.rpartition(" ")[2]
            bound, bar = _median(other[when]), _DISTANT[when]
            yield _ratio(name, _median(times), bound, "skopeo sync", bar)
            yield _memory(name, *times)

    def large(self) -> Iterator[Row]:
        """Memory does not grow with a layer's size."""
        found = site.one_layer(int(_LARGE * self._scale))
        source = self._source("large", found)
        tree = self._bench.run(
            "large, tree", found, source.host, self._fresh_tree()
        )
        yield _memory("2 GB layer, tree", tree)
        with self._empty() as target:
            registry = self._bench.run(
                "large, registry", found, source.host, target.host
            )
        yield _memory("2 GB layer, registry", registry)

    def many(self) -> Iterator[Row]:
        """Time, requests and memory over the number of images."""
        each: dict[str, list[float]] = {}
        for number in _MANY:
            count = max(16, int(number * self._scale))
            found = site.overcloud(count, count * _BYTES_EACH, "many")
            source = self._source(f"{number}", found)
            tree = self._fresh_tree()
            for when in ("cold", "again"):
                before = source.requests()
                name = f"{number} images, {when}"
                again = when == "again"
                run = functools.partial(
                    self._bench.run,
                    name,
                    found,
                    source.host,
                    tree,
                    again=again,
                )
                taken = [run()]
                requests = source.requests() - before
                if again:
                    taken += [run() for _ in range(self._runs - 1)]
                seconds = _median(taken) / count
                yield Row(f"{name}: ms per image", seconds * 1000, None)
                yield Row(
                    f"{name}: requests per image", requests / count, None
                )
                yield _memory(name, *taken)
                each.setdefault(f"{when}: time", []).append(seconds)
                each.setdefault(f"{when}: requests", []).append(
                    requests / count
                )
        for name, (few, many) in each.items():
            title = f"{name} per image, 1,000 : 100"
            yield Row(title, many / few, 1.1)


def _give_back(place: pathlib.Path) -> None:
    """Free the bytes of all large files below a directory."""
    for file in place.rglob("*"):
        if file.is_file() and file.stat().st_size > _BYTES_EACH:
            os.truncate(file, 0)


def _median(taken: Sequence[Taken]) -> float:
    return statistics.median(each.seconds for each in taken)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(rows: Sequence[Row]) -> None:
    width = max((len(row.name) for row in rows), default=0)
    print(f"{'':{width}}    value      bar  met")
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:g}"
        print(
            f"{row.name:{width}} {row.value:8.2f} {bar:>8}  {row.met:3}"
            f"  {row.detail}".rstrip()
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="part of the bytes and images; the bars are for 1 (default)",
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        help="a group: tree, registry, again, once, distant, large or many",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=3,
        help="repetitions, of which the median counts (default: 3)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the rows there, too"
    )
    parser.add_argument(
        "--work",
        metavar="DIRECTORY",
        help="keep the filled registries there, for the next time; it has to"
        " be on a disk, with 12 GB free",
    )
    return parser.parse_args()


def main() -> int:
    options = _options()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        # Not in memory, which the default may be.
        work = options.work or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="imageprep-", dir="/var/tmp")
        )
        place = pathlib.Path(work).absolute()
        place.mkdir(exist_ok=True)
        groups = Groups(place, options.scale, options.runs, stack).all
        unknown = set(options.only or ()) - set(groups)
        if unknown:
            sys.exit(f"no group {', '.join(unknown)}; {', '.join(groups)}")
        try:
            for name in options.only or groups:
                _say(f"== {name}")
                rows += groups[name]()
        except NotMeasured as error:
            _say(str(error))
            return 1
        finally:
            _print(rows)
            if options.json:
                text = json.dumps(
                    {
                        "scale": options.scale,
                        "runs": options.runs,
                        "rows": [
                            {**dataclasses.asdict(row), "met": row.met}
                            for row in rows
                        ],
                    },
                    indent=2,
                )
                pathlib.Path(options.json).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
