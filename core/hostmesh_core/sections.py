"""Reads our own snake_case files (agent.yaml, controlplane.yaml): typed getters, no unknown key.

Getters note what is wrong and go on, so that one reading tells all problems of a file together.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

from hostmesh_core.documents import Problem, did_you_mean, load_all, raise_problems, suggest
from hostmesh_core.errors import BadInput
from hostmesh_core.yaml_nodes import Mapping, Node, Scalar, Sequence, kind

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


def load_section(text: str, *, file: str) -> "Section":
    """Read a file of ours: one document, a mapping. An empty file is an empty mapping."""
    documents = load_all(text, file=file)
    if len(documents) > 1:
        raise_problems([Problem(file, documents[1].line, "a second document; expected one")])
    node = documents[0].node if documents else Mapping(1, {}, 1)
    if not isinstance(node, Mapping):
        raise_problems([Problem(file, node.line, f"expected keys and values, not {kind(node)}")])
    return Section(node, file=file, name="", problems=[])


class Section:
    """One mapping of a file of ours. Getters remember which keys are known; `done` tells the rest.

    A getter that meets something wrong notes it and gives its default, so that one reading tells
    all problems. `done` on the file's own section raises them together. A default of None in
    `text`, `integer` and `number` makes the key required; a key that holds nothing is not there.
    """

    def __init__(self, node: Mapping, *, file: str, name: str, problems: list[Problem]) -> None:
        self._node = node
        self._known: set[str] = set()
        self._children: dict[str, Section] = {}
        self._problems = problems
        self._refused: set[str] = set()
        self.file = file
        self.name = name
        """Where it is in the file: `services[0].health`; empty for the file itself."""

    @property
    def line(self) -> int:
        """The line that it begins on."""
        return self._node.line

    def has(self, key: str) -> bool:
        """Whether the key is there and holds something."""
        return self._get(key) is not None

    def usable(self, *keys: str) -> bool:
        """Whether nothing was noted of these keys so far: what was read is what the file says."""
        return self._refused.isdisjoint(keys)

    def refuse(self, key: str, message: str) -> None:
        """Note that what `key` holds cannot be used; the key itself need not be there."""
        self._refused.add(key)
        entry = self._node.entries.get(key)
        line = entry.line if entry is not None else self._node.line
        subject = self._path(key) if key else self.name
        words = f"{subject}: {message}" if subject else message
        self._problems.append(Problem(self.file, line, words))

    def missing(self, key: str, words: str) -> None:
        """Note that `key` has to be there; `words` say what it should hold."""
        self._known.add(key)
        if not self._misspelt(key):
            self.refuse("", f'key "{key}" is required: {words}')

    def attempt(self, make: Callable[[], T], *, key: str = "") -> T | None:
        """Call `make`; what it refuses (ValueError, BadInput) is noted at `key`, and None given."""
        try:
            return make()
        except (ValueError, BadInput) as error:
            self.refuse(key, str(error))
            return None

    def text(self, key: str, *, default: str | None = None) -> str:
        """Read a text. Numbers and booleans are refused: quote what is meant as text."""
        node = self._required(key, optional=default is not None)
        if node is None:
            return default or ""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        self.refuse(key, f"expected a text, not {kind(node)}{_quote_hint(node)}")
        return default or ""

    def integer(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        """Read an integer within `low` and `high`, both allowed."""
        node = self._required(key, optional=default is not None)
        fallback = low if default is None else default
        if node is None:
            return fallback
        if isinstance(node, Scalar) and type(node.value) is int:
            if low <= node.value <= high:
                return node.value
            self.refuse(key, f"expected {low} to {high}, not {node.text}")
        else:
            self.refuse(key, f"expected an integer, not {kind(node)}")
        return fallback

    def port(self, key: str, *, default: int | None = None) -> int:
        """Read a port number, 1 to 65535."""
        return self.integer(key, low=1, high=65535, default=default)

    def number(self, key: str, *, low: float, high: float, default: float | None = None) -> float:
        """Read a number within `low` and `high`, both allowed."""
        node = self._required(key, optional=default is not None)
        fallback = low if default is None else default
        if node is None:
            return fallback
        if isinstance(node, Scalar) and type(node.value) in (int, float):
            value = float(node.text) if type(node.value) is float else float(node.value or 0)
            if low <= value <= high:
                return value
            self.refuse(key, f"expected {low:g} to {high:g}, not {node.text}")
        else:
            self.refuse(key, f"expected a number, not {kind(node)}")
        return fallback

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        node = self._get(key)
        if node is None:
            return default
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.refuse(key, f"expected true or false, not {kind(node)}")
        return default

    def choice(self, key: str, of: type[E], *, default: E) -> E:
        """Read one of an enumeration's values."""
        return self.maybe_choice(key, of) or default

    def maybe_choice(self, key: str, of: type[E]) -> E | None:
        """Read one of an enumeration's values, or None where the key is not there."""
        known = [member.value for member in of]
        word = self.word(key, known)
        return of(word) if word else None

    def word(self, key: str, known: Iterable[str], *, default: str = "") -> str:
        """Read one of the `known` words."""
        node = self._get(key)
        if node is None:
            return default
        words = list(known)
        if isinstance(node, Scalar) and node.text in words:
            return node.text
        meant = suggest(node.text, words) if isinstance(node, Scalar) else None
        hint = f'; did you mean "{meant}"?' if meant else ""
        self.refuse(key, f"expected one of {', '.join(words)}, not {kind(node)}{hint}")
        return default

    def parsed(self, key: str, parse: Callable[[str], T], *, default: T) -> T:
        """Read a text through `parse`; what that refuses (ValueError, BadInput) is noted."""
        node = self._get(key)
        if node is None:
            return default
        if not (isinstance(node, Scalar) and isinstance(node.value, str)):
            self.text(key)  # notes what it is instead
            return default
        text = node.value
        result = self.attempt(lambda: parse(text), key=key)
        return default if result is None else result

    def texts(self, key: str, *, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Read a list of texts."""
        found: list[str] = []
        for node in self._items(key):
            if isinstance(node, Scalar) and isinstance(node.value, str):
                found.append(node.value)
            else:
                hint = _quote_hint(node)
                self._refuse_node(node, key, f"expected a text, not {kind(node)}{hint}")
        return tuple(found) if self.has(key) else default

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """Read a list of integers within `low` and `high`, both allowed."""
        found: list[int] = []
        for node in self._items(key):
            if isinstance(node, Scalar) and type(node.value) is int and low <= node.value <= high:
                found.append(node.value)
            else:
                words = f"expected an integer from {low} to {high}, not {kind(node)}"
                self._refuse_node(node, key, words)
        return tuple(found)

    def mapping(self, key: str) -> dict[str, str]:
        """Read a mapping of texts to texts (labels)."""
        node = self._get(key)
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            self.refuse(key, f"expected keys and values, not {kind(node)}")
            return {}
        found: dict[str, str] = {}
        for name, entry in node.entries.items():
            if isinstance(entry.node, Scalar) and isinstance(entry.node.value, str):
                found[name] = entry.node.value
            else:
                words = f"expected a text, not {kind(entry.node)}{_quote_hint(entry.node)}"
                self._refuse_node(entry.node, f"{key}.{name}", words)
        return found

    def section(self, key: str) -> "Section":
        """Read a section; one that is not there is empty, so that its getters give defaults.

        The same key gives the same section again.
        """
        node = self._get(key)
        if node is not None and not isinstance(node, Mapping):
            self.refuse(key, f"expected keys and values, not {kind(node)}")
            node = None
        return self._child(node or Mapping(self._node.line, {}, 1), self._path(key))

    def sections(self, key: str) -> list["Section"]:
        """Read a list of sections."""
        found: list[Section] = []
        for position, node in enumerate(self._items(key)):
            if isinstance(node, Mapping):
                found.append(self._child(node, f"{self._path(key)}[{position}]"))
            else:
                words = f"expected keys and values, not {kind(node)}"
                self._refuse_node(node, f"{key}[{position}]", words)
        return found

    def accept_all(self) -> None:
        """Take every key as known: what this section is, and so what it may hold, is not known."""
        self._known |= self._node.entries.keys()

    def done(self) -> None:
        """Note the keys that nobody asked for, below too; the file's own section then raises."""
        for child in self._children.values():
            child.done()
        for key in self._node.entries:
            if key not in self._known:
                self.refuse(key, f"unknown key{did_you_mean(key, self._known)}")
        self.accept_all()
        if not self.name and self._problems:
            raise_problems(self._problems)

    def _child(self, node: Mapping, name: str) -> "Section":
        if name not in self._children:
            section = Section(node, file=self.file, name=name, problems=self._problems)
            self._children[name] = section
        return self._children[name]

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _get(self, key: str) -> Node | None:
        self._known.add(key)
        entry = self._node.entries.get(key)
        if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None):
            return None
        return entry.node

    def _required(self, key: str, *, optional: bool) -> Node | None:
        node = self._get(key)
        if node is None and not optional:
            self._refused.add(key)
            if not self._misspelt(key):
                self.refuse("", f'key "{key}" is required')
        return node

    def _misspelt(self, key: str) -> bool:
        """Whether `done` will name this key as the one that was meant: once is enough."""
        known = self._known | {key}
        others = (word for word in self._node.entries if word not in known)
        return any(suggest(word, [key]) == key for word in others)

    def _items(self, key: str) -> tuple[Node, ...]:
        node = self._get(key)
        if node is None:
            return ()
        if isinstance(node, Sequence):
            return node.items
        self.refuse(key, f"expected a list, not {kind(node)}")
        return ()

    def _refuse_node(self, node: Node, key: str, message: str) -> None:
        self._problems.append(Problem(self.file, node.line, f"{self._path(key)}: {message}"))


def _quote_hint(node: Node) -> str:
    scalar = isinstance(node, Scalar) and node.value is not None
    return "; put it in quotes" if scalar else ""
