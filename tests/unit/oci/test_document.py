"""JSON documents that could be read in two ways."""

from __future__ import annotations

import json

import pytest

from imageprep_client import errors
from imageprep_client.oci import config as configs
from imageprep_client.oci import document as documents
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

DIGEST = "sha256:" + "a" * 64


def test_object() -> None:
    """A JSON object is read as it is."""
    content = '{"a": [1, -2.5, null, true], "b": {"a": "\\ud83d\\ude00é"}}'
    assert documents.parse(content.encode(), "x") == {
        "a": [1, -2.5, None, True],
        "b": {"a": "\U0001f600é"},
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' twice"),
        (b'{"a": {"b": [], "\\u0062": []}}', "key 'b' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": %s}' % (b"9" * 21), "21 digits"),
        (b'{"a": %s}' % (b"9" * 5000), "5000 digits"),
        (b'{"a": "\xff"}', "no UTF-8 at byte 7"),
        ('{"a": "é"}'.encode("latin-1"), "no UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "no UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "no JSON"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1} {"a": 2}', "extra data at line 1 column 10"),
        (b"[]", "not a JSON object"),
        (b"", "no JSON"),
    ],
)
def test_refused(content: bytes, problem: str) -> None:
    """A document that can be read in two ways is refused with the reason."""
    with pytest.raises(errors.InvalidContent, match=problem) as caught:
        documents.parse(content, "thing")
    assert str(caught.value).startswith("thing: ")
    assert caught.value.__cause__ is None


def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small objects take no memory beyond a bound on their sum."""
    monkeypatch.setattr(documents, "MAX_KEYS", 3)
    documents.parse(b'{"a": [{"b": 1}, {"b": 1}]}', "x")
    with pytest.raises(errors.InvalidContent, match="over 3 keys"):
        documents.parse(b'{"a": [{"b": 1}, {"b": 1}, {"b": 1}]}', "x")


@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f"])
def test_fields_of_a_manifest_in_another_case(key: str) -> None:
    """Go would take it for the list of layers, and run other ones."""
    document = {
        "schemaVersion": 2,
        "layers": [],
        key: [],
        "config": {"mediaType": "x/y", "digest": DIGEST, "size": 2},
    }
    content = json.dumps(document)
    with pytest.raises(errors.InvalidContent, match="read as 'layers'"):
        manifests.parse(content.encode(), mediatypes.OCI_MANIFEST)


def test_fields_of_a_descriptor_in_another_case() -> None:
    """The same holds for what describes a layer."""
    document = {"mediaType": "x/y", "digest": DIGEST, "size": 3, "Digest": ""}
    with pytest.raises(errors.InvalidReference, match="read as 'digest'"):
        Descriptor.from_json(document)


def test_size_of_a_descriptor_fits_64_bits() -> None:
    """Others could only read another number."""
    document = {"mediaType": "x/y", "digest": DIGEST, "size": 2**63}
    with pytest.raises(errors.InvalidReference, match="invalid size"):
        Descriptor.from_json(document)


@pytest.mark.parametrize(
    "content",
    [
        b'{"config": {"Labels": {"a": "1"}}, "Config": {}}',
        b'{"config": {"Labels": {"a": "1"}, "labels": {}}}',
        b'{"config": {"Labels": {"a": "1", "a": "2"}}}',
        b'{"config": {"Labels": {"a": NaN}}}',
        b'{"config": {"Labels": []}}',
        b'{"config": "x"}',
        b'{"rootfs": {"diff_ids": "x"}}',
        b"[]",
    ],
)
def test_configs_refused(content: bytes) -> None:
    """A config whose labels could be read in two ways is refused."""
    with pytest.raises(errors.InvalidContent, match="thing: image config"):
        configs.parse(content, "thing")


def test_labels_that_differ_in_case_are_two() -> None:
    """Labels are names of the image's author, not fields."""
    content = b'{"config": {"Labels": {"a": "1", "A": 2}}, "os": "linux"}'
    config = configs.parse(content, "x")
    assert config.labels == {"a": "1", "A": "2"}
    assert config.os == "linux"
    assert config.created is None


def test_labels_that_are_null() -> None:
    """A label that is null is empty, as for the decoder of Go."""
    content = b'{"config": {"Labels": {"a": null}}}'
    assert configs.parse(content, "x").labels == {"a": ""}


@pytest.mark.parametrize(
    "content", [b"{}", b'{"config": null}', b'{"config": {"Labels": null}}']
)
def test_config_without_labels(content: bytes) -> None:
    """Encoders of Go write what is empty as null."""
    assert configs.parse(content, "x") == configs.ImageConfig()


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b'{"mediaType": "x/y; q=1"}', "x/y"),
        (b'{"manifests": null}', mediatypes.OCI_INDEX),
        (b'{"layers": []}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2, "config": {}}', mediatypes.OCI_MANIFEST),
        (b'{"config": {}}', ""),
        (b"{}", ""),
        (b"[]", ""),
        (b"\xff", ""),
    ],
)
def test_type_by_content(content: bytes, media_type: str) -> None:
    """A manifest without a media type shows by its fields what it is."""
    assert manifests.type_of(content) == media_type
