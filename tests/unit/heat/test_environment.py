"""Heat environments: collecting, loading, merging."""

from __future__ import annotations

import copy

import pytest

from imageprep_client import errors
from imageprep_client.heat import environment


def merge(*documents):
    """The documents merged, each from a file named after its place."""
    return environment.merge(
        environment.from_data(document, f"{number}.yaml")
        for number, document in enumerate(documents)
    )


def defaults(*values):
    """Values for `X` in one file each, merged; the resulting value."""
    return merge(
        *({"parameter_defaults": {"X": value}} for value in values)
    ).parameter_defaults["X"]


@pytest.fixture
def directory(tmp_path):
    """A directory with environments and other things."""
    directory = tmp_path / "environments"
    directory.mkdir()
    for name in ("b.yaml", "a.yaml", ".hidden.yaml", "c.yml", "notes.txt"):
        (directory / name).write_text("")
    (directory / "d.yaml").mkdir()
    return directory


def test_collect_order(directory):
    """Directories come first, sorted; files follow in their order."""
    found = environment.collect(["z.yaml", "y.yaml"], [str(directory)])
    assert found == [
        f"{directory}/a.yaml",
        f"{directory}/b.yaml",
        "z.yaml",
        "y.yaml",
    ]


def test_collect_missing_directory(tmp_path):
    """A directory that was asked for must be there."""
    with pytest.raises(errors.InvalidArgument, match="none: no such file"):
        environment.collect([], [str(tmp_path / "none")])


def test_collect_file_as_directory(directory):
    """A file is no directory."""
    name = str(directory / "a.yaml")
    with pytest.raises(errors.InvalidArgument, match="not a directory"):
        environment.collect([], [name])


def test_collect_home(directory, monkeypatch):
    """A leading ~ is the home directory."""
    monkeypatch.setenv("HOME", str(directory.parent))
    found = environment.collect([], ["~/environments"])
    assert found[0] == f"{directory}/a.yaml"


def test_load(tmp_path):
    """A layer has the path as given and the sections as written."""
    path = tmp_path / "e.yaml"
    path.write_text("parameter_defaults: {A: 1}\nevent_sinks: []\n")
    layer = environment.load(str(path))
    assert layer.path == str(path)
    assert layer.sections == {
        "parameter_defaults": {"A": 1},
        "event_sinks": [],
    }


def test_load_empty_file(tmp_path):
    """An empty file is an empty environment."""
    path = tmp_path / "e.yaml"
    path.write_text("# nothing yet\n")
    assert environment.load(str(path)).sections == {}


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# Release: zed\nparameters: {}\n", "zed"),
        ("# Ours\r\n\r\n# Release: zed\r\nparameters: {}\r\n", "zed"),
        ("\ufeff# Release: zed\nparameters: {}\n", "zed"),
        ("---\n# Release: zed\nparameters: {}\n", "zed"),
        ("parameters: {}\n# Release: zed\n", None),
    ],
)
def test_release_in_the_header(tmp_path, text, release):
    """An editor may put a mark, a blank line or ``---`` above the header."""
    path = tmp_path / "env.yaml"
    path.write_text(text, newline="")
    assert environment.load(str(path)).release == release


def test_document_that_is_no_mapping():
    """The error is about the whole file."""
    with pytest.raises(errors.InvalidFile) as caught:
        environment.from_data(["a"], "f.yaml")
    assert str(caught.value) == "f.yaml: expected a mapping, found a list"


@pytest.mark.parametrize(
    ("section", "hint"),
    [
        ("parameter_default", "did you mean parameter_defaults?"),
        ("resources", "this is a heat template, not an environment"),
        (
            "ContainerImagePrepare",
            "parameters belong under parameter_defaults",
        ),
    ],
)
def test_unknown_section(section, hint):
    """The error names the section and what was probably meant."""
    with pytest.raises(errors.InvalidFile, match="unknown section") as caught:
        environment.from_data({section: {}}, "f.yaml")
    assert caught.value.key == section
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "section", ["parameter_defaults", "parameters", "resource_registry"]
)
def test_section_that_is_no_mapping(section):
    """Sections map names to values."""
    with pytest.raises(errors.InvalidFile) as caught:
        environment.from_data({section: ["a"]}, "f.yaml")
    assert caught.value.key == section


def test_parameter_name_that_is_no_string():
    """Names are strings."""
    with pytest.raises(errors.InvalidFile, match="name 1 of the mapping"):
        environment.from_data({"parameter_defaults": {1: "a"}}, "f.yaml")


def test_empty_sections():
    """A section without content changes nothing."""
    merged = merge(
        {"parameter_defaults": {"A": 1}, "resource_registry": {"B": "C"}},
        {
            "parameter_defaults": None,
            "resource_registry": None,
            "parameter_merge_strategies": None,
        },
        None,
    )
    assert merged.parameter_defaults == {"A": 1}
    assert merged.resource_registry == {"B": "C"}


def test_nothing_to_merge():
    """No files make an empty environment."""
    merged = merge()
    assert merged.parameter_defaults == merged.parameters == {}
    assert merged.resource_registry == merged.sources == {}


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("a", "b", "b"),
        ([1], [2], [2]),
        ([1], None, None),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        (None, {"a": 1}, {"a": 1}),
        (None, {}, {}),
        ([1], {}, [1]),
        ("a", {"b": 1}, {"b": 1}),
        ({"a": 1}, "b", "b"),
    ],
)
def test_without_strategies(old, new, result):
    """Mappings are merged, null replaces none, all else is replaced."""
    assert defaults(old, new) == result


def test_resource_registry():
    """Templates are not looked at; `resources` below is merged deeply."""
    merged = merge(
        {
            "resource_registry": {
                "base_url": "http://192.0.2.1/templates",
                "OS::TripleO::Services::A": "../no/such/file.yaml",
                "resources": {"one": {"hooks": "pre-create"}},
            }
        },
        {
            "resource_registry": {
                "OS::TripleO::Services::A": "OS::Heat::None",
                "resources": {"two": {"hooks": ["pre-update"]}},
            }
        },
    )
    assert merged.resource_registry == {
        "base_url": "http://192.0.2.1/templates",
        "OS::TripleO::Services::A": "OS::Heat::None",
        "resources": {
            "one": {"hooks": "pre-create"},
            "two": {"hooks": ["pre-update"]},
        },
    }


def test_parameters_are_kept_apart():
    """`parameters` never become defaults."""
    merged = merge(
        {"parameters": {"A": {"b": 1}}, "parameter_defaults": {"A": 2}},
        {"parameters": {"A": {"c": 3}}},
    )
    assert merged.parameters == {"A": {"b": 1, "c": 3}}
    assert merged.parameter_defaults == {"A": 2}


def test_sources():
    """Each default knows the file that set it last."""
    merged = merge(
        {"parameter_defaults": {"A": 1, "B": {"b": 1}, "C": None, "D": 1}},
        {"parameter_defaults": {"A": 1, "B": None}},
        {"parameters": {"D": 1}},
    )
    assert merged.sources == {
        "A": "1.yaml",
        "B": "0.yaml",
        "C": "0.yaml",
        "D": "0.yaml",
    }


def test_value():
    """A default comes with its file and key."""
    value = merge({"parameter_defaults": {"A": 1}}).value("A")
    assert (value.data, value.path, value.key) == (
        1,
        "0.yaml",
        "parameter_defaults.A",
    )


def test_value_of_an_absent_parameter():
    """A parameter that no file sets is None and from no file."""
    value = merge().value("A")
    assert (value.data, value.path) == (None, "environment")


def test_inputs_are_not_changed():
    """Layers can be merged again."""
    documents = [
        {
            "parameter_merge_strategies": {"L": "merge", "D": "deep_merge"},
            "parameter_defaults": {
                "L": [1],
                "D": {"a": {"b": [1]}},
                "M": {"a": {"b": 1}},
            },
            "resource_registry": {"resources": {"a": {}}},
        },
        {
            "parameter_defaults": {
                "L": [2],
                "D": {"a": {"b": [2]}},
                "M": {"a": {"c": 1}},
            },
            "resource_registry": {"resources": {"a": {"b": 1}}},
        },
    ]
    before = copy.deepcopy(documents)
    merge(*documents)
    assert documents == before


def test_values_are_not_in_the_repr():
    """Defaults hold secrets."""
    layer = environment.from_data({"parameter_defaults": {"P": "s3cret"}}, "f")
    assert "s3cret" not in repr(layer)
    assert "s3cret" not in repr(environment.merge([layer]))
