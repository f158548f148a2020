"""``run --from``: images read at another place than their names say."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.heat.parameters import INSECURE_REGISTRIES
from imageprep_client.stores import verify
from imageprep_client.stores.base import ReadableStore
from imageprep_client.testing import content, images, streams
from imageprep_client.testing.registry import RegistryServer
from tests import programs
from tests.functional import base, deployment
from tests.functional.deployment import LABELS, UNDERCLOUD, Deployment
from tests.mounts import small_disk

TREE = ("--image-serve", "tree")
OUTPUT = ("--output-env-file", "out.yaml", "--report", "report.json")


@pytest.fixture(params=["tree", "layouts", "registry", "archive", "parts"])
def place(request: pytest.FixtureRequest, site: Deployment) -> Iterator[str]:
    """A place for the images of a run, below a path where that can be."""
    kinds = {
        "tree": f"image-serve:{site.home}/carried",
        "layouts": f"oci:{site.home}/carried//below",
        "archive": "carried.tar",
        "parts": "parts.tar",
    }
    if request.param in kinds:
        yield kinds[request.param]
    else:
        with RegistryServer() as registry:
            yield f"{registry.host}/below"


def facts(site: Deployment, name: str = "report.json") -> list[Any]:
    """The parts that the reports of both sides have in common."""
    rows = json.loads((site.home / name).read_text())["images"]
    keys = ("image", "source", "destination", "digest")
    return [[row[key] for key in keys] for row in rows]


def parameters(site: Deployment, name: str = "out.yaml") -> dict[str, Any]:
    """The parameters that name images."""
    found = site.defaults(name)
    found.pop(INSECURE_REGISTRIES)
    return found


def copy_to(site: Deployment, place: str, **entry: Any) -> None:
    """Run with this place as the destination of all images.

    The archive ``parts.tar`` is cut into parts.
    """
    if place.endswith(".tar"):
        site.environment(site.entry(**entry))
        cut = ("--split-size", "1") if place.startswith("parts") else ()
        site.run("--release", "master", "--carry", place, *cut)
        return
    site.environment(site.entry(push_destination=place, **entry))
    site.run("--release", "master")
    site.environment(site.entry(**entry))


def test_run_from_a_place(site: Deployment, place: str) -> None:
    """A run from the images of a run gives its parameters and digests."""
    copy_to(site, place)
    site.run(*TREE, *OUTPUT)
    expected = facts(site), site.defaults()
    asked = len(site.registry.requests())

    site.run("--image-serve", "other", *OUTPUT, "--from", place)

    assert (facts(site), site.defaults()) == expected
    assert len(site.registry.requests()) == asked
    for name in deployment.NAMES:
        store = site.tree("other").store(f"ns/openstack-{name}")
        assert store.holds(store.resolve("17.1"))


def labelled(site: Deployment) -> dict[str, Any]:
    """An entry whose images have versioned tags."""
    return {
        "set": site.values(tag="current-tripleo"),
        "tag_from_label": "{version}-{release}",
    }


@pytest.mark.parametrize("place", ["registry"], indirect=True)
def test_versioned_tags(site: Deployment, place: str) -> None:
    """The floating tag that the place lacks leads to the versioned one."""
    copy_to(site, place, **labelled(site))
    site.run(*TREE, *OUTPUT, "--release", "master")
    expected = facts(site), site.defaults()

    site.run(
        *("--image-serve", "other", *OUTPUT),
        *("--from", place, "--release", "master"),
    )

    assert (facts(site), site.defaults()) == expected
    assert parameters(site) == deployment.expected(tag="17.1.3-9")


@pytest.mark.parametrize(
    "place", ["image-serve:carried", "oci:carried", "carried.tar", "parts.tar"]
)
def test_without_a_network(site: Deployment, place: str) -> None:
    """From a directory or an archive a run needs no network."""
    copy_to(site, place, **labelled(site))

    site.openstack.installed(
        *site.words(*TREE, *OUTPUT, "--from", place, "--release", "master"),
        stderr=".*",
        through=("unshare", "--map-root-user", "--net"),
    )

    assert parameters(site) == deployment.expected(tag="17.1.3-9")
    for name in deployment.NAMES:
        store = site.tree().store(f"ns/openstack-{name}")
        assert store.resolve("17.1.3-9").digest == site.digest(name)


def test_place_that_is_not_there(site: Deployment) -> None:
    """A directory that does not exist is refused before anything is done."""
    for kind in ("image-serve", "oci"):
        place = f"{kind}:{site.home}/nothing"
        site.run(
            *(*TREE, "--from", place),
            status=2,
            stderr=r"[^\n]*/nothing: no such directory",
        )


def test_image_that_is_not_there(site: Deployment) -> None:
    """An image that the place lacks is reported by both of its names."""
    copy_to(site, f"oci:{site.home}/carried")
    site.environment(site.entry(set=site.values(tag="17.1.3")))
    site.run(
        *(*TREE, "--from", f"oci:{site.home}/carried"),
        status=2,
        stderr=r".*: oci:[^\n]*/carried//ns/openstack-keystone:17\.1\.3:"
        r" manifest unknown.*",
    )


# --- archives


def carry(site: Deployment, name: str, *words: str, **expected: Any) -> Path:
    """Carry the images of the site in this archive."""
    site.run("--carry", name, *words, **expected)
    return site.home / name


def test_archive_is_read_by_other_commands(site: Deployment) -> None:
    """Each command that reads an image or a place reads archives."""
    carry(site, "carried.tar")
    before = len(site.registry.requests())
    image = "oci-archive:carried.tar//ns/openstack-keystone:17.1"
    openstack = site.openstack
    prefix = "image-prepare"

    shown = openstack(prefix, "image", "show", image, "-f", "json")
    assert site.digest("keystone") in shown.stdout
    assert LABELS["version"] in shown.stdout
    listed = openstack(
        *(prefix, "image", "list", "--registry-url"),
        *("oci-archive:carried.tar", "-f", "json"),
    )
    for name in deployment.NAMES:
        assert f"ns/openstack-{name}:17.1" in listed.stdout
    verified = openstack(
        *(prefix, "verify", "--registry-url", "oci-archive:carried.tar")
    )
    assert "3 repositories, 3 tags, 3 manifests" in verified.summary
    openstack(prefix, "push", image, "--image-serve", "pushed")
    store = site.tree("pushed").store("ns/openstack-keystone")
    assert store.resolve("17.1").digest == site.digest("keystone")
    told = openstack(
        *(prefix, "tag", "discover", "--image", image),
        *("--tag-from-label", "release"),
        status=2,
        stderr=r".*label release gives tag 9, which is not in.*",
    )
    assert not told.stdout
    assert len(site.registry.requests()) == before


def test_signatures_of_the_registry_are_carried(site: Deployment) -> None:
    """Those that the registry keeps beside an image are in the archive."""
    digest = site.digest("keystone")
    entry = {"schemaVersion": 2, "type": "atomic", "content": "b25l"}
    for path, signatures in ((digest, [entry]), ("", [])):
        answer = json.dumps({"signatures": signatures}).encode()
        path = f"^/extensions/v2/.*{path}"
        site.registry.fail(path=path, status=200, body=answer, times=None)
    mark = {"X-Registry-Supports-Signatures": "1"}
    site.registry.fail(path="/v2/", headers=mark, times=None)
    archive = carry(site, "carried.tar")
    with tarfile.open(archive) as members:
        (name,) = (n for n in members.getnames() if n.startswith("signature"))
        signature = members.extractfile(name)
        assert signature is not None
        assert signature.read() == b"one"
    assert name.endswith(f"@{digest.replace(':', '=')}/signature-1")


def test_skopeo_reads_archives(site: Deployment) -> None:
    """An archive is an OCI layout in a tar, as skopeo reads it."""
    path = carry(site, "carried.tar")
    told = programs.run(
        *("skopeo", "inspect", "--format", "{{.Digest}}"),
        f"oci-archive:{path}:ns/openstack-keystone:17.1",
    )
    assert told.strip() == site.digest("keystone")


def test_options_without_an_archive(site: Deployment) -> None:
    """Options of an archive are refused where none is made."""
    for words in (("--since", "report.json"), ("--split-size", "1")):
        site.run(*words, status=2, stderr="--since and --split-size.*")


def test_carry_and_results(site: Deployment) -> None:
    """Carrying contacts no destination, and gives the report of the site."""
    report = ("--report", "report.json", "--output-env-file", "out.yaml")
    site.environment(site.entry(**labelled(site)))
    carry(site, "carried.tar", *report, "--release", "master")
    expected = facts(site)

    site.run(*TREE, *report, "--from", "carried.tar", "--release", "master")

    assert facts(site) == expected
    assert len(expected) == len(deployment.NAMES)


# --- several platforms


@pytest.fixture
def both(openstack: base.OpenStack) -> Iterator[Deployment]:
    """A site whose images are for two platforms, named in all ways."""
    platforms = (images.AMD64, images.ARM64)
    with deployment.deployed(openstack, platforms=platforms) as found:
        table = "container_images_template:\n"
        for name, at in (
            ("keystone", "@{digest}"),
            ("nova-api", ":17.1@{digest}"),
            ("nova-compute", ":17.1"),
        ):
            at = at.format(digest=found.digest(name))
            table += (
                f'- imagename: "{{{{namespace}}}}/openstack-{name}{at}"\n'
                "  image_source: kolla\n"
                f"  params: [Parameter{name}]\n"
            )
        found.write("table.j2", table)
        yield found


@pytest.mark.parametrize("multi_arch", [False, True])
def test_indexes(both: Deployment, multi_arch: bool) -> None:
    """The reports of both sides agree in the images of indexes, too."""
    both.environment(both.entry(multi_arch=multi_arch))
    both.run(*TREE, *OUTPUT)
    expected = facts(both)
    carry(both, "carried.tar", "--report", "carried.json")
    assert facts(both, "carried.json") == expected

    both.run(*("--image-serve", "other", *OUTPUT, "--from", "carried.tar"))

    assert facts(both) == expected
    digests = {row[-1] for row in expected}
    indexes = {both.digest(name) for name in deployment.NAMES}
    assert (digests == indexes) is multi_arch
    assert len(digests | indexes) == (3 if multi_arch else 6)


# --- archives that are not as they were written


def test_broken_archives(site: Deployment) -> None:
    """Whatever is wrong with an archive is said in a line; nothing is done."""
    path = carry(site, "carried.tar")
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        index = tar.getmember("index.json")
    size = 512 + index.size + -index.size % 512
    entry = data[index.offset : index.offset + size]
    changed = data.replace(entry, entry.replace(b"manifests", b"Manifests"))
    link = tarfile.TarInfo("blobs/sha256/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for name, spoiled, reason in (
        ("cut.tar", data[: len(data) // 2], "truncated"),
        ("zero.tar", bytes(4096), "no oci-layout|no index.json"),
        ("text.tar", b"no tar at all " * 100, "no tar"),
        ("twice.tar", entry + data, "'index.json': is there twice"),
        ("link.tar", link.tobuf() + data, "not a regular file"),
        ("changed.tar", changed, "index.json: its checksum is wrong"),
    ):
        (site.home / name).write_bytes(spoiled)
        told = site.run(
            *(*TREE, "--from", name), status=2, stderr=f"[^\\n]*{name}: .*"
        )
        error, *hints = told.messages.splitlines()[-2:]
        assert re.search(reason, error), told.stderr
        assert [h for h in hints if not h.startswith("hint: ")] == []
        assert not (site.home / "tree").exists()


def test_archive_with_a_damaged_layer(site: Deployment) -> None:
    """Only the images that have the layer fail, and have no tag."""
    path = carry(site, "carried.tar")
    (image,) = (
        one for one in site.images.images if "keystone" in one.repository
    )
    layer = image.blobs[-1].descriptor.digest.partition(":")[2]
    with tarfile.open(path) as tar:
        member = tar.getmember(f"blobs/sha256/{layer}")
    with path.open("r+b") as file:
        file.seek(member.offset_data)
        file.write(bytes(16))
    told = site.run(
        *(*TREE, "--from", path.name, "--keep-going"),
        status=1,
        stderr=".*keystone.*",
    )
    assert f"{layer}" in told.stderr
    for name in deployment.NAMES:
        store = site.tree().store(f"ns/openstack-{name}")
        if name == "keystone":
            with pytest.raises(errors.NotFound):
                store.resolve("17.1")
        else:
            assert store.resolve("17.1").digest == site.digest(name)


@pytest.mark.needs_root
def test_full_disk(site: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that fills up is named, and the next run goes on."""
    small = site.home / "small"
    with small_disk(small, "size=96k", caplog):
        told = site.run(
            *("--carry", "small/carried.tar"),
            status=(1, 2),
            stderr=r".*small.*bytes needed.*bytes free.*",
        )
        assert "Traceback" not in told.stderr
        assert not (small / "carried.tar").exists()
        words = ("mount", "-o", "remount,size=64m", small)
        subprocess.run(words, check=True)
        carry(site, "small/carried.tar")
        assert list(small.iterdir()) == [small / "carried.tar"]
        site.run(*TREE, "--from", "small/carried.tar")


# --- the next release


def next_release(site: Deployment) -> content.Piece:
    """Give each image a new layer, under the tag 17.2; gives the layer."""
    layer = content.blob("new", 40_000)
    for image in site.images.images:
        store = site.registry.content.store(image.repository)
        old = verify.manifest(store, image.descriptor)
        layers = [
            content.Piece(one, streams.read(store, one)) for one in old.layers
        ]
        new = content.image(image.repository, [*layers, layer])
        streams.put(store, new, "17.2")
    site.environment(site.entry(set=site.values(tag="17.2")))
    return layer


@pytest.mark.parametrize(
    ("since", "destination"),
    [("first.tar", "tree"), ("report.json", "registry")],
)
def test_since(site: Deployment, since: str, destination: str) -> None:
    """The second archive has what is new, and a run from it gives it all."""
    first = carry(site, "first.tar")
    with RegistryServer() as local:
        place = local.host if destination == "registry" else UNDERCLOUD
        tree = TREE if destination == "tree" else ()
        site.environment(site.entry(push_destination=place))
        site.run(*tree, *OUTPUT, "--from", "first.tar")
        layer = next_release(site)
        site.environment(
            site.entry(push_destination=place, set=site.values(tag="17.2"))
        )

        second = carry(site, "second.tar", "--since", since)

        new = layer.descriptor.size
        assert new < second.stat().st_size < new + 40_000
        assert second.stat().st_size < first.stat().st_size / 2
        asked = len(site.registry.requests())
        rows = site.rows(*tree, "--from", "second.tar")
        assert len(site.registry.requests()) == asked
        assert {row["Outcome"] for row in rows} == {"copied"}
        for image in site.images.images:
            store: ReadableStore = (
                local.content.store(image.repository)
                if destination == "registry"
                else site.tree().store(image.repository)
            )
            found = verify.manifest(store, store.resolve("17.2"))
            for blob in found.blobs:
                assert streams.read(store, blob)


def test_since_several(site: Deployment) -> None:
    """Content of any of several archives is left out of the next one."""
    carry(site, "first.tar")
    entry = site.entry(excludes=["/openstack-keystone:"])
    layer = next_release(site)
    carry(site, "second.tar", "--since", "first.tar")
    # What is wanted now is in neither of the two alone.
    site.environment(
        site.entry(includes=["/openstack-keystone:"]),
        {**entry, "set": site.values(tag="17.2")},
    )
    first, second = ("--since", "first.tar"), ("--since", "second.tar")
    one = carry(site, "one.tar", *first).stat().st_size
    two = carry(site, "two.tar", *first, *second).stat().st_size
    assert two + layer.descriptor.size <= one


def test_since_for_another_site(site: Deployment) -> None:
    """Where the layers are missing the image fails and says what to do."""
    carry(site, "first.tar")
    next_release(site)
    carry(site, "second.tar", "--since", "first.tar")
    site.run(
        *(*TREE, "--from", "second.tar"),
        status=(1, 2),
        stderr=r".*left out of the archive, for a place that has it.*"
        r"carry the images again without --since.*",
    )
    store = site.tree().store("ns/openstack-keystone")
    with pytest.raises(errors.NotFound):
        store.resolve("17.2")


def test_since_of_no_report(site: Deployment) -> None:
    """A file that is neither an archive nor a report is refused by name."""
    site.write("other.json", "{}")
    row = {"digest": "sha256:x", "source": "a/b:1", "image": "a/b:1"}
    for name, image in {"numbers": {**row, "source": 1}, "less": row}.items():
        site.write(
            f"{name}.json", json.dumps({"version": 1, "images": [image]})
        )
    site.write("other.tar", "x" * 1000)
    for name, reason in (
        ("other.json", "neither an archive nor a report of run: it has no"),
        ("numbers.json", "neither an archive nor a report of run: its parts"),
        ("less.json", "neither an archive nor a report of run: it has no 'ou"),
        ("other.tar", "no tar"),
        ("nothing", "no such file"),
    ):
        site.run(
            *("--carry", "new.tar", "--since", name),
            status=2,
            stderr=f".*{name}: {reason}.*",
        )
    site.run(
        *("--carry", "other.tar", "--since", "other.tar"),
        status=2,
        stderr=".*other.tar.*",
    )
    assert (site.home / "other.tar").read_text() == "x" * 1000


# --- the guide

GUIDE = Path(__file__).parents[2] / "doc/source/user/without-network.rst"


def test_commands_of_the_guide(site: Deployment) -> None:
    """The commands of the guide work in their order."""
    text = GUIDE.read_text()
    commands = re.findall(r"(?m)^   \$ openstack (image-prepare .*)$", text)
    assert len(commands) == 8
    for number, command in enumerate(commands):
        words = command.split()
        if number == 3:
            next_release(site)
            (site.home / "env.yaml").rename(site.home / "next.yaml")
            assert facts(site, "carried.json") == facts(site, "site.json")
        if words[1] == "run":
            words += ["--template-file", "table.j2"]
        if "--from" in words or words[1] == "push":
            words += TREE
        site.openstack(*words, stderr=deployment.PLAIN)
    assert parameters(site, "images.yaml") == deployment.expected(tag="17.2")
