"""The host records in memory, written through to the store: one place that changes them."""

from collections.abc import Callable

from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.store import Conflict, Record, Store, Table

Change = Callable[[HostRecord], HostRecord | Refusal]


class HostBook:
    """Every host that has joined. Changes are told to `listeners` after they are stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hosts: dict[str, tuple[HostRecord, int]] = {}
        self.listeners: list[Callable[[str], None]] = []

    async def load(self) -> None:
        """Read every record from the store."""
        records = await self._store.list(Table.HOSTS)
        self._hosts = {record.key: _parsed(record) for record in records}

    def get(self, host_id: str) -> HostRecord | None:
        """Give the record, or None for a host that never joined here."""
        entry = self._hosts.get(host_id)
        return entry[0] if entry else None

    def all(self) -> list[HostRecord]:
        """Give every record, by host id."""
        return [self._hosts[host_id][0] for host_id in sorted(self._hosts)]

    async def add(self, record: HostRecord) -> HostRecord:
        """Store a host that joins; one that is there already stays as it is."""
        known = self.get(record.host_id)
        if known is not None:
            return known
        try:
            stored = await self._store.put_if(
                Table.HOSTS, record.host_id, record.to_bytes(), version=0
            )
        except Conflict:
            return await self._reread(record.host_id) or record
        self._keep(stored)
        return record

    async def update(self, host_id: str, change: Change) -> HostRecord | Refusal | None:
        """Store what `change` makes of the record; asked again when somebody else wrote first.

        None where no such host is; a Refusal changes nothing.
        """
        while True:
            entry = self._hosts.get(host_id)
            if entry is None:
                return None
            record, version = entry
            after = change(record)
            if isinstance(after, Refusal) or after == record:
                return after
            try:
                stored = await self._store.put_if(
                    Table.HOSTS, host_id, after.to_bytes(), version=version
                )
            except Conflict:
                await self._reread(host_id)
                continue
            self._keep(stored)
            return after

    async def _reread(self, host_id: str) -> HostRecord | None:
        stored = await self._store.get(Table.HOSTS, host_id)
        if stored is None:
            self._hosts.pop(host_id, None)
            return None
        self._keep(stored)
        return self.get(host_id)

    def _keep(self, stored: Record) -> None:
        known = self._hosts.get(stored.key)
        if known is not None and known[1] > stored.version:
            return  # an answer that was overtaken by a later write
        self._hosts[stored.key] = _parsed(stored)
        for listener in self.listeners:
            listener(stored.key)


def _parsed(record: Record) -> tuple[HostRecord, int]:
    return HostRecord.from_bytes(record.value), record.version
