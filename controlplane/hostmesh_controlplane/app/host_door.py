"""One stream's way into the registry, and what keeps a failure with the host that it is about."""

import logging
from collections.abc import Callable, Coroutine
from typing import Protocol

from hostmesh_controlplane.app.host_member import Member
from hostmesh_core._pb import host_pb2 as pb

log = logging.getLogger(__name__)

BUG = "a bug in the control plane; connect again"


class Registry(Protocol):
    """Who takes what a stream says (`app.hosts.Hosts`)."""

    def received(self, member: Member, stream_id: str, envelope: pb.Up) -> None:
        """Take one envelope of one stream."""

    def closed(self, member: Member, stream_id: str) -> None:
        """Take that a stream has ended."""


class HostDoor:
    """What the edge calls of one stream."""

    def __init__(self, hosts: Registry, member: Member, stream_id: str) -> None:
        self._hosts = hosts
        self._member = member
        self._stream_id = stream_id

    def received(self, envelope: pb.Up) -> None:
        """Take one envelope."""
        alone(self._member, lambda: self._hosts.received(self._member, self._stream_id, envelope))

    def closed(self) -> None:
        """Forget the stream."""
        self._hosts.closed(self._member, self._stream_id)


def alone(member: Member, work: Callable[[], object]) -> None:
    """Do work about one host: where it fails, this host's streams end and the others go on."""
    try:
        work()
    except Exception:
        log.exception("cannot serve a host, its streams end host=%s", member.host_id)
        member.connection.close(f"cannot go on: {BUG}", again=True)


async def guarded(work: Coroutine[object, object, None]) -> None:
    """Finish what one host has asked for; it must not take the others down."""
    try:
        await work
    except Exception:
        log.exception("cannot finish what a host has asked for")
