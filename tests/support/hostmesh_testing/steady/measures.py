"""What the records of a steady load and the packets on the wire say about a rollout. Pure."""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hostmesh_ctl.demo.load import Record

SHARE_TOLERANCE = 0.10
"""An instance may get this much more or less than its equal share."""
FEWEST = 800
MOST = 5000
"""Answers that a share is taken from. Envoy picks the less busy of two at random: by chance alone a
share of five deviates by 7 % (one standard deviation) of 800 answers, by less than 3 % of 5000."""
RATE_REACHED = 0.95
"""Of the rate that was asked for, over the whole story."""
ANSWER_AGE = 0.1
"""Seconds between Consul's answer and the connection that was opened on it."""


@dataclass(frozen=True, slots=True)
class Outage:
    """An app that was down, for callers that go by Consul: until Consul's own check said so."""

    address: str
    killed: float
    listed: float
    """When Consul first gave an answer without it."""

    def excuses(self, record: Record) -> bool:
        """Tell whether a failure is the app's own.

        The request went to that very instance, was under way at the kill or began before Consul
        took the instance off. An answer of Consul given just before may still be acted on.
        """
        if record.address != self.address or record.end < self.killed:
            return False
        return record.start <= self.listed + ANSWER_AGE


def uneven(records: Iterable[Record], instances: Sequence[str]) -> list[str]:
    """Give what is wrong with the shares of `instances` in answered requests; empty = nothing."""
    counts = Counter(record.server for record in records if not record.error)
    total = sum(counts.values())
    if total < FEWEST:
        return [f"only {total} answers: no share can be told from fewer than {FEWEST}"]
    equal = total / len(instances)
    wrong = [f"{name} answered {counts[name]}" for name in counts if name not in instances]
    wrong += [
        f"{name} got {counts[name]} of {total}, {counts[name] / equal:.0%} of its equal share"
        for name in instances
        if abs(counts[name] - equal) > SHARE_TOLERANCE * equal
    ]
    return wrong


def spread(records: Iterable[Record]) -> str:
    """Give the answers of each instance as text."""
    counts = Counter(record.server for record in records if not record.error)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def reached(records: Iterable[Record], *, until: float) -> float:
    """Give the requests per second that a client began, from its first one on.

    Over the whole story: a client that a busy machine holds up for a while catches up, and what a
    span of it shows says more about the machine than about the load.
    """
    starts = [record.start for record in records]
    return len(starts) / (until - min(starts))


@dataclass(frozen=True, slots=True)
class Plaintext:
    """A connection that was opened without TLS: its SYN, and HTTP in its first bytes."""

    at: float
    client: str
    server: str


def plaintext_connections(capture: bytes) -> Iterator[Plaintext]:
    """Find in a pcap file of SYNs and HTTP requests each new connection that spoke plaintext."""
    opened: dict[tuple[str, int, str], float] = {}
    for at, frame in _packets(capture):
        header = (frame[14] & 0x0F) * 4
        client, server = _address(frame[26:30]), _address(frame[30:34])
        port = int(struct.unpack_from("!H", frame, 14 + header)[0])
        flags = frame[14 + header + 13]
        key = (client, port, server)
        if flags & 0x02:
            opened[key] = at
        elif key in opened:
            yield Plaintext(opened.pop(key), client, server)


def _packets(capture: bytes) -> Iterator[tuple[float, bytes]]:
    at = 24
    while at + 16 <= len(capture):
        seconds, micros, kept, _ = struct.unpack_from("<IIII", capture, at)
        at += 16
        yield seconds + micros / 1e6, capture[at : at + kept]
        at += kept


def _address(raw: bytes) -> str:
    return ".".join(str(byte) for byte in raw)
