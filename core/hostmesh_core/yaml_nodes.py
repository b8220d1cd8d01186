"""YAML text to immutable nodes that know their line; `documents` is what the rest uses.

It works on PyYAML's events, not on its `compose`: that one recurses in C and a file of brackets
ends the process, it loses duplicate keys, and it lets aliases grow without bound. Scalars follow
YAML 1.2's core schema: `yes`, `on`, `0777`, `1:30` and dates are text, never a surprise.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

MAX_DEPTH = 64
MAX_ALIASED = 10_000
"""Nodes that the aliases of one document may repeat: a few bytes could stand for gigabytes."""

Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None

_PREFIX = "tag:yaml.org,2002:"
_BOUNDARY = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_WORDS: dict[str, bool | None] = {
    **{word: True for word in ("true", "True", "TRUE")},
    **{word: False for word in ("false", "False", "FALSE")},
    **{word: None for word in ("", "~", "null", "Null", "NULL")},
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 4000
"""Beyond it Python refuses to read an integer; such a thing is text."""


class YamlProblem(Exception):
    """What is wrong with the YAML itself, and the line (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value; `text` is what was written."""

    line: int
    text: str
    value: str | int | float | bool | None
    size: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    line: int
    items: tuple["Node", ...]
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its own line, and what it holds."""

    line: int
    node: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; keys are texts, as written."""

    line: int
    entries: dict[str, Entry]
    size: int


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Plain:
    """Give a node as plain Python values."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def kind(node: Node) -> str:
    """Say what a node is, for messages."""
    match node:
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Scalar(value=None):
            return "nothing"
        case Scalar():
            return repr(node.text)


def read(text: str) -> Iterator[Node | YamlProblem]:
    """Give each document of `text`, or what is wrong with it; a bad one never hides the next."""
    starts = [match.start() for match in _BOUNDARY.finditer(text)]
    bounds = [0, *starts, len(text)]
    line = 0
    for start, end in itertools.pairwise(bounds):
        chunk = text[start:end]
        if not _is_preamble(chunk):
            yield from _read_chunk(chunk, line)
        line += chunk.count("\n")


def _is_preamble(chunk: str) -> bool:
    """Whether nothing but comments, blank lines and directives stands here."""
    return all(not line.strip() or line.lstrip()[0] in "#%" for line in chunk.splitlines())


def _read_chunk(chunk: str, line: int) -> Iterator[Node | YamlProblem]:
    """Read what stands between two `---`: one document, more if `...` ends one."""
    try:
        events = yaml.parse(chunk, Loader=yaml.CSafeLoader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                node = _Composer(events, line).document()
                if not (isinstance(node, Scalar) and node.value is None):
                    yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = chunk.rstrip("\n").count("\n")  # an end that comes too early is beyond it
        at = min(mark.line, last) if mark is not None else 0
        yield YamlProblem(line + at + 1, _words(error))
    except yaml.YAMLError as error:
        yield YamlProblem(line + 1, f"not YAML: {str(error).splitlines()[0]}")
    except UnicodeEncodeError:
        yield YamlProblem(line + 1, "not UTF-8 text")
    except YamlProblem as problem:
        yield problem


def _words(error: yaml.MarkedYAMLError) -> str:
    if "nesting depth" in str(error.problem):
        # The parser's own bound, far above ours, is met while it reads ahead.
        return f"nested deeper than {MAX_DEPTH} levels"
    context = f" ({error.context})" if error.context else ""
    return f"not YAML: {error.problem}{context}"


@dataclass(slots=True)
class _Composer:
    """Builds the nodes of one document from its events."""

    events: Iterator[yaml.Event]
    line: int
    """Lines of the file before this chunk."""
    anchors: dict[str, Node | None] = field(default_factory=dict)
    """None while the anchored node is still being built."""
    aliased: int = 0

    def document(self) -> Node:
        node = self._node(next(self.events), depth=0)
        next(self.events)  # the end of the document
        return node

    def _node(self, event: yaml.Event, *, depth: int) -> Node:
        line = self._line(event)
        if depth > MAX_DEPTH:
            raise YamlProblem(line, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self.anchors[anchor] = None
        node = self._fresh(event, line, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _line(self, event: yaml.Event) -> int:
        mark = event.start_mark
        return self.line + 1 + (mark.line if mark is not None else 0)

    def _fresh(self, event: yaml.Event, line: int, depth: int) -> Node:
        match event:
            case yaml.ScalarEvent():
                return _scalar(event, line)
            case yaml.SequenceStartEvent():
                _check_tag(event.tag, "seq", line)
                return self._sequence(line, depth)
            case yaml.MappingStartEvent():
                _check_tag(event.tag, "map", line)
                return self._mapping(line, depth)
            case _:
                raise RuntimeError(f"internal error: unexpected YAML event {event!r}")

    def _alias(self, name: str, line: int) -> Node:
        if name not in self.anchors:
            raise YamlProblem(line, f"alias *{name} has no anchor &{name} before it")
        node = self.anchors[name]
        if node is None:
            raise YamlProblem(line, f"alias *{name} stands inside its own anchor")
        self.aliased += node.size
        if self.aliased > MAX_ALIASED:
            raise YamlProblem(line, f"aliases repeat more than {MAX_ALIASED} values")
        return node

    def _sequence(self, line: int, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return Sequence(line, tuple(items), 1 + sum(item.size for item in items))

    def _mapping(self, line: int, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth=depth + 1)
            if not isinstance(key, Scalar):
                raise YamlProblem(key.line, f"{kind(key)} cannot be a key")
            if key.text == "<<":
                raise YamlProblem(key.line, "merge keys (<<) are not read: write the keys out")
            if key.text in entries:
                first = entries[key.text].line
                raise YamlProblem(
                    key.line, f'key "{key.text}" is here twice, first on line {first}'
                )
            entries[key.text] = Entry(key.line, self._node(next(self.events), depth=depth + 1))
        size = 1 + sum(entry.node.size for entry in entries.values())
        return Mapping(line, entries, size)


def _check_tag(tag: str | None, expected: str, line: int) -> None:
    if tag not in (None, "!", _PREFIX + expected):
        raise YamlProblem(line, f"tag {tag.removeprefix(_PREFIX)!r} is not read")


def _scalar(event: yaml.ScalarEvent, line: int) -> Scalar:
    text = event.value
    if event.tag is None:
        return Scalar(line, text, _resolved(text) if event.implicit[0] else text)
    tag = event.tag.removeprefix(_PREFIX)
    value = text if tag in ("str", "!") else _resolved(text)
    wanted = {"str": str, "!": str, "int": int, "float": float, "bool": bool, "null": type(None)}
    if tag not in wanted:
        raise YamlProblem(line, f"tag {tag!r} is not read")
    if type(value) is int and tag == "float":
        value = float(value)
    if type(value) is not wanted[tag]:
        raise YamlProblem(line, f"{text!r} is not of its tag {tag!r}")
    return Scalar(line, text, value)


def _resolved(text: str) -> str | int | float | bool | None:
    """Give a plain scalar's value: YAML 1.2, section 10.3.2; infinities and NaN stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if number not in (float("inf"), float("-inf")) else text
    return text
