"""Unquoted values of ``ContainerImagePrepare`` that YAML would change.

YAML reads the tags ``17.10``, ``0123``, ``12:30`` and ``yes`` as the numbers
17.1, 83 and 750 and as a boolean. Here they stay the text that was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import yaml

#: Variables of an image table that are a part of a name.
TEXT_VARIABLE = re.compile(r"(.*_)?(tag|namespace|image|prefix|suffix)(_.*)?")
#: The parameter; with the name of a role before it, that of this role alone.
PREPARE = "ContainerImagePrepare"
_APPEND_TAG = "modify_append_tag"
_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_BOOLEAN = "tag:yaml.org,2002:bool"
_NUMBERS: dict[str, Callable[[str], float]] = {
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
}


def keep_text(document: yaml.Node) -> None:
    """Make strings of the values in a document that are parts of names.

    Changes the nodes before values are constructed from them. Numbers that
    another variable of ``set`` has stay numbers if they are printed as they
    were written.
    """
    for entries in _prepare_values(document):
        for entry in _elements(entries):
            for name, value in _pairs(entry):
                if name == _APPEND_TAG:
                    _make_string(value)
                elif name == "set":
                    for variable, part in _pairs(value):
                        if TEXT_VARIABLE.fullmatch(variable):
                            _make_string(part)
                        elif _is_changed(part):
                            part.tag = _STRING


def keep_numbers(document: yaml.Node) -> None:
    """Make strings of all numbers that are not printed as they are written."""
    for node in _nodes(document):
        if _is_changed(node):
            node.tag = _STRING


def _prepare_values(document: yaml.Node) -> Iterator[yaml.Node]:
    """The values of the parameter, wherever a plan or environment has it."""
    for node in _nodes(document):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = key.value
                if isinstance(name, str) and name.endswith(PREPARE):
                    yield value


def _nodes(document: yaml.Node) -> Iterator[yaml.Node]:
    """All nodes but the keys of mappings, each once."""
    seen: set[int] = set()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]


def _elements(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value


def _pairs(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """Names and values of a mapping, and of those that are merged into it."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        mapping = waiting.pop()
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        if isinstance(mapping, yaml.SequenceNode):
            # Only the value of a merge key gets here.
            waiting += mapping.value
        if not isinstance(mapping, yaml.MappingNode):
            continue
        for key, value in mapping.value:
            if key.tag == _MERGE:
                waiting.append(value)
            elif isinstance(key, yaml.ScalarNode):
                yield key.value, value


def _make_string(node: yaml.Node) -> None:
    if node.tag == _BOOLEAN or node.tag in _NUMBERS:
        node.tag = _STRING


def _is_changed(node: yaml.Node) -> bool:
    """Whether a number is printed differently from how it is written."""
    if node.tag not in _NUMBERS or len(node.value) > 100:
        return False
    try:
        return bool(str(_NUMBERS[node.tag](node.value)) != node.value)
    except ValueError:
        return True
