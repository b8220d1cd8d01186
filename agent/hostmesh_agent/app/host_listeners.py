"""What the host session asks of its surroundings, and whom it tells."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput


class Clock(Protocol):
    """What this asks of a clock."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Entropy(Protocol):
    """What this asks of randomness."""

    def hex(self, bits: int) -> str:
        """Give random bits in hexadecimal."""

    def jitter(self) -> float:
        """Give a number from 0 to 1."""


def _ignore(*_: object) -> None:
    """Nobody listens."""


async def _knows_nothing(kind: str, _: Mapping[str, str]) -> bytes:
    raise BadInput(f"cannot answer {kind!r}: this agent does not know such questions")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostListeners:
    """Who is told what. Called on the event loop, so they must not block."""

    on_welcome: Callable[[pb.Welcome], None] = _ignore
    """A stream is up, or the grant has changed."""
    on_lost: Callable[[str], None] = _ignore
    """No stream is up; the sentence says why and what happens next."""
    on_moved: Callable[[], None] = _ignore
    """The address that the streams came from is gone: others have to be opened anew too."""
    on_verdict: Callable[[pb.Verdict], None] = _ignore
    on_revoked: Callable[[str], None] = _ignore
    on_query: Callable[[str, Mapping[str, str]], Awaitable[bytes]] = _knows_nothing
    """Kind and arguments -> the answer's bytes. Raises a HostmeshError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What the agent says of itself; for tables, decides nothing."""

    agent_version: str = ""
    envoy_version: str = ""
    hostname: str = ""
