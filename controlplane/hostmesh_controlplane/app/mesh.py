"""The mesh while it runs: one queue of inputs, one place where the merged state changes.

Catalogs, hosts and operators put inputs; each is merged, what must outlive a restart is stored,
and only then the changed services go to whoever publishes them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from hostmesh_controlplane.logic import merge, vips
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.merge import MergeState, Step
from hostmesh_controlplane.logic.record_changes import RecordChange, changes
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_controlplane.logic.store import Conflict, Record, Store, Table
from hostmesh_controlplane.logic.vips import VipRanges, VipRecord, WantedVip
from hostmesh_core.documents import suggest
from hostmesh_core.errors import BadInput, HostmeshError, Unreachable
from hostmesh_core.model import MeshChange, Service

log = logging.getLogger(__name__)

MOST_COMPARED = 2000
"""Names that a misspelt one is held against: 10,000 take a quarter of a second (measured)."""

RETRY_SECONDS = 1.0
"""Between two tries to write what the store did not take: a full disk or a lock may pass."""


@dataclass(frozen=True, slots=True)
class Times:
    """The clock, and how long is waited."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    wall: Callable[[], float] = time.time
    answer_seconds: float = 10.0
    """How long an operator waits for the store before he is told how far his command got."""


class Decided(Protocol):
    """What a decision about one service comes to, beside what its caller makes of it."""

    @property
    def record(self) -> ServiceRecord:
        """What is to be stored of the service; the one it had = nothing changes."""


T = TypeVar("T")
D = TypeVar("D", bound=Decided)

Decide = Callable[[Service | None, ServiceRecord], D]
"""Decides from a service and its record as they are at its turn; None = it is not in the mesh."""

Input = Callable[[MergeState], Step]
Changed = Callable[[Sequence[MeshChange]], None]


def set_record(host: str, record: ServiceRecord) -> Input:
    """Make the input that replaces what is stored of a service."""
    return lambda state: merge.set_record(state, host, record)


def _set_vip(host: str, vip: VipRecord) -> Input:
    return lambda state: merge.set_vip(state, host, vip)


class Mesh:
    """The merged mesh. Inputs are put from anywhere in the event loop and merged in their order."""

    def __init__(
        self,
        rules: Rules,
        ranges: VipRanges,
        store: Store,
        *,
        on_changes: Changed,
        times: Times = Times(),
    ) -> None:
        self.state = merge.start(rules)
        self._ranges = ranges
        self._store = store
        self._on_changes = on_changes
        self._times = times
        self._trouble = ""
        """Why the store does not take what it was last given; empty while it does."""
        self._inputs: asyncio.Queue[tuple[Input, asyncio.Future[Step] | None]] = asyncio.Queue()
        self._versions: dict[tuple[Table, str], int] = {}
        self._taken: dict[str, str] = {}
        self._full = False
        """Whether every address was found taken: to look through a large range again costs the
        event loop half a second, with each input about a name that waits for one."""

    async def start(self) -> None:
        """Load what is stored of services: virtual addresses, states, inbound modes."""
        for record in await self._store.list(Table.VIPS):
            self._versions[Table.VIPS, record.key] = record.version
            kind, _, name = record.key.partition("/")
            if kind == "address":
                self._taken[name] = record.value.decode()
            else:
                await self._take(_set_vip(name, VipRecord.from_bytes(record.value)))
        for record in await self._store.list(Table.SERVICES):
            self._versions[Table.SERVICES, record.key] = record.version
            await self._take(set_record(record.key, ServiceRecord.from_bytes(record.value)))

    async def run(self) -> None:
        """Merge inputs for ever. A store that fails is tried again: what comes next waits for it,
        because nothing may be published that a restart would forget.
        """
        while True:
            change, waiter = await self._inputs.get()
            try:
                step = await self._take(change)
            except BadInput as error:
                # A full address range must not stop the services that have their address.
                log.error("change not taken in error=%s", error)
                _give_up(waiter, error)
                continue
            except Exception as error:
                # A bug about one service must not end the mesh of all the others.
                log.exception("change not taken in")
                _give_up(waiter, error)
                continue
            if waiter is not None and not waiter.done():
                waiter.set_result(step)

    def put(self, change: Input) -> None:
        """Queue an input."""
        self._inputs.put_nowait((change, None))

    def apply(self, change: Input) -> Awaitable[Step]:
        """Queue an input and give what it came to, once it is stored and published."""
        waiter: asyncio.Future[Step] = asyncio.get_running_loop().create_future()
        self._inputs.put_nowait((change, waiter))
        return waiter

    async def settled(self) -> None:
        """Wait until every input that was put so far is merged, stored and published."""
        await self.apply(Step)

    async def decide(self, host: str, decide: Decide[D]) -> D:
        """Take an operator's decision about one service; give it once it is stored and published.

        It is taken in the queue: decided from what was read before, it would undo what came in
        between. Raises what `decide` raises, and Unreachable where the store does not answer.
        """
        made: list[D] = []
        change: list[RecordChange] = []
        failed: list[Exception] = []

        def take(state: MergeState) -> Step:
            if given_up:
                return Step(state)
            try:
                one = decide(state.services.get(host), state.record(host))
            except Exception as error:  # noqa: BLE001 (its caller's, not the whole mesh's)
                failed.append(error)
                return Step(state)
            made.append(one)
            if one.record == state.record(host):
                return Step(state)
            change.extend(changes(state.record(host), one.record))
            return merge.change_record(state, host, one.record)

        given_up = False
        try:
            async with asyncio.timeout(self._times.answer_seconds):
                await self.apply(take)
        except TimeoutError as error:
            given_up = True
            raise self._unanswered(host, change, taken=bool(made)) from error
        if failed:
            raise failed[0]
        return made[0]

    def _unanswered(self, host: str, change: Iterable[RecordChange], *, taken: bool) -> Unreachable:
        why = self._trouble or "the store does not answer"
        if taken:
            return Unreachable(
                f"cannot store what is decided of {host} yet: {why}; it is tried again every "
                f"second and takes effect then; look at: hostmesh service show {host}",
                {"host": host, "change": "; ".join(map(str, change))},
            )
        return Unreachable(
            f"cannot decide about {host}: what came before it is not stored yet: {why}; nothing "
            "is changed, try again",
            {"host": host},
        )

    def find(self, name: str) -> Service:
        """Give the service of a full host name, an alias, or a short name that only one has.

        Raises BadInput with the likely meant names.
        """
        services = self.state.services
        if (service := services.get(name)) is not None:
            return service
        found = [s for s in services.values() if name in (s.short_name, *s.aliases)]
        if len(found) == 1:
            return found[0]
        if found:
            hosts = ", ".join(sorted(service.host for service in found))
            raise BadInput(f"cannot tell which {name} is meant: {hosts}; write it in full")
        known = services if "." in name else {s.short_name for s in services.values()} - {""}
        meant = suggest(name, list(known)[:MOST_COMPARED])
        hint = f'; did you mean "{meant}"?' if meant else ""
        raise BadInput(f"cannot find service {name}{hint}; look at: hostmesh services")

    async def _take(self, change: Input) -> Step:
        before = replace(self.state, now=self._times.wall())
        step = change(before)
        self.state = step.state
        for host, record in step.records:
            await self._put(Table.SERVICES, host, record.to_bytes())
            _log_changes(host, changes(before.record(host), record))
        if step.changes:
            self._on_changes(step.changes)
        for wanted in step.wanted:
            vip = await self._vip(wanted)
            await self._take(_set_vip(wanted.host, vip))
        return step

    async def _vip(self, wanted: WantedVip) -> VipRecord:
        """Give a host name its addresses, or its first port: stored before anyone hears of them."""
        stored = self.state.inputs[wanted.host].vip
        if stored is not None:
            record = VipRecord(stored.vip4, stored.vip6, wanted.port)
        else:
            record = await self._allocated(wanted)
        await self._put(Table.VIPS, vips.host_key(wanted.host), record.to_bytes())
        return record

    async def _allocated(self, wanted: WantedVip) -> VipRecord:
        while True:
            record = self._free(wanted)
            key = vips.address_key(record.vip4)
            try:
                await self._until_done(
                    partial(self._store.put_if, Table.VIPS, key, wanted.host.encode(), version=0),
                    what=key,
                )
            except Conflict:
                existing = await self._until_done(
                    partial(self._store.get, Table.VIPS, key), what=key
                )
                owner = existing.value.decode() if existing else ""
                if owner == wanted.host:
                    return record  # claimed before a crash, or by another replica
                self._taken[record.vip4] = owner
            else:
                self._taken[record.vip4] = wanted.host
                return record

    def _free(self, wanted: WantedVip) -> VipRecord:
        if self._full:
            raise vips.full(wanted, self._ranges)
        try:
            return vips.allocate(wanted, ranges=self._ranges, taken=self._taken)
        except vips.RangeFull:
            self._full = True
            raise

    async def _put(self, table: Table, key: str, value: bytes) -> None:
        """Write what this process alone decides; a version that moved is read again."""
        what = f"{table.value}/{key}"
        version = self._versions.get((table, key), 0)
        moved = 0
        while True:
            put = partial(self._store.put_if, table, key, value, version=version)
            try:
                written = await self._until_done(put, what=what)
            except Conflict:
                moved += 1
                if moved > 1:  # somebody else writes it too: do not race with them
                    log.warning("record moved again, reading it anew record=%s", what)
                    await self._times.sleep(RETRY_SECONDS)
                read = partial(self._store.get, table, key)
                current: Record | None = await self._until_done(read, what=what)
                version = current.version if current else 0
            else:
                self._versions[table, key] = written.version
                return

    async def _until_done(self, operation: Callable[[], Awaitable[T]], *, what: str) -> T:
        """Do a store operation, again and again until the store is there. Raises Conflict."""
        while True:
            try:
                done = await operation()
            except HostmeshError as error:
                self._trouble = str(error)
                log.warning("store failed, trying again record=%s error=%s", what, error)
                await self._times.sleep(RETRY_SECONDS)
            else:
                self._trouble = ""
                return done


def _give_up(waiter: asyncio.Future[Step] | None, error: Exception) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)


def _log_changes(host: str, made: Iterable[RecordChange]) -> None:
    """Say what is stored by now, also of a command whose caller was told to wait for it."""
    for one in made:
        log.info(
            "service changed service=%s what=%s before=%s after=%s by=%r",
            *(host, one.what, one.before, one.after, one.by),
        )
