"""Images in registries, and the commands over them that are measured."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imageprep_client import catalog
from imageprep_client.oci.reference import Reference
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import images
from tests import servers

#: The tag that the environments give, and the one that the images' label has.
TAG, VERSION = "current", "17.1-20260102.3"
_LABEL = "version"
_TAGS = (TAG, VERSION)
_LABELS = {_LABEL: VERSION, "release": "3", "vendor": "bench"}
_NAMESPACE = "bench"
# A release that discovers tags though the environment gives one.
_RELEASE = "master"
_REQUEST = r"^(GET|HEAD|PUT|POST|PATCH|DELETE) "
_TRANSFERS = 8
#: What is kept of the caller's environment; above all no ``OS_*``.
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")
_THREADS = 8


class NotMeasured(Exception):
    """A command failed, so there is nothing to measure."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """The cost of a command.

    :ivar seconds: from its start to its end.
    :ivar processor: seconds of processor time.
    :ivar peak: bytes of memory, at most.
    """

    seconds: float
    processor: float
    peak: int


class Source:
    """A docker-registry that has a set of images.

    :ivar images: what is in it.
    :ivar host: where it listens.
    """

    def __init__(
        self, found: images.ImageSet, registry: servers.DockerRegistry
    ) -> None:
        self.images = found
        self.registry = registry
        self.host = registry.host

    def requests(self) -> int:
        """How many requests it had so far."""
        return len(self.registry.requests(_REQUEST))

    def blob_requests(self) -> list[str]:
        """The digests of the blobs that it was asked for."""
        found = self.registry.requests(r"^GET \S+/blobs/sha256:")
        return [text.split()[1].rpartition("/")[2] for text in found]


def overcloud(
    count: int, unique_bytes: int, seed: str = "bench"
) -> images.ImageSet:
    """Images that share layers as those of a deployment do."""
    return images.overcloud(
        {f"{_NAMESPACE}/image-{n:04}": _TAGS for n in range(count)},
        seed=seed,
        unique_bytes=unique_bytes,
        labels=_LABELS,
    )


def release(unique_bytes: int, seed: str = "bench") -> images.ImageSet:
    """The same, of a release: 86 images that are in its table."""
    return images.overcloud(
        dict.fromkeys(_release_names(), _TAGS),
        seed=seed,
        unique_bytes=unique_bytes,
        labels=_LABELS,
    )


@functools.cache
def _release_names() -> tuple[str, ...]:
    values = {
        "namespace": f"localhost/{_NAMESPACE}",
        "tag": TAG,
        "neutron_driver": "ovn",
    }
    rendered = catalog.load(_RELEASE).render(values)
    found = {Reference.parse(entry.image).repository for entry in rendered}
    return tuple(sorted(n for n in found if n.startswith(_NAMESPACE)))[:86]


def one_layer(size: int) -> images.ImageSet:
    """One image with one large layer."""
    name = f"{_NAMESPACE}/image-0000"
    image = images.random_image(
        "large",
        repository=name,
        tags=_TAGS,
        labels=_LABELS,
        layers=1,
        size=size,
    )
    return images.ImageSet((image,))


@contextlib.contextmanager
def filled(
    directory: pathlib.Path, found: images.ImageSet
) -> Iterator[Source]:
    """A registry with the images; it is filled unless it is already."""
    digests = sorted(image.descriptor.digest for image in found.images)
    content = hashlib.sha256("".join(digests).encode()).hexdigest()
    mark = directory / "filled"
    is_filled = mark.exists() and mark.read_text() == content
    if not is_filled:
        shutil.rmtree(directory, ignore_errors=True)
    with servers.docker_registry(directory, access_log=True) as registry:
        if not is_filled:
            _fill(registry.host, found)
            mark.write_text(content)
        yield Source(found, registry)


def _fill(host: str, found: images.ImageSet) -> None:
    """Push each blob once, then let the images share them."""
    homes = {
        blob.descriptor.digest: (image.repository, blob)
        for image in reversed(found.images)
        for blob in image.blobs
    }
    with (
        RegistryClient(concurrency=_THREADS) as client,
        ThreadPoolExecutor(_THREADS) as pool,
    ):

        def push(home: tuple[str, images.Blob]) -> None:
            repository, blob = home
            with blob.open() as content:
                client.store(host, repository).push(blob.descriptor, content)

        def tag(image: images.GeneratedImage) -> None:
            store = client.store(host, image.repository)
            for blob in image.blobs:
                home = homes[blob.descriptor.digest][0]
                if home != image.repository:
                    store.mount(blob.descriptor, home)
            without_blobs = dataclasses.replace(image, blobs=())
            images.write([without_blobs], lambda name: store)

        list(pool.map(push, homes.values()))
        list(pool.map(tag, found.images))


def measure(
    description: str | None, work: Callable[[pathlib.Path, int, int], bool]
) -> int:
    """Measure with the words of the command line; whether a bar is missed.

    :param work: is given a directory, bytes of unique content and the runs.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", type=int, default=512, help="in MiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", default="/var/tmp")  # noqa: S108 - on a disk
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        met = work(pathlib.Path(directory), options.size << 20, options.runs)
    return 0 if met else 1


class Bench:
    """Runs commands in a directory of their own and takes their measure.

    :param say: told what is being done.
    """

    def __init__(
        self, directory: pathlib.Path, say: Callable[[str], None]
    ) -> None:
        self.directory = directory
        self.say = say
        kept = {k: os.environ[k] for k in _KEPT if k in os.environ}
        self._state = directory / "state"
        self._environment = {
            **kept,
            "HOME": str(directory),
            "XDG_STATE_HOME": str(self._state),
        }

    def take(self, name: str, command: Sequence[str]) -> Taken:
        """Run a command to its end.

        :raises NotMeasured: when it fails; with what it said.
        """
        self.directory.mkdir(exist_ok=True)
        # What an earlier command wrote is not to slow this one.
        os.sync()
        result, log = self.directory / "taken", self.directory / "log"
        child = pathlib.Path(__file__).with_name("child.py")
        with log.open("wb") as output:
            status = subprocess.run(
                [sys.executable, "-I", "-S", child, result, *command],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status:
            said = log.read_text("utf-8", "replace")[-2000:]
            raise NotMeasured(f"{name}: exit status {status}\n{said}")
        taken = Taken(**json.loads(result.read_text()))
        self.say(
            f"  {name:<34}{taken.seconds:8.2f} s"
            f"  (processor {taken.processor:.2f} s,"
            f" {taken.peak / 1e6:.0f} MB)"
        )
        return taken

    def version(self) -> Taken:
        """``openstack --version``."""
        return self.take("openstack --version", [_program(), "--version"])

    def run(
        self,
        name: str,
        found: images.ImageSet,
        host: str,
        destination: str,
        *words: str,
        again: bool = False,
    ) -> Taken:
        """``openstack image-prepare run`` over all images.

        :param host: the registry they come from.
        :param destination: a registry, or the path of a tree.
        :param again: whether what earlier runs kept of the content of
            registries may be used.
        """
        if not again:
            cache = self.directory / ".cache" / "imageprep-client"
            shutil.rmtree(cache, ignore_errors=True)
            shutil.rmtree(self._state, ignore_errors=True)
        table = self.write_environment(found, host, destination)
        is_tree = destination.startswith("/")
        tree = ["--image-serve", destination] if is_tree else []
        return self.take(
            name,
            [
                *(_program(), "image-prepare", "run", "-e", "env.yaml"),
                *(*table, *tree, "--output-env-file", "out.yaml", *words),
            ],
        )

    def write_environment(
        self,
        found: images.ImageSet,
        host: str,
        destination: str,
        **values: str,
    ) -> list[str]:
        """Write ``env.yaml``, which names all images.

        :param values: other values of ``set``.
        :returns: the options that say which table has them.
        """
        is_tree = destination.startswith("/")
        entry = {
            "push_destination": "localhost:8787" if is_tree else destination,
            "set": {"namespace": f"{host}/{_NAMESPACE}", "tag": TAG, **values},
            "tag_from_label": _LABEL,
        }
        names = [image.repository for image in found.images]
        if set(names) <= set(_release_names()):
            entry["includes"] = [f"/{name}:" for name in names]
            table = ["--release", _RELEASE]
        else:
            self._write("table.j2", _table(found))
            table = ["--template-file", "table.j2"]
        defaults = {"ContainerImagePrepare": [entry]}
        environment = {"parameter_defaults": defaults}
        # JSON is YAML.
        self._write("env.yaml", json.dumps(environment))
        return table

    def skopeo(
        self, name: str, found: images.ImageSet, host: str, destination: str
    ) -> Taken:
        """``skopeo sync`` of all images, to a registry or directory."""
        kind = "dir" if destination.startswith("/") else "docker"
        wanted = {image.repository: [VERSION] for image in found.images}
        document = {host: {"tls-verify": False, "images": wanted}}
        self._write("sync.yaml", json.dumps(document))
        return self.take(
            name,
            [
                *("skopeo", "--insecure-policy", "sync", "--src", "yaml"),
                *("--dest", kind, "--dest-tls-verify=false"),
                *("sync.yaml", destination),
            ],
        )

    def limit(self, source: Source) -> Taken:
        """Only move the bytes: curl, sha256sum on two processors, sync."""
        target = self.directory / "limit"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        homes = {
            blob.descriptor.digest: (image.repository, blob.descriptor.size)
            for image in source.images.images
            for blob in image.blobs
        }
        urls = []
        shares: list[tuple[int, list[str]]] = [(0, []), (0, [])]
        # Balanced: the largest blob goes to the program with least to do.
        for digest in sorted(homes, key=lambda d: -homes[d][1]):
            repository, size = homes[digest]
            url = f"http://{source.host}/v2/{repository}/blobs/{digest}"
            urls.append(f'url = "{url}"\noutput = "{digest}"\n')
            done, lines = shares[0]
            lines.append(f"{digest.partition(':')[2]}  {digest}\n")
            shares = sorted(
                [(done + size, lines), shares[1]], key=lambda share: share[0]
            )
        (target / "urls").write_text("".join(urls))
        for number, (_, lines) in enumerate(shares):
            (target / f"sums-{number}").write_text("".join(lines))
        script = (
            "cd limit &&"
            f" curl -sSf -Z --parallel-max {_TRANSFERS} -K urls && {{"
            " sha256sum --check --quiet sums-0 & first=$!;"
            " sha256sum --check --quiet sums-1 && wait $first; } &&"
            " sync -f ."
        )
        taken = self.take("the limit: curl", ["sh", "-c", script])
        shutil.rmtree(target)
        return taken

    def moves(self, source: Source, destination: str) -> Taken:
        """Only move the blobs to a registry; see `tests.benchmarks.moves`."""
        wanted: dict[str, dict[str, Any]] = {}
        for image in source.images.images:
            for blob in image.blobs:
                digest, size = blob.descriptor.digest, blob.descriptor.size
                entry = wanted.setdefault(
                    digest,
                    {"digest": digest, "size": size, "repositories": []},
                )
                entry["repositories"].append(image.repository)
        job = {
            "source": source.host,
            "destination": destination,
            "blobs": list(wanted.values()),
        }
        self._write("moves.json", json.dumps(job))
        program = pathlib.Path(__file__).with_name("moves.py")
        return self.take(
            "the limit: moves", [sys.executable, str(program), "moves.json"]
        )

    def _write(self, name: str, text: str) -> None:
        self.directory.mkdir(exist_ok=True)
        (self.directory / name).write_text(text)


def _program() -> str:
    return str(pathlib.Path(sys.executable).with_name("openstack"))


def _table(found: images.ImageSet) -> str:
    """An image table with all images, as users may bring one.

    A loop: a template that spells out a thousand images takes more memory
    to compile than they take to copy.
    """
    names = [image.repository.partition("/")[2] for image in found.images]
    return f"""\
container_images_template:
{{% for name in {names!r} %}}
- imagename: "{{{{namespace}}}}/{{{{name}}}}:{{{{tag}}}}"
  image_source: bench
  params: [Container{{{{loop.index}}}}Image]
{{% endfor %}}
"""
