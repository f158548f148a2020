"""Tags from labels."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.container.discovery import versioned
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import memory, verify
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.known import KnownContent

LABELS = {"rdo_version": "v1", "version": "17.1", "release": "4", "a.b": "v1"}


@pytest.fixture
def store() -> memory.MemoryStore:
    store = memory.MemoryRegistry().store("ns/nova-api")
    put(store, content.image("x", labels=LABELS), "current", "v1", "17.1-4")
    return store


def discover(
    store: memory.MemoryStore,
    label: str = "rdo_version",
    *,
    tag: str = "current",
    fallback: bool = False,
) -> str:
    return versioned.discover(
        store, "ns/nova-api:current", tag, label, fallback=fallback
    ).tag


def test_label(store):
    """The label's value is the tag, and its digest comes along."""
    found = versioned.discover(
        store, "n", "current", "rdo_version", fallback=False
    )
    assert found.tag == "v1"
    assert found.descriptor == store.resolve("v1")
    assert found.labels["release"] == "4"


def test_template(store):
    """Several labels make a tag."""
    assert discover(store, "{version}-{release}") == "17.1-4"


def test_label_name_with_dots(store):
    """A dot in a template is part of the label's name."""
    assert discover(store, "{a.b}") == "v1"


@pytest.mark.parametrize(
    "label", ["{version!r}", "{version:>10}", "{version", "}{"]
)
def test_bad_template(store, label):
    """An expression that a template may not have is refused, not evaluated."""
    with pytest.raises(errors.DiscoveryError, match="no label template"):
        discover(store, label)


@pytest.mark.parametrize(
    "label", ["{version.__class__}", "{version[0]}", "{}", "{0}"]
)
def test_template_reaches_labels_only(store, label):
    """Attributes and indexes are taken for names of labels."""
    with pytest.raises(errors.DiscoveryError, match="no label"):
        discover(store, label)


def test_missing_label_names_those_there_are(store):
    """Without the label, the error lists the image's labels."""
    with pytest.raises(
        errors.DiscoveryError, match=r"no label nope; its labels: a\.b, rdo"
    ):
        discover(store, "nope")


def test_missing_label_falls_back(store):
    """With the default tag, a missing label keeps it."""
    assert discover(store, "nope", fallback=True) == "current"
    assert discover(store, "{nope}", fallback=True) == "current"


def test_no_labels_at_all(store):
    """An image without labels is told so."""
    put(store, content.image("bare"), "bare")
    with pytest.raises(errors.DiscoveryError, match="its labels: none"):
        discover(store, tag="bare")


def test_discovered_tag_must_exist(store):
    """A label that names a tag which is not there is an error."""
    with pytest.raises(errors.DiscoveryError, match=r"tag 17\.1, which is"):
        discover(store, "version")


def test_discovered_tag_must_be_a_tag(store):
    """A label whose value is no tag never becomes a request."""
    put(store, content.image("h", labels={"v": "../../x"}), "h")
    with pytest.raises(errors.DiscoveryError, match="which is no tag"):
        discover(store, "v", tag="h")


def test_default_tag_that_does_not_exist(store):
    """Then the labels of the tag listed last count."""
    assert discover(store, tag="absent", fallback=True) == "v1"


def test_default_tag_and_label_that_do_not_exist(store):
    """There is nothing to fall back on: the missing label is told."""
    with pytest.raises(errors.DiscoveryError, match="no label nope"):
        discover(store, "nope", tag="absent", fallback=True)


def test_given_tag_that_does_not_exist(store):
    """A tag that the user named is not replaced by another."""
    with pytest.raises(errors.NotFound):
        discover(store, tag="absent")


def test_labels_alone(store):
    """Without a label to look for, the tag stays and labels are told."""
    found = versioned.discover(store, "n", "current", "", fallback=True)
    assert (found.tag, found.labels["release"]) == ("current", "4")
    with pytest.raises(errors.NotFound):
        versioned.discover(store, "n", "absent", "", fallback=True)


def test_empty_repository():
    """No tag at all: the image is not found."""
    store = memory.MemoryRegistry().store("empty")
    with pytest.raises(errors.NotFound):
        discover(store, fallback=True)


@pytest.mark.parametrize("platforms", [("linux/amd64", "linux/s390x")])
def test_labels_of_an_index(store, platforms):
    """The labels of an index are those of one of its images."""
    children = {
        p: content.image(p, labels={"rdo_version": "v1", "p": p})
        for p in platforms
    }
    put(store, content.index(children), "multi")
    assert discover(store, tag="multi") == "v1"


def test_labels_on_a_host_of_another_platform(store, monkeypatch):
    """A host whose platform is not in the index reads amd64's labels."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    children = {
        p: content.image(p, labels={"rdo_version": "v1"})
        for p in ("linux/amd64", "linux/arm64")
    }
    put(store, content.index(children), "multi")
    assert discover(store, tag="multi") == "v1"


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        (("linux/arm64", "linux/amd64"), "v2"),
        (("linux/s390x", "linux/arm64"), "v2"),
        (("linux/s390x",), "v1"),
        ((), "v1"),
    ],
)
def test_labels_of_the_platform_that_is_copied(
    store, monkeypatch, wanted, tag
):
    """Of an index, the labels of what a run copies count."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    labels = {"linux/amd64": "v1", "linux/arm64": "v2"}
    children = {
        p: content.image(p, labels={"rdo_version": v})
        for p, v in labels.items()
    }
    put(store, content.index(children), "multi", "v2")
    found = versioned.discover(
        store,
        "n",
        "multi",
        "rdo_version",
        fallback=False,
        platforms=tuple(map(Platform.parse, wanted)),
    )
    assert found.tag == tag


def test_huge_config_is_not_read(store):
    """Labels are read of configs of a sane size only."""
    config = content.blob("x", 5 << 20, mediatypes.OCI_CONFIG)
    put(store, content.image("huge", [], config=config), "huge")
    with pytest.raises(errors.SizeMismatch, match="more than 4194304 bytes"):
        discover(store, tag="huge")


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"config": [1]}'])
def test_config_that_is_none(store, config):
    """A config that is no image config is refused."""
    piece = content.piece(config, mediatypes.OCI_CONFIG)
    put(store, content.image("broken", [], config=piece), "broken")
    with pytest.raises(errors.InvalidContent, match="image config"):
        discover(store, tag="broken")


def test_versioned_tag_needs_a_label() -> None:
    """Without a label the labels that there are are told."""
    store = memory.MemoryRegistry().store("ns/name")
    found = content.image("labelled", labels={"b": "2", "a": "1"})
    for piece in found.pieces:
        store.push(piece.descriptor, piece.open())
    for tag in ("0", "1"):
        store.tag(found.descriptor, tag)
    with pytest.raises(errors.DiscoveryError, match="its labels: a, b"):
        versioned.versioned_tag(store, "name:0", "0", "")
    assert versioned.versioned_tag(store, "name:0", "0", "a") == "1"


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("currant", "the nearest tags there are: current"),
        ("current", "the nearest tags there are: 17.1.2"),
    ],
)
def test_nearest_tags(tag: str, hint: str) -> None:
    """A tag that does not exist is told with those that are like it, be it
    the user's or the one that a label gives.
    """
    store = memory.MemoryRegistry().store("ns/name")
    image = content.image("x", labels={"v": "17.1.3"})
    put(store, image, "current", "17.1.2")
    with pytest.raises((errors.NotFound, errors.DiscoveryError)) as caught:
        versioned.versioned_tag(store, f"name:{tag}", tag, "v")
    assert caught.value.hint == hint


class Lossy(memory.MemoryStore):
    """Damages what leaves it for the first times, and counts that."""

    damaged = 0

    def __init__(self, home: memory.MemoryRegistry, repository: str) -> None:
        super().__init__(home, repository)
        self.fetched: list[str] = []

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        self.fetched.append(descriptor.digest)
        if self.damaged:
            self.damaged -= 1
            wrong = bytes([self.damaged]) * descriptor.size
            return verify.from_bytes(wrong, descriptor)
        return super().fetch(descriptor)


@pytest.fixture
def lossy() -> Lossy:
    store = Lossy(memory.MemoryRegistry(), "ns/nova-api")
    put(store, content.image("x", labels=LABELS), "current", "v1")
    return store


def test_damaged_manifests_and_configs_are_read_again(lossy):
    """Content damaged on its way is read again, as blobs are."""
    lossy.damaged = 3
    assert discover(lossy) == "v1"


def test_wrong_configs_end_it(lossy):
    """The same wrong bytes come again, so it is told at once."""
    lossy.damaged = 100
    lossy.fetch = lambda descriptor: verify.from_bytes(
        bytes(descriptor.size), descriptor
    )
    with pytest.raises(errors.DigestMismatch):
        discover(lossy)


def test_what_discovery_read_is_not_fetched_again(lossy):
    """The copy has the manifest and the config from memory."""
    known = KnownContent()
    found = versioned.discover(
        lossy, "n", "current", "rdo_version", fallback=False, known=known
    )
    (result,) = engine.copy_all(
        [
            Copy(
                name="n",
                source=lossy,
                reference=found.tag,
                destination=memory.MemoryRegistry("d").store("n"),
                tag=found.tag,
                descriptor=found.descriptor,
            )
        ],
        observer=Observer(),
        known=known,
    )
    assert result.error is None
    assert len(lossy.fetched) == len(set(lossy.fetched))
