"""The proxies' xDS streams: who may see what, what each was sent, has stored and has applied."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from hostmesh_controlplane.app.pacing import Coalescer, Names
from hostmesh_controlplane.logic.scope import Scope
from hostmesh_core import names, type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.resource import Resources

log = logging.getLogger(__name__)

FIRST_WORD_SECONDS = 10.0
"""How long a proxy that is back waits for its host to say what it serves."""
BUG = "cannot go on: a bug in the control plane; connect again"
MOST_DETAIL = 2000
"""Characters of a proxy's words that are kept and logged."""


class Push(Protocol):
    """How responses reach a stream at any time."""

    def send(self, responses: Sequence[DeltaDiscoveryResponse]) -> None:
        """Queue responses."""

    def close(self, reason: str) -> None:
        """End the stream."""


ResourcesOf = Callable[[Scope, str], Resources]
"""Gives what a host's streams see, for its scope and host id."""


@dataclass(slots=True)
class Applied:
    """What a proxy said of one type: by the host stream, about one ADS stream."""

    version: int = 0
    rejected: str = ""
    """Envoy's words about the last refusal, until something later is applied."""
    at: float = 0.0
    """Seconds on the monotonic clock."""


@dataclass(slots=True)
class ProxyStream:
    """One agent's ADS stream. The edge calls it, `Proxies` pushes into it."""

    host_id: str
    stream_id: str
    push: Push
    resources: Resources
    owner: "Proxies"
    delta: DeltaStream = field(default_factory=DeltaStream)
    waiting: list[DeltaDiscoveryRequest] = field(default_factory=list)
    applied: dict[str, Applied] = field(default_factory=dict)
    sent_at: dict[str, float] = field(default_factory=dict)
    broken: bool = False
    """Something of ours failed on it: it is about to end."""

    def request(self, request: DeltaDiscoveryRequest) -> Sequence[DeltaDiscoveryResponse]:
        """Answer a request, or keep it until all is known that it is answered from: an empty first
        answer would wipe the agent.
        """
        answers: list[DeltaDiscoveryResponse] = []

        def take() -> None:
            if request.HasField("node"):
                self.owner.on_node(self.host_id, not _lacks_ipv6(request.node))
            if self.owner.must_wait(self, request):
                self.waiting.append(request)
            else:
                answers.extend(self.answer(request))

        self.alone(take)
        return answers

    def alone(self, work: Callable[[], None]) -> None:
        """Do work that is this stream's: where it fails, this stream ends and no other."""
        if self.broken:
            return
        try:
            work()
        except Exception:
            self.broken = True
            log.exception(
                "cannot serve a proxy, its stream ends host=%s stream=%s",
                *(self.host_id, self.stream_id),
            )
            self.push.close(BUG)

    def answer_waiting(self) -> None:
        """Answer what was kept."""
        waiting, self.waiting = self.waiting, []

        def take() -> None:
            for request in waiting:
                if responses := self.answer(request):
                    self.push.send(responses)

        self.alone(take)

    def answer(self, request: DeltaDiscoveryRequest) -> Sequence[DeltaDiscoveryResponse]:
        """Answer a request now."""
        turn = self.delta.on_request(request, self.resources)
        if turn.nacked is not None:
            self.owner.refused(self, turn.nacked.type_url, turn.nacked.detail)
        return self.noted(turn.responses)

    def noted(
        self, responses: Sequence[DeltaDiscoveryResponse]
    ) -> Sequence[DeltaDiscoveryResponse]:
        """Remember when each type was last sent."""
        now = time.monotonic()
        for response in responses:
            self.sent_at[response.type_url] = now
        return responses

    def changed(self, names: Names) -> None:
        """Push what these names have become."""

        def push() -> None:
            responses = self.delta.on_change(
                {type_url: set(changed) for type_url, changed in names.items()}, self.resources
            )
            if responses:
                self.push.send(self.noted(responses))

        self.alone(push)

    def look_anew(self, resources: Resources) -> None:
        """Show another view: every name it follows is looked at again."""
        before, self.resources = self.resources, resources
        if self.owner.ready:
            self.changed(_all_names(self, before))

    def closed(self) -> None:
        """Forget the stream: the edge has ended it."""
        self.waiting.clear()
        self.owner.forget(self)

    def follows(self, clusters: Collection[str]) -> bool:
        """Whether it subscribes to one of these load assignments."""
        subscription = self.delta.subscription(type_urls.ENDPOINT)
        return subscription is not None and any(subscription.covers(name) for name in clusters)

    def behind(self, type_url: str, version: int) -> bool:
        """Whether this proxy has yet to apply that version of the type."""
        return self.applied.get(type_url, Applied()).version < version


class Proxies:
    """Every proxy stream. A change visits the streams once, in one pass, paced."""

    def __init__(self, resources_of: ResourcesOf) -> None:
        self.ready = False
        self.refusals: Counter[str] = Counter()
        """Reports of hosts about streams that are not theirs."""
        self.on_node: Callable[[str, bool], None] = _ignore
        """Told a host id and whether its kernel has IPv6: all that `node` may decide."""
        self.known: Callable[[str], bool] = _yes
        """Whether it is known what a host serves: its own word, or what is stored of it."""
        self._resources_of = resources_of
        self._streams: dict[str, ProxyStream] = {}
        self._by_host: dict[str, dict[str, ProxyStream]] = {}
        self._coalescer = Coalescer(self._push_all)

    def open(self, host_id: str, stream_id: str, scope: Scope, push: Push) -> ProxyStream:
        """Take a new stream in."""
        stream = ProxyStream(host_id, stream_id, push, self._resources_of(scope, host_id), self)
        self._streams[stream_id] = stream
        self._by_host.setdefault(host_id, {})[stream_id] = stream
        return stream

    def forget(self, stream: ProxyStream) -> None:
        """Drop a stream that ended."""
        self._streams.pop(stream.stream_id, None)
        of_host = self._by_host.get(stream.host_id, {})
        of_host.pop(stream.stream_id, None)
        if not of_host:
            self._by_host.pop(stream.host_id, None)

    def release(self) -> None:
        """Answer everybody: every source has spoken, or its stored view is loaded."""
        self.ready = True
        for stream in list(self._streams.values()):
            if any(self._is_early(stream, request) for request in stream.waiting):
                self._answer_later(stream)
            else:
                stream.answer_waiting()

    def must_wait(self, stream: ProxyStream, request: DeltaDiscoveryRequest) -> bool:
        """Whether a request is kept: sources are silent, or its host has yet to say what it serves.

        A proxy that is back before its host's own stream would be told to drop what it serves.
        """
        if not self.ready or stream.waiting:
            return True
        early = self._is_early(stream, request)
        if early:
            self._answer_later(stream)
        return early

    def host_known(self, host_id: str) -> None:
        """Take that it is known what a host serves: whoever waited for that is answered."""
        if self.ready:
            for stream in list(self._by_host.get(host_id, {}).values()):
                stream.answer_waiting()

    def _is_early(self, stream: ProxyStream, request: DeltaDiscoveryRequest) -> bool:
        return bool(request.initial_resource_versions) and not self.known(stream.host_id)

    def _answer_later(self, stream: ProxyStream) -> None:
        """Wait no longer than this: a host whose own stream cannot be had follows all the same."""
        asyncio.get_running_loop().call_later(FIRST_WORD_SECONDS, stream.answer_waiting)

    def changed(self, names: Names) -> None:
        """Tell every stream that sees these names."""
        if self.ready:
            self._coalescer.add(names)

    def changed_for(self, host_id: str, names: Names) -> None:
        """Tell one host's streams: its inbound resources are nobody else's."""
        if self.ready:
            for stream in list(self._by_host.get(host_id, {}).values()):
                stream.changed(names)

    def rescope(self, host_id: str, scope: Scope) -> None:
        """Show a host's streams another view: every name it follows is looked at again."""
        for stream in list(self._by_host.get(host_id, {}).values()):
            stream.alone(partial(self._look_anew, stream, scope))

    def _look_anew(self, stream: ProxyStream, scope: Scope) -> None:
        stream.look_anew(self._resources_of(scope, stream.host_id))

    def alone(self, host_id: str, work: Callable[[], None]) -> None:
        """Do work about one host's proxies: where it fails, their streams end and no others."""
        try:
            work()
        except Exception:
            log.exception("cannot render for a host, its proxies' streams end host=%s", host_id)
            self.close_host(host_id, BUG)

    def close_host(self, host_id: str, reason: str) -> None:
        """End a host's streams."""
        for stream in list(self._by_host.get(host_id, {}).values()):
            stream.push.close(reason)

    def applied(self, host_id: str, report: pb.Applied) -> None:
        """Take in that a host's Envoy applied a version."""
        stream = self._own(host_id, report.stream_id)
        if stream is not None and report.version.isdecimal() and len(report.version) < 20:
            said = stream.applied.setdefault(report.type_url, Applied())
            said.version = max(said.version, int(report.version))
            said.rejected, said.at = "", time.monotonic()

    def rejected(self, host_id: str, report: pb.Rejected) -> None:
        """Take in that a host's Envoy refused a resource."""
        stream = self._own(host_id, report.stream_id)
        if stream is not None:
            said = stream.applied.setdefault(report.type_url, Applied())
            words = f"{report.name}: {report.detail}" if report.name else report.detail
            said.rejected = words[:MOST_DETAIL]
            said.at = time.monotonic()
            self.refused(stream, report.type_url, said.rejected)

    def _own(self, host_id: str, stream_id: str) -> ProxyStream | None:
        """Give a host's stream; None for one that has ended. Whose it is not, it cannot speak of:
        a drain waits for what peers say that they applied.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.host_id == host_id:
            return stream
        self.refusals["not_own_stream"] += 1
        log.warning("refused a report host=%s about=%s why=not_own_stream", host_id, stream.host_id)
        return None

    def refused(self, stream: ProxyStream, type_url: str, detail: str) -> None:
        """Log a refusal: a defect of ours, or of a configuration object that it names."""
        log.error(
            "proxy refused a resource host=%s type=%s detail=%r",
            *(stream.host_id, type_urls.SHORT.get(type_url, type_url), detail[:MOST_DETAIL]),
        )

    def streams(self) -> Iterable[ProxyStream]:
        """Give every stream."""
        return self._streams.values()

    def of_host(self, host_id: str) -> Collection[ProxyStream]:
        """Give a host's streams."""
        return self._by_host.get(host_id, {}).values()

    def followers(self, clusters: Collection[str], *, but: str) -> frozenset[str]:
        """Give the hosts whose proxies follow one of these load assignments; `but` is left out."""
        return frozenset(
            stream.host_id
            for stream in self._streams.values()
            if stream.host_id != but and stream.follows(clusters)
        )

    async def applied_everywhere(self, clusters: Collection[str], *, seconds: float) -> bool:
        """Wait until every subscriber of these load assignments has applied what it was sent.

        Gives False where some did not in `seconds`: a proxy that is away must not hold a leave.
        """
        self._coalescer.flush()
        wanted: dict[str, int] = {}
        for stream in self._streams.values():
            if not stream.follows(clusters):
                continue
            sent = stream.delta.status()[type_urls.ENDPOINT].sent
            wanted[stream.stream_id] = int(sent or 0)
        deadline = time.monotonic() + seconds
        while any(self._behind(stream_id, version) for stream_id, version in wanted.items()):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def _behind(self, stream_id: str, version: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is not None and stream.behind(type_urls.ENDPOINT, version)

    def _push_all(self, names: Names) -> None:
        for stream in list(self._streams.values()):
            stream.changed(names)


def _ignore(*_: object) -> None:
    """Nobody listens."""


def _yes(_: str) -> bool:
    return True


def _lacks_ipv6(node: Node) -> bool:
    """Read what the agent says of its kernel; what says nothing is taken to have both families."""
    stated = node.metadata.fields
    return names.NODE_IPV6 in stated and not stated[names.NODE_IPV6].bool_value


def _all_names(stream: ProxyStream, before: Resources) -> Mapping[str, Collection[str]]:
    found: dict[str, set[str]] = {}
    for type_url, subscription in stream.delta.asked():
        found[type_url] = set(subscription.names)
        if subscription.wildcard:
            found[type_url].update(before.names(type_url), stream.resources.names(type_url))
    return found
