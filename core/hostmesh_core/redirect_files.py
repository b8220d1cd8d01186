"""The files between `capture compile`, the agent and the redirector (DESIGN 10).

    capture.json  root writes it from agent.yaml: ports, uids, modes, ranges (capture_plan.py)
    state.json    the agent writes it: which Envoy, whether to capture, which addresses
    names.json    the agent writes it: names and their virtual addresses
    report.json   the redirector writes it: what is in force, verified when, what is missing

The agent can thereby open, close, withhold a declared port and name addresses within what root
wrote; never add a port, a uid or a target. Everything is checked here, in one place, by the process
that reads it. Pure, and nothing heavy is imported: the redirector is a small process.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hostmesh_core import strict_json
from hostmesh_core.capture_plan import FILE_LIMIT, VERSION, dns_name_of, port_of, sentence
from hostmesh_core.errors import BadInput
from hostmesh_core.strict_json import Fields

ENDPOINT_LIMIT = 30_000
"""Endpoint addresses of one host's view; fits the file limit in both families."""
NAME_LIMIT = 10_000

_SEQUENCE_MAX = 2**53

REMOVED_UNNOTED = 3
"""Exit status of `redirect remove`: all is out, and that it has to stay out is noted nowhere."""


class Wanted(StrEnum):
    """What the agent asks for."""

    CAPTURED = "captured"
    """Rules in while Envoy serves."""
    RELEASED = "released"
    """Envoy is about to go: open directions out, closed ones stay; virtual addresses as long as
    it lives, for the connections that it drains."""
    LEFT = "left"
    """The host leaves the mesh: everything out, whatever `on_envoy_down` says."""


class Outcome(StrEnum):
    """What the redirector's last pass came to."""

    APPLIED = "applied"
    """All that is wanted is in and verified."""
    REMOVED = "removed"
    """Nothing of this instance is installed, and nothing is wanted."""
    WAITING = "waiting"
    """Wanted, but Envoy does not serve yet: only closed directions are in."""
    FAILED = "failed"
    """`detail` says what could not be done; it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyProcess:
    """The Envoy that serves: enough to hold it and to know that it is still the same process."""

    epoch: int
    pid: int
    started: int
    """Field 22 of /proc/<pid>/stat, clock ticks since boot; 0 = not known, then not compared."""
    ready: bool
    """Whether the agent has seen it answer through a worker listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectState:
    """state.json: what the agent asks for."""

    sequence: int = 0
    """Grows with every write; the report names the one it acted on."""
    wanted: Wanted = Wanted.RELEASED
    envoy: EnvoyProcess | None = None
    endpoints: frozenset[tuple[str, int]] = frozenset()
    """(address, port) of registered endpoints, addresses in canonical text."""
    withheld: frozenset[int] = frozenset()
    """Declared inbound ports that Envoy does not serve, because the control plane refuses their
    services: their callers are left to find the app, unless the direction is closed."""

    def encode(self) -> bytes:
        """Give the file's bytes."""
        envoy = self.envoy and {
            "epoch": self.envoy.epoch,
            "pid": self.envoy.pid,
            "started": self.envoy.started,
            "ready": self.envoy.ready,
        }
        return strict_json.dump(
            {
                "version": VERSION,
                "sequence": self.sequence,
                "wanted": self.wanted,
                "envoy": envoy,
                "endpoints": sorted(self.endpoints),
                "withheld": sorted(self.withheld),
            }
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "RedirectState":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        state = cls(
            sequence=f.integer("sequence", 0, _SEQUENCE_MAX),
            wanted=f.parsed("wanted", Wanted),
            envoy=_envoy(f.inner_or_none("envoy")),
            endpoints=frozenset(f.items("endpoints", _endpoint, ENDPOINT_LIMIT)),
            withheld=frozenset(f.items("withheld", port_of, 1000)),
        )
        f.end()
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTable:
    """names.json: each name's virtual addresses, (IPv4, IPv6), either may be empty."""

    sequence: int = 0
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {"version": VERSION, "sequence": self.sequence, "names": dict(self.names)}
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "NameTable":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        table = cls(
            sequence=f.integer("sequence", 0, _SEQUENCE_MAX),
            names={
                dns_name_of(name, where): _addresses(value, f"{where}: {name}")
                for name, value in f.pairs("names", NAME_LIMIT)
            },
        )
        f.end()
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """report.json: what the redirector found and did, for the agent, `status` and `doctor`."""

    outcome: Outcome
    plan: str = ""
    """Content hash of the capture.json that was acted on."""
    state_sequence: int = 0
    names_sequence: int = 0
    inbound: bool = False
    """Whether inbound rules are in."""
    outbound: bool = False
    """Whether outbound rules are in."""
    verified_at: float = 0.0
    """Seconds since the epoch of the last look at what is installed; 0 = never."""
    detail: str = ""
    """One sentence for a person."""
    rules: int = 0
    routes: int = 0
    endpoints: int = 0
    names: int = 0
    guarded: tuple[int, ...] = ()
    """The IP versions in which the guard is in: it stops a connection that would go the way of an
    older one instead of through Envoy."""
    turned: int = 0
    """Connections that the guard stopped and that were led in anew, since the redirector began."""
    missing: tuple[str, ...] = ()
    """What is wanted and not there, and why, one sentence each."""
    notes: tuple[str, ...] = ()
    """What was left out on purpose (an ssh port that was declared), one sentence each."""
    never_ports: tuple[int, ...] = ()
    pid: int = 0
    """The redirector's pid; 0 = a one-shot command wrote this."""

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {"version": VERSION} | {name: getattr(self, name) for name in self.__slots__}
        )

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "Report":
        """Read the file's bytes. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        report = cls(
            outcome=f.parsed("outcome", Outcome),
            plan=f.text("plan"),
            state_sequence=f.integer("state_sequence", 0, _SEQUENCE_MAX),
            names_sequence=f.integer("names_sequence", 0, _SEQUENCE_MAX),
            inbound=f.flag("inbound"),
            outbound=f.flag("outbound"),
            verified_at=f.number("verified_at"),
            detail=f.text("detail"),
            rules=f.integer("rules", 0, 1_000_000),
            routes=f.integer("routes", 0, 1000),
            endpoints=f.integer("endpoints", 0, 1_000_000),
            names=f.integer("names", 0, 1_000_000),
            guarded=f.items("guarded", _ip_version, 2),
            turned=f.integer("turned", 0, _SEQUENCE_MAX),
            missing=f.items("missing", sentence, 1000),
            notes=f.items("notes", sentence, 1000),
            never_ports=f.items("never_ports", port_of, 65535),
            pid=f.integer("pid", 0, 2**31),
        )
        f.end()
        return report


def _envoy(f: Fields | None) -> EnvoyProcess | None:
    if f is None:
        return None
    envoy = EnvoyProcess(
        epoch=f.integer("epoch", 0, 2**31),
        pid=f.integer("pid", 2, 2**31),
        started=f.integer("started", 0, _SEQUENCE_MAX),
        ready=f.flag("ready"),
    )
    f.end()
    return envoy


def _ip_version(value: object, where: str) -> int:
    if value not in (4, 6) or not isinstance(value, int):
        raise BadInput(f"cannot read {where}: expected 4 or 6")
    return value


def _endpoint(value: object, where: str) -> tuple[str, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadInput(f"cannot read {where}: expected [address, port]")
    return _address(value[0], where), port_of(value[1], where)


def _addresses(value: object, where: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadInput(f"cannot read {where}: expected [IPv4 address, IPv6 address]")
    vip4, vip6 = (_address(entry, where) if entry != "" else "" for entry in value)
    if (vip4 and ":" in vip4) or (vip6 and ":" not in vip6):
        raise BadInput(f"cannot read {where}: expected [IPv4 address, IPv6 address]")
    return vip4, vip6


def _address(value: object, where: str) -> str:
    if not isinstance(value, str) or "%" in value:
        raise BadInput(f"cannot read {where}: expected an IP address without a zone")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise BadInput(f"cannot read {where}: {error}") from error
