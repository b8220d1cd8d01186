"""The record of one host: who it is, what it may claim, what was issued to it last.

It is stored under the host id in table `hosts` as JSON. Everything about a node that decides what
it is told comes from here, never from what the node says of itself.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from hostmesh_core.documents import did_you_mean
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Grant, Kind
from hostmesh_core.ids import Identity, SpiffeId

SHORTEST_BEGINNING = 4
"""Characters of an id that may stand for it."""
_WHOLE_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class IssuedLast:
    """The last certificate of one identity: an older one is a restored snapshot or a theft."""

    serial: str
    """Lower-case hexadecimal."""
    not_after: float
    """Seconds since the epoch."""
    key_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """One host that has joined. A change is a new value."""

    host_id: str
    """128 random bits, hexadecimal; never reused."""
    hostname: str
    """What the host called itself, for tables; decides nothing."""
    grant: Grant
    kind: Kind = Kind.AGENT
    token_id: str
    enrolled_at: float
    enrolled_from: str = ""
    """The address that it enrolled from, for tables."""
    host: IssuedLast | None = None
    """None between the record's first write and its first certificate."""
    workloads: tuple[tuple[Identity, IssuedLast], ...] = ()
    """Sorted by identity."""
    revoked_at: float = 0.0
    """Seconds since the epoch; 0 = it stands."""
    revoked_why: str = ""

    @property
    def revoked(self) -> bool:
        """Whether it may never come back."""
        return self.revoked_at > 0

    def spiffe_id(self, trust_domain: str) -> SpiffeId:
        """Give the id in its host certificate."""
        return SpiffeId.of_host(trust_domain, self.host_id)

    def issued(self, identity: Identity | None) -> IssuedLast | None:
        """Give the last certificate of an identity; None as identity is the host's own."""
        return self.host if identity is None else dict(self.workloads).get(identity)

    def hours_left(self, now: float) -> float:
        """Give the hours until the host certificate ends; 0 where there is none."""
        return max(0.0, self.host.not_after - now) / 3600 if self.host else 0.0

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        value = {
            "host_id": self.host_id,
            "hostname": self.hostname,
            "grant": self.grant.to_json(),
            "kind": self.kind.value,
            "token_id": self.token_id,
            "enrolled_at": self.enrolled_at,
            "enrolled_from": self.enrolled_from,
            "host": _issued_json(self.host) if self.host else None,
            "workloads": {str(identity): _issued_json(i) for identity, i in self.workloads},
            "revoked_at": self.revoked_at,
            "revoked_why": self.revoked_why,
        }
        return json.dumps(value, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read the stored form, which only this class writes."""
        value = json.loads(stored)
        return cls(
            host_id=value["host_id"],
            hostname=value["hostname"],
            grant=Grant.from_json(value["grant"]),
            kind=Kind(value["kind"]),
            token_id=value["token_id"],
            enrolled_at=value["enrolled_at"],
            enrolled_from=value["enrolled_from"],
            host=IssuedLast(**value["host"]) if value["host"] else None,
            workloads=tuple(
                sorted(
                    (Identity.parse(name), IssuedLast(**issued))
                    for name, issued in value["workloads"].items()
                )
            ),
            revoked_at=value["revoked_at"],
            revoked_why=value["revoked_why"],
        )


def _told_apart(record: HostRecord, *, newest: HostRecord, live: list[HostRecord]) -> str:
    marks = [f"named {record.hostname}", "connected" if record in live else "away"]
    if record.revoked:
        marks[1] = "revoked"
    if record.enrolled_from:
        marks.append(f"joined from {record.enrolled_from}")
    if record is newest:
        marks.append("joined last")
    return f"{record.host_id} ({', '.join(marks)})"


def _issued_json(issued: IssuedLast) -> dict[str, object]:
    return {
        "serial": issued.serial,
        "not_after": issued.not_after,
        "key_sha256": issued.key_sha256,
    }


def find(
    records: Iterable[HostRecord],
    text: str,
    *,
    connected: Callable[[str], bool] = lambda _: False,
    only_read: bool = False,
) -> HostRecord:
    """Give the one host of an id, the beginning of an id, or a hostname.

    Raises BadInput for none or several. A host chooses its name, so a name never wins over the
    beginning of another's id, and what looks like a whole id is never a name. A host that left and
    joined again has two records of one name: where `only_read`, the newest is meant if it alone is
    `connected`; whoever changes something says which.
    """
    hosts = sorted(records, key=lambda record: record.host_id)
    found = _meant(hosts, text)
    if len(found) == 1:
        return found[0]
    if not found:
        hint = did_you_mean(text, [h.hostname for h in hosts])
        raise BadInput(f"cannot find host {text!r}{hint}; list them with: hostmesh hosts")
    newest = max(found, key=lambda record: record.enrolled_at)
    live = [h for h in found if connected(h.host_id)]
    if only_read and live == [newest] and all(h.hostname == text for h in found):
        return newest
    ids = ", ".join(_told_apart(h, newest=newest, live=live) for h in found[:5])
    raise BadInput(f"cannot tell which host is meant by {text!r}: {ids}; write the id")


def _meant(hosts: list[HostRecord], text: str) -> list[HostRecord]:
    """Give every host that may be meant; of those that share a name, the revoked ones are not."""
    if _WHOLE_ID.fullmatch(text):
        return [h for h in hosts if h.host_id == text]
    named = [h for h in hosts if h.hostname == text]
    named = [h for h in named if not h.revoked] or named
    begun = [h for h in hosts if len(text) >= SHORTEST_BEGINNING and h.host_id.startswith(text)]
    return [h for h in hosts if h in named or h in begun]
