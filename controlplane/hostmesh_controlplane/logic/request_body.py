"""Reads the JSON object of a write to the operator API: typed fields, nothing unknown."""

import ipaddress
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from hostmesh_core.documents import did_you_mean
from hostmesh_core.errors import BadInput
from hostmesh_core.model import Labels, labels_of

E = TypeVar("E", bound=StrEnum)
_PATTERN = re.compile(r"[a-z0-9*?\[\]!.-]{1,253}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?")


class RequestBody:
    """One object on its way into a dataclass. Every getter raises BadInput that names the field."""

    def __init__(self, values: Mapping[str, object], *, what: str) -> None:
        self._values = values
        self._what = what
        self._known: set[str] = set()

    def text(self, key: str, default: str) -> str:
        """Read a text."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.refused(key, f"expected a text, not {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts; absent is empty."""
        value = self._get(key, [])
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.refused(key, f"expected a list of texts, not {value!r}")
        return tuple(dict.fromkeys(value))

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """Read a number within bounds, both allowed."""
        value = self._get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and math.isfinite(number := float(str(value))) and low <= number <= high):
            raise self.refused(key, f"expected a number from {low:g} to {high:g}, not {value!r}")
        return number

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """Read a whole number within bounds, both allowed."""
        number = self.number(key, default, low=low, high=high)
        if number != int(number):
            raise self.refused(key, f"expected a whole number, not {number!r}")
        return int(number)

    def flag(self, key: str) -> bool:
        """Read true or false; absent is false."""
        value = self._get(key, False)  # noqa: FBT003 (a default, passed through)
        if not isinstance(value, bool):
            raise self.refused(key, f"expected true or false, not {value!r}")
        return value

    def choice(self, key: str, of: type[E], default: E) -> E:
        """Read one of an enumeration's values."""
        value = self.text(key, default.value)
        try:
            return of(value)
        except ValueError as error:
            hint = did_you_mean(value, [member.value for member in of])
            raise self.refused(key, f"unknown {value!r}{hint}") from error

    def patterns(self, key: str) -> tuple[str, ...]:
        """Read names or shell patterns of names."""
        return tuple(self.pattern(key, text) for text in self.texts(key))

    def pattern(self, key: str, text: str) -> str:
        """Check one name or shell pattern of names."""
        if _PATTERN.fullmatch(text) is None:
            raise self.refused(key, f"{text!r} is no name or pattern (lower case, *, ?, [])")
        return text

    def cidrs(self, key: str) -> tuple[str, ...]:
        """Read networks; a bare address is one of a single address."""
        return tuple(dict.fromkeys(self._cidr(key, text) for text in self.texts(key)))

    def labels(self, key: str) -> Labels:
        """Read `KEY=VALUE` texts."""
        pairs: dict[str, str] = {}
        for text in self.texts(key):
            name, equals, value = text.partition("=")
            if not equals or _LABEL_KEY.fullmatch(name) is None or len(value) > 253:
                raise self.refused(key, f"{text!r} is not KEY=VALUE")
            if name in pairs:
                raise self.refused(key, f"{name!r} is given twice")
            pairs[name] = value
        return labels_of(pairs)

    def done(self) -> None:
        """Refuse what nobody asked for: a misspelt field must not be ignored."""
        for key in sorted(self._values.keys() - self._known):
            hint = did_you_mean(key, self._known)
            raise BadInput(f"cannot {self._what}: unknown field {key!r}{hint}")

    def refused(self, key: str, why: str) -> BadInput:
        """Give the error for a field that cannot be used."""
        return BadInput(f"cannot {self._what}: {key}: {why}")

    def _get(self, key: str, default: object) -> object:
        self._known.add(key)
        value = self._values.get(key)
        return default if value is None else value

    def _cidr(self, key: str, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError as error:
            try:
                meant = ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise self.refused(key, f"{text!r} is no network such as 10.1.0.0/16") from error
            raise self.refused(key, f'{text!r} has host bits; did you mean "{meant}"?') from error
