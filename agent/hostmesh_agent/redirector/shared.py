"""What the host was like before the first instance put anything in.

Written before the first change and removed after the last one, so that what all instances share
goes with the last of them, and what was there before stays.
"""

from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.redirector import files, netlink
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Installed
from hostmesh_core import strict_json
from hostmesh_core.capture_plan import FILE_LIMIT, sentence
from hostmesh_core.errors import BadInput
from hostmesh_core.strict_json import Fields

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The host before us."""

    world: str
    """Which boot and network namespace this is about: the kernel forgets with them."""
    source: bool
    """Whether ::6 was on lo already."""
    nat: dict[Family, frozenset[str]]
    """Per family that had a nat table of nft's already, the chains in it."""

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {
                "version": VERSION,
                "world": self.world,
                "source": self.source,
                "nat": [
                    {"family": family.value, "chains": sorted(chains)}
                    for family, chains in sorted(self.nat.items())
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "Before":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        before = cls(
            world=f.text("world"),
            source=f.flag("source"),
            nat=dict(f.items("nat", _table, 2)),
        )
        f.end()
        return before


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
    if before is not None:
        return before
    ours = installed.any_chain()
    found = {family: netlink.chains(family.value, "nat") for family in Family}
    before = Before(
        world=world(),
        source=installed.inbound_source and not ours,
        nat={family: chains for family, chains in found.items() if chains is not None},
    )
    files.write(path, before.encode(), mode=0o600)
    return before
