"""Questions to a host on its stream: asked once, answered within a deadline and a size."""

import asyncio
from collections.abc import Callable, Mapping

from hostmesh_controlplane.app.host_connection import HostConnection
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import Unreachable
from hostmesh_core.host_session import subject

MAX_BYTES = 4 * 1024 * 1024
TRAVEL_SECONDS = 0.5
"""On top of the host's own deadline: what it says about its being late must still arrive."""


class HostSilent(Unreachable):
    """The host is not connected, or did not answer in time."""


class Queries:
    """The questions under way."""

    def __init__(self, *, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._waiting: dict[tuple[str, str], asyncio.Future[pb.Answer]] = {}

    async def ask(
        self,
        host_id: str,
        connection: HostConnection | None,
        kind: str,
        args: Mapping[str, str],
        *,
        seconds: float,
    ) -> pb.Answer:
        """Ask and wait. Raises HostSilent."""
        if connection is None or connection.peer is None:
            raise HostSilent(
                f"cannot ask host {host_id}: it is not connected; look at: hostmesh hosts"
            )
        query = pb.Query(
            query_id=self._new_id(),
            kind=kind,
            args=args,
            deadline_ms=int(seconds * 1000),
            max_bytes=MAX_BYTES,
        )
        at = (host_id, query.query_id)
        answer = self._waiting[at] = asyncio.get_running_loop().create_future()
        try:
            connection.send(query)
            async with asyncio.timeout(seconds + TRAVEL_SECONDS):
                found: pb.Answer = await answer
                return found
        except TimeoutError as error:
            raise HostSilent(
                f"cannot ask host {host_id}: no answer within {seconds:g} s; try again, or look "
                f"on the host at: hostmesh-agent status"
            ) from error
        finally:
            del self._waiting[at]
            connection.settle(subject(query))

    def answered(self, host_id: str, answer: pb.Answer) -> None:
        """Take an answer; one that nobody waits for is dropped."""
        waiting = self._waiting.get((host_id, answer.query_id))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
