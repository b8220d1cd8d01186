"""The one store interface (DESIGN 11): versioned records with compare-and-set.

SQLite implements it now; Consul KV can later. CA keys and token secrets are never in it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Table(StrEnum):
    """The kinds of record."""

    CONFIG = "config"
    TOKENS = "tokens"
    HOSTS = "hosts"
    REVOCATIONS = "revocations"
    VIPS = "vips"
    SOURCES = "sources"
    SERVICES = "services"
    """Per service: its state and inbound mode."""
    REGISTRATIONS = "registrations"
    """Per host id: what it has registered, so that a restart ends nobody."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored value. `version` grows with each write of the key; 0 = it does not exist."""

    key: str
    value: bytes
    version: int


class Conflict(Exception):
    """Somebody else wrote first: read again and decide anew."""


class Store(Protocol):
    """What every backend offers. Keys are texts, values bytes (JSON by convention)."""

    async def get(self, table: Table, key: str) -> Record | None:
        """Give the record, or None."""

    async def list(self, table: Table) -> list[Record]:
        """Give all records of the table, by key."""

    def watch(self, table: Table) -> AsyncIterator[Record | str]:
        """Give each later change: the new record, or the key of a deleted one."""

    async def put_if(self, table: Table, key: str, value: bytes, *, version: int) -> Record:
        """Write if the stored version is `version` (0 = absent). Raises Conflict."""

    async def delete_if(self, table: Table, key: str, *, version: int) -> None:
        """Delete if the stored version is `version`. Raises Conflict."""
