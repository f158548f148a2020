"""YAML documents, read safely and within bounds, typed as heat types them."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import yaml

from imageprep_client import errors
from imageprep_client.heat import verbatim
from imageprep_client.host import inputs

#: Bytes of a file; the largest real environments have some hundred KiB.
MAX_SIZE = 16 * 1024 * 1024
#: Keys and values of a document, those that aliases repeat included.
MAX_NODES = 250_000
#: Collections within collections.
MAX_DEPTH = 64
_TEMPLATE = re.compile(r"(\s*-?\s*tag_from_label:\s+)(\{[^'#]*\S)\s*(?:#.*)?")
#: Digits of a number: converting more takes quadratic time.
_MAX_DIGITS = 1000


@dataclasses.dataclass(slots=True)
class DocumentBudget:
    """The limits of documents that belong together, with aliases followed.

    :ivar values: keys and values that are left.
    :ivar characters: characters of keys and values that are left.
    """

    values: int = MAX_NODES
    characters: int = MAX_SIZE

    def spend(self, values: int, characters: int) -> bool:
        """Take these out of the budget; False when there are not so many."""
        self.values -= values
        self.characters -= characters
        return self.values >= 0 and self.characters >= 0


if TYPE_CHECKING:
    from yaml import SafeDumper as _BaseDumper
    from yaml import SafeLoader as _BaseLoader
else:
    # Those over libyaml, which some builds of PyYAML lack, are ten times as
    # fast.
    _BaseDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):
    """Safe YAML; dates stay strings, as in heat."""

    def construct_document(self, node: yaml.Node) -> Any:
        verbatim.keep_text(node)
        return super().construct_document(node)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            self.check_keys(node)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[tuple[str, Any], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if not key.style and key.value != key.value.strip():
                raise _OddSpace(
                    problem="a key begins or ends with a character that only"
                    " looks like a space",
                    problem_mark=key.start_mark,
                )
            name = (key.tag, key.value)
            if name in lines:
                raise _DuplicateKey(
                    problem="the same key is already in line"
                    f" {lines[name]} of this mapping",
                    problem_mark=key.start_mark,
                )
            lines[name] = key.start_mark.line + 1

    def plain_text(self, node: yaml.ScalarNode) -> Any:
        return self.construct_scalar(node)

    def short_int(self, node: yaml.ScalarNode) -> Any:
        self.check_digits(node)
        return self.construct_yaml_int(node)

    def short_float(self, node: yaml.ScalarNode) -> Any:
        self.check_digits(node)
        return self.construct_yaml_float(node)

    def check_digits(self, node: yaml.ScalarNode) -> None:
        if len(self.construct_scalar(node)) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                problem="number is too long", problem_mark=node.start_mark
            )


class _VerbatimLoader(_Loader):
    """Keeps numbers as they are written; see `verbatim.keep_numbers`."""

    def construct_document(self, node: yaml.Node) -> Any:
        verbatim.keep_numbers(node)
        return super().construct_document(node)


# JSON, in which heat passes its data on, has no dates: heat reads them as
# the text that was written.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.plain_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.short_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.short_float)


class _Dumper(_BaseDumper):
    """Writes no anchors and no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def dump(data: Any, *, sort_keys: bool = True) -> str:
    """The YAML of some data: equal for equal data of equal types."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        width=2**31 - 1,
        sort_keys=sort_keys,
    )
    return text


def read(path: str, *, numbers_as_written: bool = False) -> Any:
    """Load the YAML file at `path`; None when it is empty.

    :param numbers_as_written: as for `parse`.
    :raises InvalidFile: when it cannot be read or is no valid YAML within
        the limits.
    """
    content = inputs.load(path, MAX_SIZE)
    return parse(content, path, numbers_as_written=numbers_as_written)


def parse(
    content: bytes,
    name: str,
    together: DocumentBudget | None = None,
    *,
    numbers_as_written: bool = False,
) -> Any:
    """Load a YAML text; None when it is empty.

    :param name: the file to name in errors.
    :param together: the limits of this document and others together.
    :param numbers_as_written: whether 0644 and 1.50 stay text, so that they
        are not 420 and 1.5 where they become words.
    :raises InvalidFile: when it is no YAML, has more than one document, or
        exceeds a limit of size, depth or length.
    """
    if len(content) > MAX_SIZE:
        raise errors.InvalidFile(name, f"is larger than {MAX_SIZE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.InvalidFile(
            name,
            f"is not UTF-8 text (byte {error.start + 1})",
            hint="is this a YAML file? convert it to UTF-8",
        ) from None
    try:
        size = _check_bounds(text, name)
        if together and not together.spend(*size):
            raise errors.InvalidFile(
                name, "is too large, together with the files before it"
            )
        loader = _VerbatimLoader if numbers_as_written else _Loader
        return yaml.load(text, Loader=loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        raise _invalid(error, name, text) from None
    except (ValueError, LookupError, ArithmeticError):
        # The YAML library does not catch the errors of converting scalars
        # with an explicit tag, such as ``!!int x``.
        raise errors.InvalidFile(
            name, "invalid YAML: a value does not fit its type tag"
        ) from None


def _check_bounds(text: str, name: str) -> tuple[int, int]:
    """Refuse a document over the limits before any of it is built.

    Each anchor's size is known when an alias repeats it, so documents that
    multiply themselves are refused at once, with no memory spent on them.

    :returns: how many values and characters the document has.
    """
    sizes: dict[str, tuple[int, int]] = {}
    open_nodes: list[tuple[str | None, int, int]] = []
    values = characters = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            # An alias within its own anchor is infinite. The loader reports
            # an alias without an anchor.
            inside = any(anchor == event.anchor for anchor, *_ in open_nodes)
            more = sizes.get(str(event.anchor), (1, 0))
            values += MAX_NODES if inside else more[0]
            characters += more[1]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, *before = open_nodes.pop()
            if anchor:
                sizes[anchor] = values - before[0], characters - before[1]
        elif isinstance(event, yaml.NodeEvent):
            values += 1
            length = 0
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, values - 1, characters))
            else:
                length = len(getattr(event, "value", ""))
                characters += length
            if event.anchor:
                sizes[event.anchor] = 1, length
        if len(open_nodes) > MAX_DEPTH:
            raise _too_deep(event.start_mark, name)
        if values > MAX_NODES or characters > MAX_SIZE:
            limit = (
                f"{MAX_NODES} values"
                if values > MAX_NODES
                else f"{MAX_SIZE} characters"
            )
            raise errors.InvalidFile(
                name,
                f"{_place(event.start_mark)}over {limit} once its aliases are"
                " followed",
            )
    return values, characters


class _DuplicateKey(yaml.constructor.ConstructorError):
    """A key is twice in a mapping."""


class _OddSpace(yaml.constructor.ConstructorError):
    """A no-break space or the like is a part of a key."""


def _too_deep(mark: Any, name: str) -> errors.InvalidFile:
    problem = f"nested deeper than {MAX_DEPTH} levels"
    return errors.InvalidFile(name, f"{_place(mark)}{problem}")


def _invalid(
    error: yaml.YAMLError, name: str, text: str
) -> errors.InvalidFile:
    place: str
    hint = (
        "check the indentation there, and quote values that begin with a"
        " character such as ! * & % @ [ or {"
    )
    if isinstance(error, yaml.MarkedYAMLError):
        parts = (error.context, error.problem)
        problem = ": ".join(part for part in parts if part)
        place = _place(error.problem_mark)
        # libyaml may have a limit of its own, and looks ahead up to there
        # before it gives the first event.
        if "nesting depth" in problem:
            return _too_deep(error.problem_mark, name)
        if isinstance(error, _DuplicateKey):
            hint = "remove one of them, or indent it where it belongs"
        if isinstance(error, _OddSpace):
            hint = "replace it with a space, or put the key in quotes"
        if "another document" in problem:
            hint = "write each document, which --- begins, to its own file"
        if _at(text, error.problem_mark) == "\t":
            hint = "indent with spaces: a tab cannot be there"
        if template := _unquoted_template(text, error.problem_mark):
            hint = f"put the template in quotes: {template}"
    else:
        problem = getattr(error, "reason", "cannot be parsed")
        place, hint = "", "is this a YAML file? remove such characters"
        if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
            before = text[: found.start()].split("\n")
            place = f"line {len(before)}, column {len(before[-1]) + 1}: "
    # An unquoted password that begins with ! or * is a tag or an alias to
    # YAML, and quoted in what it says.
    problem = re.sub(r" '[^']{2,}'", "", problem)
    return errors.InvalidFile(
        name, f"invalid YAML: {place}{problem}", hint=hint
    )


def _at(text: str, mark: Any) -> str:
    """The character at a mark of either parser; empty without one."""
    return "" if mark is None else text[mark.index : mark.index + 1]


def _unquoted_template(text: str, mark: Any) -> str | None:
    """The corrected line for a label template without quotes, or None."""
    if mark is None:
        return None
    lines = text.splitlines()[max(0, mark.line - 1) : mark.line + 1]
    for line in reversed(lines):
        if match := _TEMPLATE.fullmatch(line):
            start, template = match.groups()
            return f"{start.lstrip(' -')}'{template}'"
    return None


def _place(mark: Any) -> str:
    """The position of a mark of either parser; empty for None."""
    if mark is None:
        return ""
    return f"line {mark.line + 1}, column {mark.column + 1}: "
