"""`parameter_merge_strategies`."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.heat import environment


def layers(name, strategy, *values):
    """A file for each value of the parameter; the first has the strategy."""
    documents = [{"parameter_defaults": {name: value}} for value in values]
    documents[0]["parameter_merge_strategies"] = {name: strategy}
    return [
        environment.from_data(document, f"{number}.yaml")
        for number, document in enumerate(documents)
    ]


def merged(name, strategy, *values):
    """The value that the parameter has in the end."""
    result = environment.merge(layers(name, strategy, *values))
    return result.parameter_defaults[name]


@pytest.mark.parametrize(
    ("name", "old", "new", "result"),
    [
        ("X", [1], [2], [1, 2]),
        ("X", "a", "b", "ab"),
        ("X", 1, 2.5, 3.5),
        ("X", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("X", {"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2}}),
        ("X", {"a": 1}, {"a": None}, {"a": 1}),
        ("X", None, True, True),
        ("X", "", [1], [1]),
        ("X", [1], None, [1]),
        ("X", ["a"], "b,c", ["a", "b", "c"]),
        ("X", "a,b", ["c"], ["a", "b", "c"]),
        ("ComputeServices", "a", "b", "a,b"),
        ("NeutronMechanismDrivers", "a", "b", "a,b"),
        ("AdditionalArchitectures", "a", "", "a"),
        ("DockerInsecureRegistryAddress", "a", "b", "a,b"),
    ],
)
def test_merge(name, old, new, result):
    """Lists grow, strings and numbers add up, mappings join shallowly."""
    assert merged(name, "merge", old, new) == result


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ({"a": "b"}, {"a": "c"}, {"a": "bc"}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": None}, {"a": [1]}, {"a": [1]}),
        ({"a": {}}, {"a": [1], "b": {"c": 1}}, {"a": [1], "b": {"c": 1}}),
        ([1], [2], [1, 2]),
    ],
)
def test_deep_merge(old, new, result):
    """Mappings join at all levels, lists and strings in them grow."""
    assert merged("X", "deep_merge", old, new) == result


@pytest.mark.parametrize(
    ("old", "new", "result"), [({"a": 1}, {"b": 2}, {"b": 2}), (1, None, 1)]
)
def test_overwrite(old, new, result):
    """Asked for by name, it replaces mappings, too; null replaces nothing."""
    assert merged("X", "overwrite", old, new) == result


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1}, "b"),
        ({"a": 1}, [1]),
        ([1], {"a": 1}),
        ("a", 1),
        (1, "a"),
        (True, False),
    ],
)
def test_values_that_cannot_be_merged(old, new):
    """The error names file, key and both types."""
    with pytest.raises(errors.InvalidFile, match="cannot be merged") as caught:
        merged("X", "merge", old, new)
    assert caught.value.path == "1.yaml"
    assert caught.value.key == "parameter_defaults.X"


def test_nested_values_that_cannot_be_merged():
    """The error has the key path down to the value."""
    with pytest.raises(errors.InvalidFile) as caught:
        merged("X", "deep_merge", {"a": {"b": "x"}}, {"a": {"b": [1]}})
    assert caught.value.key == "parameter_defaults.X.a.b"


def test_a_strategy_holds_for_later_files():
    """It is named once."""
    assert merged("X", "merge", [1], [2], [3]) == [1, 2, 3]


def test_a_strategy_may_be_named_again():
    """The same strategy in two files is no contradiction."""
    first, second = layers("X", "merge", [1], [2])
    again = environment.from_data(
        {**second.sections, "parameter_merge_strategies": {"X": "merge"}}, "2"
    )
    assert environment.merge([first, again]).parameter_defaults["X"] == [1, 2]


def test_a_strategy_may_come_later():
    """It counts from the file that names it on."""
    merged = environment.merge(
        [
            environment.from_data({"parameter_defaults": {"X": [1]}}, "0"),
            *layers("X", "merge", [2], [3]),
        ]
    )
    assert merged.parameter_defaults["X"] == [1, 2, 3]


def test_contradicting_strategies():
    """The error names both files."""
    first, second = layers("X", "merge", [1], [2])
    other = environment.from_data(
        {**second.sections, "parameter_merge_strategies": {"X": "overwrite"}},
        "1.yaml",
    )
    with pytest.raises(errors.InvalidFile) as caught:
        environment.merge([first, other])
    assert str(caught.value) == (
        "1.yaml: parameter_merge_strategies.X: overwrite contradicts merge"
        " in 0.yaml"
    )


def test_default_strategy():
    """`default` is for the parameters of its file that have none, and
    holds for those.
    """
    merged = environment.merge(
        environment.from_data(document, "f")
        for document in (
            {
                "parameter_merge_strategies": {
                    "default": "merge",
                    "X": "overwrite",
                },
                "parameter_defaults": {"X": [1], "Y": [1]},
            },
            {"parameter_defaults": {"X": [2], "Y": [2], "Z": [1]}},
            {"parameter_defaults": {"Z": [2]}},
        )
    )
    assert merged.parameter_defaults == {"X": [2], "Y": [1, 2], "Z": [2]}


def test_a_named_strategy_beats_a_default():
    """A file's default does not hold against a later name."""
    merged = environment.merge(
        environment.from_data(document, "f")
        for document in (
            {
                "parameter_merge_strategies": {"default": "overwrite"},
                "parameter_defaults": {"X": [1]},
            },
            {
                "parameter_merge_strategies": {"X": "merge"},
                "parameter_defaults": {"X": [2]},
            },
        )
    )
    assert merged.parameter_defaults["X"] == [1, 2]


@pytest.mark.parametrize("strategy", ["join", None, 1, ["merge"]])
def test_unknown_strategy(strategy):
    """The error names the key and the strategies that there are."""
    with pytest.raises(errors.InvalidFile, match="unknown") as caught:
        layers("X", strategy, [1])
    assert caught.value.key == "parameter_merge_strategies.X"
    assert caught.value.hint == "use overwrite, merge or deep_merge"


def test_strategies_that_are_no_mapping():
    """The section maps parameters to strategies."""
    with pytest.raises(errors.InvalidFile, match="expected a mapping"):
        environment.from_data({"parameter_merge_strategies": "merge"}, "f")
