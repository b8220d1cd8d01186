"""What the host was like before the first instance put anything in.

Written before the first change and removed after the last one, so that what all instances share
goes with the last of them, and what was there before stays.
"""

from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.redirector import files, netlink
from hostmesh_agent.redirector.families import FILTER, NAT, Family
from hostmesh_agent.redirector.installed import Installed
from hostmesh_agent.redirector.saved import Table
from hostmesh_core import strict_json
from hostmesh_core.capture_plan import FILE_LIMIT, sentence
from hostmesh_core.errors import BadInput
from hostmesh_core.strict_json import Fields

VERSION = 2
"""Version 1 knew the nat table alone."""
BUILT_IN = {
    NAT: frozenset({"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}),
    FILTER: frozenset({"INPUT", "FORWARD", "OUTPUT"}),
}
"""The tables that we use, and the chains that iptables itself makes in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The host before us."""

    world: str
    """Which boot and network namespace this is about: the kernel forgets with them."""
    source: bool
    """Whether ::6 was on lo already."""
    tables: dict[str, dict[Family, frozenset[str]]]
    """Per table of ours, and family that had it as a table of nft's already, the chains in it."""

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {
                "version": VERSION,
                "world": self.world,
                "source": self.source,
                "tables": {
                    name: [
                        {"family": family.value, "chains": sorted(chains)}
                        for family, chains in sorted(found.items())
                    ]
                    for name, found in self.tables.items()
                },
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "Before":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        version = f.integer("version", 1, VERSION)
        tables = f if version == 1 else f.inner("tables")
        names = BUILT_IN if version > 1 else (NAT,)
        before = cls(
            world=f.text("world"),
            source=f.flag("source"),
            tables={name: dict(tables.items(name, _table, 2)) for name in names},
        )
        tables.end()
        f.end()
        return before

    def chains(self, table: str, family: Family) -> frozenset[str] | None:
        """Give the chains that a table had; None where there was no such table."""
        return self.tables.get(table, {}).get(family)


def made(
    name: str, table: Table, there: frozenset[str], had: frozenset[str] | None
) -> frozenset[str]:
    """Give the built-in chains that came with us and that nobody uses: no rule, no policy."""
    return frozenset(
        chain
        for chain in (there - (had or frozenset())) & BUILT_IN[name]
        if not table.chains.get(chain) and table.policies.get(chain, "ACCEPT") == "ACCEPT"
    )


def _table(value: object, where: str) -> tuple[Family, frozenset[str]]:
    f = Fields(value, where=where)
    table = Family(f.integer("family", 4, 6)), frozenset(f.items("chains", sentence, 10_000))
    f.end()
    return table


def world() -> str:
    """Name this boot and this network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"


def load(path: str) -> Before | None:
    """Give what was noted in this world, or None. Raises CannotUseFile."""
    try:
        before = files.parsed(path, lambda data: Before.decode(data, where=path))
    except BadInput:
        return None
    return before if before is not None and before.world == world() else None


def note(path: str, installed: Installed) -> Before:
    """Note the host as it is, unless that was done already. Raises CannotUseFile."""
    before = load(path)
    if before is not None and before.tables.keys() == BUILT_IN.keys():
        return before
    noted = before.tables if before else dict[str, dict[Family, frozenset[str]]]()
    source = before.source if before else installed.inbound_source and not installed.any_chain()
    # What a version before us noted stays; a table that it did not use is as it was without us.
    before = Before(
        world=world(), source=source, tables={name: _there(name) for name in BUILT_IN} | noted
    )
    files.write(path, before.encode(), mode=0o600)
    return before


def _there(table: str) -> dict[Family, frozenset[str]]:
    found = {family: netlink.chains(family.value, table) for family in Family}
    return {family: chains for family, chains in found.items() if chains is not None}
