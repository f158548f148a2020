"""How ``prune`` grows with the images of one repository::

    python -m tests.benchmarks.pruning [--few 5000] [--many 20000] [--runs 3]

Every tag names an image of its own: a manifest, a config and a layer that no
other tag has. ``tree`` and ``registry`` are dry runs that keep the ten newest
images; the registry is Apache in front of the tree. ``delete`` prunes the
tree.
Each line has the medians of the processor time for few and for many images,
and the growth: their ratio divided by that of the numbers of images. The last
line has the time that the registry took from start to end. Exit status 1 when
a growth is above the bar of 1.2, or the time for many images above 10 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from imageprep_client.serving import apache as printed
from imageprep_client.stores.imageserve import htaccess, layout, typemap
from imageprep_client.testing import content
from tests import apache, programs

_BAR = 1.2
_SECONDS = 10
_KEPT = 10
_REPOSITORY = "ns/app"
#: Prints the processor time of pruning, without the start of the program.
_PROGRAM = """
import sys, time
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.registries import PruneRequest, Registries
place, kept, dry_run, deleted = sys.argv[1:]
tree = None if place.startswith("127.") else place
registries = Registries(RegistryOptions(image_serve=tree))
request = PruneRequest(keep_last=int(kept), dry_run=dry_run == "True")
begin, start = time.process_time(), time.monotonic()
result = registries.prune(request, None if tree else place)
print(time.process_time() - begin, time.monotonic() - start)
assert sum(":" not in row.name for row in result.rows) == int(deleted)
"""


def _fill(path: Path, count: int) -> None:
    """Write a tree with so many images, each with a tag."""
    paths = layout.RepositoryPaths(_REPOSITORY)
    for directory in (paths.blobs, paths.manifests, paths.tags):
        (path / directory).mkdir(parents=True)
    for number in range(count):
        _write(path, paths, number)
    tags = layout.tags_list(_REPOSITORY, map(str, range(count)))
    (path / paths.tags_list).write_bytes(tags)
    (path / layout.CATALOG).write_bytes(layout.catalog([_REPOSITORY]))
    (path / layout.ROOT / layout.MANIFEST).write_text("{}")


def _write(path: Path, paths: layout.RepositoryPaths, number: int) -> None:
    image = content.image(number, [content.blob(number, 100)])
    for piece in image.parts:
        (path / paths.blob(piece.descriptor.digest)).write_bytes(piece.data)
    root = image.descriptor
    (path / paths.manifest_directory(root.digest)).mkdir()
    (path / paths.manifest(root.digest)).write_bytes(image.manifest.data)
    headers = htaccess.render(root.media_type, root.digest)
    (path / paths.htaccess(root.digest)).write_bytes(headers)
    tag = str(number)
    variants = [typemap.Variant(root.media_type, root.digest)]
    (path / paths.type_map(tag)).write_bytes(typemap.render(tag, variants))


def _take(
    place: object, count: int, *, dry_run: bool = True
) -> tuple[float, float]:
    """Seconds of the processor, and from start to end."""
    words = [str(place), str(_KEPT), str(dry_run), str(count - _KEPT)]
    told = programs.run(sys.executable, "-c", _PROGRAM, *words)
    processor, elapsed = map(float, told.split())
    return processor, elapsed


def _measure(count: int, runs: int) -> tuple[dict[str, float], float]:
    """The median processor seconds of each kind of pruning.

    :returns: these, and the seconds from start to end for a registry.
    """
    taken: dict[str, list[float]] = {"tree": [], "registry": [], "delete": []}
    elapsed: list[float] = []
    for _ in range(runs):
        with apache.readable_directory() as directory:
            tree = directory / "image-serve"
            _fill(tree, count)
            with apache.running(
                printed.virtual_host, tree, hostile=False
            ) as url:
                host = url.removeprefix("http://")
                taken["tree"].append(_take(tree, count)[0])
                processor, seconds = _take(host, count)
                taken["registry"].append(processor)
                elapsed.append(seconds)
            taken["delete"].append(_take(tree, count, dry_run=False)[0])
    medians = {n: statistics.median(values) for n, values in taken.items()}
    return medians, statistics.median(elapsed)


def main() -> int:
    """Measure; 1 when a growth is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=5000)
    parser.add_argument("--many", type=int, default=20000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    few, before = _measure(options.few, options.runs)
    many, elapsed = _measure(options.many, options.runs)
    growth = {
        name: many[name] / few[name] / (options.many / options.few)
        for name in few
    }
    for name, value in growth.items():
        print(
            f"{name:10} {few[name]:8.2f} s {many[name]:8.2f} s"
            f" {value:6.2f}  (bar {_BAR})"
        )
    print(f"{'elapsed':10} {before:8.2f} s {elapsed:8.2f} s  (bar {_SECONDS})")
    return int(max(growth.values()) > _BAR or elapsed > _SECONDS)


if __name__ == "__main__":
    sys.exit(main())
