"""What the host was like before the first instance put anything in.

Written before the first change and removed after the last one, so that what all instances share
goes with the last of them, and what was there before stays.
"""

from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.redirector import files
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Installed
from hostmesh_core import strict_json
from hostmesh_core.capture_plan import FILE_LIMIT
from hostmesh_core.errors import BadInput

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The host before us."""

    world: str
    """Which boot and network namespace this is about: the kernel forgets with them."""
    source: bool
    """Whether ::6 was on lo already."""
    nat: frozenset[Family]
    """Families that had a nat table already."""

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {
                "version": VERSION,
                "world": self.world,
                "source": self.source,
                "nat4": Family.V4 in self.nat,
                "nat6": Family.V6 in self.nat,
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "Before":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        there = {Family.V4: f.flag("nat4"), Family.V6: f.flag("nat6")}
        before = cls(
            world=f.text("world"),
            source=f.flag("source"),
            nat=frozenset(family for family, was in there.items() if was),
        )
        f.end()
        return before


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
    before = Before(
        world=world(),
        source=installed.inbound_source and not ours,
        nat=frozenset(f for f in installed.usable if installed.nat(f).chains and not ours),
    )
    files.write(path, before.encode(), mode=0o600)
    return before
