import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from hostmesh_controlplane.app.proxies import MOST_DETAIL, Proxies, ProxyStream
from hostmesh_core import type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing import proxy_streams
from hostmesh_testing.proxy_streams import FakePush, Viewed, quiet, subscribe
from hostmesh_testing.render_mesh import SCOPE
from hostmesh_testing.xds import World, ask, assignment, cluster

A, B = "host-a", "host-b"


def _world() -> World:
    return World(cluster("web"), assignment("web"), assignment("api"))


class Play:
    """Proxies and the streams of two hosts."""

    def __init__(self, viewed: Viewed | None = None) -> None:
        self.world = viewed.everybody if viewed else _world()
        self.proxies = Proxies(viewed or Viewed(self.world))
        self.pushes: dict[str, FakePush] = {}

    def open(self, host_id: str, stream_id: str) -> ProxyStream:
        self.pushes[stream_id] = FakePush()
        return self.proxies.open(host_id, stream_id, SCOPE, self.pushes[stream_id])

    def told(self, stream_id: str) -> list[str]:
        return self.pushes[stream_id].told


def _run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


def test_nobody_is_answered_before_every_source_has_spoken() -> None:
    play = Play()
    first, second = play.open(A, "a1"), play.open(B, "b1")
    assert subscribe(first, type_urls.CLUSTER, "*") == []
    assert subscribe(first, type_urls.ENDPOINT, "web") == []
    assert subscribe(second, type_urls.ENDPOINT, "api") == []
    play.proxies.changed(play.world.put(assignment("web", 1)))
    assert (play.told("a1"), play.told("b1")) == ([], [])
    play.proxies.release()
    assert play.told("a1") == ["CDS +web", "EDS +web"]
    assert play.told("b1") == ["EDS +api"]
    assert subscribe(second, type_urls.ENDPOINT, "web") == ["EDS +web"], "from now on at once"


def test_a_stream_that_ended_while_it_waited_is_not_answered() -> None:
    play = Play()
    stream = play.open(A, "a1")
    subscribe(stream, type_urls.CLUSTER, "*")
    stream.closed()
    play.proxies.release()
    assert play.told("a1") == []


def test_a_change_reaches_those_who_follow_it() -> None:
    async def scene() -> None:
        play = Play()
        play.proxies.release()
        subscribe(play.open(A, "a1"), type_urls.ENDPOINT, "web")
        subscribe(play.open(B, "b1"), type_urls.ENDPOINT, "api")
        play.proxies.changed(play.world.put(assignment("web", 1)))
        assert (play.told("a1"), play.told("b1")) == (["EDS +web"], []), "a lone one at once"
        play.proxies.changed(play.world.put(assignment("web", 2)))
        play.proxies.changed(play.world.drop(type_urls.ENDPOINT, "api"))
        assert play.told("a1") == ["EDS +web"], "a storm is batched"
        await quiet()
        assert play.told("a1") == ["EDS +web", "EDS +web"]
        assert play.told("b1") == ["EDS -api"]

    _run(scene)


def test_what_changes_for_one_host_is_pushed_to_all_its_streams_and_nobody_else() -> None:
    play = Play()
    play.proxies.release()
    for host_id, stream_id in ((A, "a1"), (A, "a2"), (B, "b1")):
        subscribe(play.open(host_id, stream_id), type_urls.ENDPOINT, "web")
    play.proxies.changed_for(A, play.world.put(assignment("web", 1)))
    assert [play.told(name) for name in ("a1", "a2", "b1")] == [["EDS +web"], ["EDS +web"], []]
    play.proxies.changed_for("a stranger", play.world.put(assignment("web", 2)))
    assert play.told("b1") == []


def test_another_view_is_shown_whole_what_was_and_what_is() -> None:
    other = World(cluster("web", "changed"), cluster("new"), assignment("web"))
    viewed = Viewed(
        World(cluster("web"), cluster("old"), assignment("web")), **{"host-a_ops": other}
    )
    play = Play(viewed)
    play.proxies.release()
    subscribe(play.open(A, "a1"), type_urls.CLUSTER, "*")
    subscribe(play.open(B, "b1"), type_urls.CLUSTER, "*")
    play.proxies.rescope(A, replace(SCOPE, namespace="ops"))
    assert play.told("a1") == ["CDS +new +web", "CDS -old"]
    assert play.told("b1") == []


def test_a_view_that_changes_before_the_sources_have_spoken_is_what_is_answered() -> None:
    viewed = Viewed(World(cluster("web")), **{"host-a_ops": World(cluster("ops"))})
    play = Play(viewed)
    subscribe(play.open(A, "a1"), type_urls.CLUSTER, "*")
    play.proxies.rescope(A, replace(SCOPE, namespace="ops"))
    assert play.told("a1") == []
    play.proxies.release()
    assert play.told("a1") == ["CDS +ops"]


def test_a_host_is_closed_on_all_its_streams() -> None:
    play = Play()
    streams = [play.open(A, "a1"), play.open(A, "a2"), play.open(B, "b1")]
    play.proxies.close_host(A, "revoked")
    assert [play.pushes[name].ended for name in ("a1", "a2", "b1")] == ["revoked", "revoked", ""]
    for stream in streams:
        stream.closed()
        stream.closed()  # the edge and a race may both say so
    assert list(play.proxies.streams()) == []
    assert list(play.proxies.of_host(A)) == []


def test_a_drain_waits_for_every_subscriber_and_for_no_other() -> None:
    async def scene() -> None:
        play = Play()
        play.proxies.release()
        first, second, third = play.open(A, "a1"), play.open(B, "b1"), play.open(B, "b2")
        for stream in (first, second):
            subscribe(stream, type_urls.ENDPOINT, "web")
        subscribe(third, type_urls.ENDPOINT, "api")
        play.proxies.changed(play.world.put(assignment("web", 1)))
        async with asyncio.TaskGroup() as tasks:
            drained = tasks.create_task(play.proxies.applied_everywhere(["web"], seconds=5))
            proxy_streams.apply(play.proxies, first, 2)
            proxy_streams.apply(play.proxies, second, 1)
            await quiet()
            assert not drained.done(), "the second one has applied only what it had before"
            proxy_streams.apply(play.proxies, second, 2)
        assert drained.result()

    _run(scene)


def test_what_waits_for_its_batch_is_sent_before_a_drain_waits_for_it() -> None:
    async def scene() -> None:
        play = Play()
        play.proxies.release()
        stream = play.open(A, "a1")
        subscribe(stream, type_urls.ENDPOINT, "web")
        play.proxies.changed(play.world.put(assignment("web", 1)))
        play.proxies.changed(play.world.put(assignment("web", 2)))
        proxy_streams.apply(play.proxies, stream, 2)
        assert not await play.proxies.applied_everywhere(["web"], seconds=0.05)
        assert play.told("a1") == ["EDS +web", "EDS +web"]

    _run(scene)


@pytest.mark.parametrize(
    ("goes", "expected"),
    [
        pytest.param(False, False, id="one that is silent holds it no longer than its time"),
        pytest.param(True, True, id="one that has gone holds it not at all"),
    ],
)
def test_a_proxy_that_is_away_does_not_hold_a_drain(*, goes: bool, expected: bool) -> None:
    async def scene() -> None:
        play = Play()
        play.proxies.release()
        stream = play.open(A, "a1")
        subscribe(stream, type_urls.ENDPOINT, "web")
        if goes:
            stream.closed()
        began = time.monotonic()
        assert await play.proxies.applied_everywhere(["web"], seconds=0.1) is expected
        assert time.monotonic() - began < 2

    _run(scene)


def test_what_a_proxy_applied_only_grows_and_ends_its_last_refusal() -> None:
    play = Play()
    stream = play.open(A, "a1")
    refused = pb.Rejected(
        type_url=type_urls.ENDPOINT, name="web", version="3", detail="no", stream_id="a1"
    )
    play.proxies.rejected(A, refused)
    assert stream.applied[type_urls.ENDPOINT].rejected == "web: no"
    proxy_streams.apply(play.proxies, stream, 5)
    proxy_streams.apply(play.proxies, stream, 4)
    said = stream.applied[type_urls.ENDPOINT]
    assert (said.version, said.rejected) == (5, "")
    assert not stream.behind(type_urls.ENDPOINT, 5)
    assert stream.behind(type_urls.ENDPOINT, 6)


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("", id="nothing"),
        pytest.param("-1", id="less than nothing"),
        pytest.param("v2", id="a word"),
        pytest.param("9" * 5000, id="a number without end"),
    ],
)
def test_a_version_that_is_none_says_nothing(version: str) -> None:
    play = Play()
    stream = play.open(A, "a1")
    report = pb.Applied(type_url=type_urls.ENDPOINT, version=version, stream_id="a1")
    play.proxies.applied(A, report)
    assert stream.behind(type_urls.ENDPOINT, 1)


def test_nobody_speaks_of_another_s_stream(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    stream = play.open(A, "a1")
    report = pb.Applied(type_url=type_urls.ENDPOINT, version="9", stream_id="a1")
    refused = pb.Rejected(type_url=type_urls.ENDPOINT, detail="no", stream_id="a1")
    play.proxies.applied(B, report)
    play.proxies.rejected(B, refused)
    assert stream.applied == {}
    assert play.proxies.refusals == {"not_own_stream": 2}
    assert "refused a report host=host-b about=host-a" in caplog.text
    stream.closed()
    play.proxies.applied(A, report)  # too late, and no refusal
    assert play.proxies.refusals == {"not_own_stream": 2}


def test_a_refusal_is_logged_in_one_line_with_the_proxy_s_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    play = Play()
    play.proxies.release()
    stream = play.open(A, "a1")
    (response,) = stream.request(ask(type_urls.CLUSTER, "*"))
    with caplog.at_level(logging.ERROR):
        stream.request(ask(type_urls.CLUSTER, nonce=response.nonce, error="bad\nweb: no field"))
        long = pb.Rejected(type_url=type_urls.ROUTE, detail="x" * 100_000, stream_id="a1")
        play.proxies.rejected(A, long)
    nack, rejected = [record.getMessage() for record in caplog.records]
    assert nack.startswith("proxy refused a resource host=host-a type=CDS detail=")
    assert "bad\\nweb: no field" in nack
    assert len(rejected) < MOST_DETAIL + 200
    assert len(stream.applied[type_urls.ROUTE].rejected) == MOST_DETAIL


def test_who_follows_a_load_assignment_is_known_by_host() -> None:
    play = Play()
    play.proxies.release()
    subscribe(play.open(A, "a1"), type_urls.ENDPOINT, "web")
    subscribe(play.open(A, "a2"), type_urls.ENDPOINT, "web")
    subscribe(play.open(B, "b1"), type_urls.ENDPOINT, "api")
    play.open("host-c", "c1")
    assert play.proxies.followers({"web"}, but="") == {A}
    assert play.proxies.followers({"web", "api"}, but=A) == {B}
