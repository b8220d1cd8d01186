"""Reads a JSON file of ours: one known shape, a size limit, nothing unknown, nothing twice.

The root processes read what less trusted ones wrote, so whatever is not exactly as the schema says
is refused as a whole. Pure: bytes in, typed values out.
"""

import json
from collections.abc import Callable
from typing import NoReturn, TypeVar

from hostmesh_core.errors import BadInput

T = TypeVar("T")


class Fields:
    """One JSON object on its way into a dataclass: each key is taken once, with its type."""

    def __init__(self, value: object, *, where: str) -> None:
        """Wrap `value`; `where` names the file and the path inside it. Raises BadInput."""
        if not isinstance(value, dict):
            raise BadInput(f"cannot read {where}: expected an object, found {_kind(value)}")
        self._values: dict[str, object] = dict(value)
        self._where = where

    def integer(self, key: str, low: int, high: int) -> int:
        """Take an integer from `low` to `high`, both included. Raises BadInput."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(key, f"expected a whole number from {low} to {high}", value)
        return value

    def number(self, key: str) -> float:
        """Take a number of 0 or more. Raises BadInput."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            self._refuse(key, "expected a number of 0 or more", value)
        return float(value)

    def flag(self, key: str) -> bool:
        """Take true or false. Raises BadInput."""
        value = self._take(key)
        if not isinstance(value, bool):
            self._refuse(key, "expected true or false", value)
        return value

    def text(self, key: str, limit: int = 4096) -> str:
        """Take a text of at most `limit` characters. Raises BadInput."""
        value = self._take(key)
        if not isinstance(value, str) or len(value) > limit:
            self._refuse(key, f"expected a text of at most {limit} characters", value)
        return value

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """Take a text that `parse` accepts; its ValueError becomes a BadInput."""
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as error:
            self._refuse(key, str(error), text)

    def items(self, key: str, read: Callable[[object, str], T], limit: int) -> tuple[T, ...]:
        """Take a list of at most `limit` entries, each through `read(value, where)`."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) > limit:
            self._refuse(key, f"expected a list of at most {limit} entries", value)
        return tuple(read(entry, f"{self._where}: {key}[{i}]") for i, entry in enumerate(value))

    def inner(self, key: str) -> "Fields":
        """Take an object. Raises BadInput."""
        return Fields(self._take(key), where=f"{self._where}: {key}")

    def inner_or_none(self, key: str) -> "Fields | None":
        """Take an object or null. Raises BadInput."""
        value = self._take(key)
        return None if value is None else Fields(value, where=f"{self._where}: {key}")

    def pairs(self, key: str, limit: int) -> tuple[tuple[str, object], ...]:
        """Take an object whose keys are data, at most `limit` of them. Raises BadInput."""
        value = self._take(key)
        if not isinstance(value, dict) or len(value) > limit:
            self._refuse(key, f"expected an object of at most {limit} keys", value)
        return tuple(value.items())

    def version(self, known: int) -> None:
        """Take `version`, which must be `known`. Raises BadInput."""
        self.integer("version", known, known)

    def end(self) -> None:
        """Refuse what nobody took. Raises BadInput."""
        if self._values:
            unknown = ", ".join(sorted(map(str, self._values)))
            raise BadInput(f"cannot read {self._where}: unknown key {unknown}")

    def _take(self, key: str) -> object:
        if key not in self._values:
            raise BadInput(f"cannot read {self._where}: {key} is missing")
        return self._values.pop(key)

    def _refuse(self, key: str, expected: str, value: object) -> NoReturn:
        raise BadInput(f"cannot read {self._where}: {key}: {expected}, found {_kind(value)}")


def load(data: bytes, *, where: str, limit: int) -> Fields:
    """Read one JSON object of at most `limit` bytes. Raises BadInput."""
    if len(data) > limit:
        raise BadInput(f"cannot read {where}: {len(data)} bytes, the limit is {limit}")
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"cannot read {where}: {error}") from error
    return Fields(value, where=where)


def dump(value: object) -> bytes:
    """Give the one written form of a value: stable order, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that stands twice: readers disagree about which one counts."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice")
        found[key] = value
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _kind(value: object) -> str:
    """Describe a value without copying a long one into a message."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"  # type: ignore[arg-type]
