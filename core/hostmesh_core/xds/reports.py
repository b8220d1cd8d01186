"""What a server learns of a client on one stream, whichever variant of the protocol it speaks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acked:
    """The client accepted a response."""

    type_url: str
    version: str
    """`system_version_info` of that response: a decimal count, growing per stream and type."""
    nonce: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client refused a response."""

    type_url: str
    version: str
    nonce: str
    names: tuple[str, ...]
    """What is kept back for it; empty where that is not known."""
    detail: str
    """The client's words."""
    searching: bool = False
    """The bad one is being found out, one resource at a time: a refusal that names it follows."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where one type of the stream stands."""

    type_url: str
    wildcard: bool
    subscribed: int
    """How many names were asked for beside the wildcard."""
    sent: str
    """Version of the last response; empty before the first."""
    acked: str
    nacked: Nacked | None
    """The last refusal, until a later response is accepted."""
    quarantined: tuple[str, ...]
