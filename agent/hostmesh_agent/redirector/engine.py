"""One pass: look, compare, change what differs, look again, write the block of names.

Every change is made under one lock that all instances of the host share; the tools that are run
hold it too, so that a pass whose process was killed still keeps the next one out until its last
command has ended.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hostmesh_agent.redirector import (
    diff,
    firewall,
    hosts_block,
    hosts_file,
    iptables_filter,
    names,
    netlink,
    nft_filter,
    sequence,
    shared,
)
from hostmesh_agent.redirector import files as own_files
from hostmesh_agent.redirector import (
    plan as rules,
)
from hostmesh_agent.redirector.ability import Guardable
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Installed
from hostmesh_agent.redirector.kernel import CannotRun, Kernel, Tools
from hostmesh_agent.redirector.observe import Observer
from hostmesh_agent.redirector.packet_filter import Filter
from hostmesh_agent.redirector.paths import Paths
from hostmesh_agent.redirector.plan import Desired, NeverPorts
from hostmesh_agent.redirector.saved import Table
from hostmesh_agent.redirector.ssh import SshPorts
from hostmesh_agent.redirector.target import NameScope, Target
from hostmesh_core.capture_plan import CapturePlan, OnDown
from hostmesh_core.errors import HostmeshError


class NotInForce(HostmeshError):
    """All commands ran and the kernel still differs: somebody else is changing it too."""


class CannotGuard(HostmeshError):
    """The guard of one family could not be put in; the rest can."""

    def __init__(self, family: Family, text: str) -> None:
        super().__init__(text)
        self.family = family


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a pass found at its end."""

    rules: int = 0
    routes: int = 0
    endpoints: int = 0
    names: int = 0
    changed: bool = False
    silent: bool = False
    """Whether rules lie where the kernel tells nobody of a change (legacy iptables)."""
    guarded: frozenset[Family] = frozenset()
    """The families that have the guard."""
    notes: tuple[str, ...] = ()
    unwritten: str = ""
    """Why the block of names could not be written; the rules do not depend on it."""
    never: NeverPorts = field(default_factory=NeverPorts)


class Engine:
    """The passes of one instance."""

    def __init__(self, paths: Paths, kernel: Kernel | None = None) -> None:
        self._paths = paths
        self._instance = paths.layout.instance
        self._held: list[int] = []
        self._kernel = kernel or Tools(self._held)
        self._observer = Observer(self._kernel, self._instance)
        self._ssh = SshPorts(self._kernel)
        self._guardable = Guardable()
        self._filters: list[Filter] = []
        self._built: tuple[tuple[object, ...], Desired] | None = None

    def desired(
        self, plan: CapturePlan, target: Target, endpoints: frozenset[tuple[str, int]]
    ) -> tuple[Desired, Installed, NeverPorts]:
        """Give what should be there and what is, changing nothing. Raises CannotRun."""
        installed = self._observer.look()
        if target.anything and not installed.usable:
            raise CannotRun(
                "cannot set rules: iptables is not installed; install the package iptables, or set "
                "capture.enabled: false in agent.yaml and use upstreams"
            )
        never = self._ssh.find()
        # Closed has been promised: then rather unreachable than in plaintext.
        closed = plan.on_down_inbound is OnDown.CLOSED
        self._filters = self._read_filters(installed)
        left = {} if closed else _by_firewall(plan, self._filters)
        able = self._guardable.able(installed, time.monotonic())
        inputs = (plan, target, endpoints, never, left, able)
        if self._built is None or self._built[0] != inputs:
            wanted = rules.build(
                plan,
                target,
                endpoints=endpoints,
                never=never,
                left=left,
                able=able,
            )
            # Thousands of addresses are checked once, not on every look at the kernel.
            self._built = inputs, wanted
        return self._built[1], installed, never

    def differences(
        self,
        plan: CapturePlan | None,
        target: Target,
        endpoints: frozenset[tuple[str, int]],
        *,
        guarded: frozenset[Family] = frozenset(Family),
    ) -> tuple[list[str], int]:
        """Say what differs now, and how many rules there are. Raises CannotRun.

        `guarded`: the families in which the last pass put the guard.
        """
        self._guardable.refuse(frozenset(Family) - guarded, "left out", time.monotonic())
        if plan is None:
            wanted, installed = Desired(), self._observer.look()
        else:
            wanted, installed, _ = self.desired(plan, target, endpoints)
        found = diff.differences(wanted, installed, self._instance)
        return found, diff.rule_count(installed, self._instance)

    def preview(
        self, plan: CapturePlan, target: Target, endpoints: frozenset[tuple[str, int]]
    ) -> Desired:
        """Give what would be installed; needs no root and no iptables."""
        return rules.build(plan, target, endpoints=endpoints, never=self._ssh.find())

    def foreseen(self, plan: CapturePlan) -> dict[int, str]:
        """Give the declared ports that this host's firewall would treat otherwise, with why.

        Changes nothing. Raises CannotRun.
        """
        return _by_firewall(plan, self._read_filters(self._observer.look()))

    def converge(
        self,
        plan: CapturePlan,
        target: Target,
        endpoints: frozenset[tuple[str, int]] = frozenset(),
        table: Mapping[str, tuple[str, str]] | None = None,
    ) -> Result:
        """Bring kernel and names to `target`, whatever was there. Raises HostmeshError."""
        with self.locked():
            wanted, installed, never = self.desired(plan, target, endpoints)
            changed = bool(diff.differences(wanted, installed, self._instance))
            if changed:
                try:
                    installed = self._change(wanted, installed)
                except (CannotGuard, NotInForce) as error:
                    wanted, installed = self._without_guard(error, wanted, plan, target, endpoints)
            # Rules first, both ways: a name without its rule is refused at once, while a rule that
            # waits for a slow disk keeps a dead Envoy's connections refused.
            name_notes, unwritten = self._names(plan, target.names, table or {})
            return Result(
                rules=diff.rule_count(installed, self._instance),
                routes=len(wanted.routes),
                endpoints=sum(len(items) for items in wanted.sets.values()),
                names=0 if unwritten else self._names_written(),
                changed=changed,
                silent=any(backend.legacy for backend in installed.tables),
                guarded=wanted.guarded,
                notes=(
                    *wanted.notes,
                    *(self._guardable.notes() if wanted.rules else ()),
                    *name_notes,
                    *_firewall_notes(plan, target, self._filters),
                ),
                unwritten=unwritten,
                never=never,
            )

    def is_anything(self) -> bool:
        """Whether a rule, a route or a name of this instance is there. Raises HostmeshError."""
        found, rules = self.differences(None, Target(), frozenset())
        return bool(found or rules or self._names_written())

    def remove(self) -> Result:
        """Take out everything of this instance, knowing no configuration. Raises HostmeshError."""
        with self.locked():
            installed = self._observer.look()
            self.write_block([])
            changed = bool(diff.differences(Desired(), installed, self._instance))
            installed = self._change(Desired(), installed)
            return Result(changed=changed, rules=diff.rule_count(installed, self._instance))

    def _names(
        self, plan: CapturePlan, scope: NameScope, table: Mapping[str, tuple[str, str]]
    ) -> tuple[list[str], str]:
        """Write the names; a file that cannot be written must not look like rules that are gone."""
        try:
            return self.write_names(plan, scope, table), ""
        except hosts_file.CannotWriteHosts as error:
            return [], str(error)

    def _names_written(self) -> int:
        return hosts_block.count(hosts_file.read(self._paths.hosts) or b"", self._instance)

    def write_names(
        self, plan: CapturePlan, scope: NameScope, table: Mapping[str, tuple[str, str]]
    ) -> list[str]:
        """Write the managed block; gives a sentence for each name that was refused."""
        content = hosts_file.read(self._paths.hosts) or b""
        host = socket.gethostname().lower()
        taken = hosts_block.names_in(content) | {host, host.partition(".")[0]}
        kept, refused = names.allowed(plan, table, scope, taken=taken)
        self.write_block(names.lines(kept))
        return refused

    def write_block(self, lines: list[str]) -> None:
        """Put the block's lines into the hosts file, or take the block out. Raises."""
        path, journal = self._paths.hosts, self._paths.hosts_journal
        hosts_file.recover(path, journal)
        old = hosts_file.read(path)
        new = hosts_block.with_block(old or b"", self._instance, lines)
        if new != (old or b""):
            hosts_file.write(path, old, new, journal)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of all instances; waits for whoever has it."""
        path = Path(self._paths.lock)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise own_files.CannotUseFile(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._held.append(descriptor)
            yield
        finally:
            self._held.clear()
            os.close(descriptor)

    def _read_filters(self, installed: Installed) -> list[Filter]:
        """Give what filters inbound traffic on this host, iptables' tables and nft's own."""
        found = [
            filtering
            for backend, tables in installed.tables.items()
            if (filtering := iptables_filter.read(tables.get("filter", Table()), backend.family))
        ]
        for name in netlink.input_filters() if self._kernel.has("nft") else []:
            try:
                shown = self._kernel.run(("nft", "--json", "list", "table", *name.split(" ", 1)))
            except CannotRun:  # it went between the two questions, or this nft cannot show it
                continue
            found += nft_filter.read(shown)
        return found

    def _without_guard(
        self,
        error: HostmeshError,
        wanted: Desired,
        plan: CapturePlan,
        target: Target,
        endpoints: frozenset[tuple[str, int]],
    ) -> tuple[Desired, Installed]:
        """Put in all but the guard where that is what could not be put in. Raises HostmeshError."""
        refused = frozenset({error.family}) if isinstance(error, CannotGuard) else wanted.guarded
        if not refused:
            raise error
        self._guardable.refuse(refused, str(error), time.monotonic())
        wanted, installed, _ = self.desired(plan, target, endpoints)
        try:
            return wanted, self._change(wanted, installed)
        except CannotGuard as second:
            return self._without_guard(second, wanted, plan, target, endpoints)
        except NotInForce:
            self._guardable.allow()
            raise

    def _change(self, wanted: Desired, installed: Installed) -> Installed:
        """Run the steps and prove that they did it; gives what is there then."""
        if wanted.rules or wanted.routes:
            shared.note(self._paths.shared, installed)
        before = shared.load(self._paths.shared)
        keep = before is None or before.source
        for step in sequence.steps(wanted, installed, self._instance, keep_source=keep):
            try:
                self._kernel.run(step.argv, step.stdin)
            except CannotRun as error:
                if step.guards is None:
                    raise
                raise CannotGuard(step.guards, str(error)) from error
        now = self._observer.look()
        left = diff.differences(wanted, now, self._instance)
        if left:
            raise NotInForce(
                f"cannot hold the rules: after the commands still {len(left)} differences, the "
                f"first: {left[0]}; they are put in again within a second"
            )
        if before is not None:
            self._tidy(now, before)
        if not wanted.rules and not now.any_chain():
            own_files.remove(self._paths.shared)
        return now

    def _tidy(self, installed: Installed, before: shared.Before) -> None:
        """Take away the empty built-in chains, and the tables, that were not there before us."""
        for backend, tables in installed.tables.items():
            if not backend.default or backend.legacy:
                continue
            for name in before.tables:
                there = netlink.chains(backend.family.value, name)
                if there is None:
                    continue
                had = before.chains(name, backend.family)
                empty = shared.made(name, tables.get(name, Table()), there, had)
                with_table = had is None and empty == there
                netlink.drop(backend.family.value, name, sorted(empty), with_table=with_table)


def _by_firewall(plan: CapturePlan, filters: Sequence[Filter]) -> dict[int, str]:
    """Give the declared ports that capture would open or shut."""
    ports = sorted({entry.port for entry in plan.inbound})
    return firewall.changed_ports(filters, ports, plan.inbound_port)


def _firewall_notes(plan: CapturePlan, target: Target, filters: Sequence[Filter]) -> list[str]:
    """Say where a firewall and capture meet."""
    if not target.inbound:
        return []
    found = firewall.notes(filters, plan.inbound_port)
    if plan.on_down_inbound is OnDown.CLOSED:
        changed = _by_firewall(plan, filters)
        found += [f"port {port} is captured, but {why}" for port, why in changed.items()]
    return found
