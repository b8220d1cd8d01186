"""The relay between a played control plane and played Envoys, by scenes."""

from functools import lru_cache

from hostmesh_agent.logic import relay
from hostmesh_agent.logic.relay_envoy import PATIENCE_SECONDS
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from hostmesh_core.xds import store
from hostmesh_core.xds.resource import Resource
from hostmesh_testing import xds_bench
from hostmesh_testing.relay_play import Play
from hostmesh_testing.xds import ask, assignment, cluster, opaque

listener = lru_cache(xds_bench.http_listener)
route = lru_cache(xds_bench.route)
SECRET_RESOURCE = opaque(SECRET, "secret", "s")


def web(version: str = "") -> list[Resource]:
    return [
        cluster("a", version),
        assignment("a"),
        listener("in", 80, "80"),
        route("80", "a"),
    ]


def playing(*more: Resource) -> Play:
    """A play in which one Envoy runs on one service."""
    play = Play()
    play.put(*web(), *more)
    play.connect()
    play.start_envoy(1)
    play.settle()
    assert play.envoys[1].routed() == {"a"}
    play.said.clear()
    return play


def said(play: Play, kind: type) -> list[relay.Command]:
    return [command for command in play.said if isinstance(command, kind)]


def applied(play: Play) -> dict[str, str]:
    return {
        command.type_url: command.version
        for command in play.said
        if isinstance(command, relay.Applied)
    }


class TestUpstream:
    def test_envoy_waits_unanswered_until_there_is_a_closed_and_stored_generation(self) -> None:
        play = Play()
        play.start_envoy(1)
        play.put(*web())
        play.connect()
        for _ in range(20):
            play.server_reads()
            play.relay_reads()
        assert play.relay.served is None
        assert play.envoys[1].inbox == []
        assert len(play.to_store) == 1
        assert not store.dangling(play.to_store[0])
        play.settle()
        assert play.envoys[1].routed() == {"a"}

    def test_nothing_is_acknowledged_before_it_is_stored(self) -> None:
        play = Play()
        play.put(*web())
        play.connect()
        for _ in range(20):
            play.server_reads()
            play.relay_reads()
        assert play.server.status()[CLUSTER].acked == ""
        play.disk_writes()
        assert {request.response_nonce != "" for request in play.up} == {True}
        play.settle()
        assert play.server.status()[CLUSTER].acked == "1"

    def test_what_a_cluster_refers_to_is_waited_for_or_answered_absent(self) -> None:
        play = playing()
        before = play.relay.served
        play.put(cluster("b"))
        play.server_reads()
        play.relay_reads()
        assert play.relay.waits_for == {(ENDPOINT, "b")}
        assert play.relay.served is before
        play.settle()
        assert play.relay.waits_for == frozenset()
        assert play.relay.served is not None
        assert (ENDPOINT, "b") in play.relay.served.absent

    def test_without_control_plane_the_stored_one_is_served(self) -> None:
        stored = store.generation_of(web(), sequence=7)
        play = Play(restored=stored)
        play.start_envoy(1)
        play.settle()
        assert play.envoys[1].routed() == {"a"}
        assert applied(play) == {}
        assert said(play, relay.Good) == [relay.Good(stored)]

    def test_a_reconnect_without_changes_stores_nothing_and_reports_the_new_stream(self) -> None:
        play = playing()
        served = play.relay.served
        play.disconnect()
        play.connect()
        play.settle()
        assert play.relay.served is served
        assert said(play, relay.Served) == []
        reported = [command for command in play.said if isinstance(command, relay.Applied)]
        assert {command.stream_id for command in reported} == {"stream-2"}
        assert play.server.status()[CLUSTER].acked == "1"

    def test_answers_that_wait_for_the_disk_die_with_their_stream(self) -> None:
        play = playing()
        play.put(cluster("a", "new"))
        play.relay_reads()
        play.relay_reads()
        assert play.to_store
        play.connect()
        requests = list(play.up)
        play.disk_writes()
        acks = [request for request in play.up[len(requests) :] if request.response_nonce]
        assert acks == []

    def test_bytes_that_cannot_be_read_are_refused_and_the_rest_is_served(self) -> None:
        play = playing()
        play.put(opaque(LISTENER, "bad", "\x7f\x7f\x7f"), listener("more", 81, "80"))
        play.settle()
        status = play.server.status()[LISTENER]
        assert status.quarantined == ("bad",)
        assert play.relay.served is not None
        assert set(play.relay.served.names(LISTENER)) == {"in", "more"}

    def test_what_envoy_asks_for_by_itself_goes_upstream_and_secrets_never(self) -> None:
        play = playing(opaque("type.example/Other", "x"))
        (request,) = play.envoys[1].client.want("type.example/Other", {"x", "y"})
        play.perform(play.relay.envoy_asked(1, request, 0.0))
        play.envoys[1].needs_secret = {"a"}
        play.put(assignment("a", 1))
        play.settle()
        assert set(play.envoys[1].client.held("type.example/Other")) == {"x"}
        assert ("type.example/Other", "y") in set(play.envoys[1].client.absent())
        assert SECRET not in play.server.status()
        assert (SECRET, "secret") not in set(play.envoys[1].client.absent())
        play.perform(play.relay.set_secrets([SECRET_RESOURCE]))
        play.settle()
        assert play.envoys[1].client.held(SECRET) == {"secret": SECRET_RESOURCE}


class TestMakeBeforeBreak:
    def test_a_route_to_a_new_cluster_waits_until_it_is_active(self) -> None:
        play = playing()
        envoy = play.envoys[1]
        envoy.needs_secret = {"b"}
        play.put(cluster("b"), assignment("b"), route("80", "b"))
        play.drop(CLUSTER, "a")
        play.settle()
        assert envoy.warming == {"b"}
        assert envoy.routed() == {"a"}
        assert "a" in envoy.active
        assert ROUTE not in applied(play)
        play.perform(play.relay.set_secrets([SECRET_RESOURCE]))
        play.settle()
        assert envoy.routed() == {"b"}
        assert "a" not in envoy.client.held(CLUSTER)
        assert {CLUSTER, ROUTE} <= applied(play).keys()

    def test_patience_ends_and_is_reported(self) -> None:
        play = playing()
        envoy = play.envoys[1]
        envoy.needs_secret = {"b"}
        play.put(cluster("b"), assignment("b"), route("80", "b"))
        play.settle()
        play.pass_time(PATIENCE_SECONDS - 0.1)
        assert said(play, relay.GaveUp) == []
        play.pass_time(0.2)
        play.settle()
        assert said(play, relay.GaveUp) == [relay.GaveUp(0, ("b",))]
        assert envoy.routed() == {"b"}

    def test_a_change_of_mind_while_waiting_goes_straight_to_the_last_word(self) -> None:
        play = playing()
        envoy = play.envoys[1]
        envoy.needs_secret = {"b"}
        play.put(cluster("b"), assignment("b"), route("80", "b"))
        play.settle()
        play.put(cluster("c"), assignment("c"), route("80", "c"))
        play.settle()
        assert envoy.routed() == {"c"}
        play.put(route("80", "b"))
        play.drop(CLUSTER, "b")
        play.settle()
        assert envoy.routed() == {"b"}, "a cluster that nobody has cannot be waited for"

    def test_two_envoys_are_led_apart(self) -> None:
        play = playing()
        play.envoys[1].needs_secret = {"b"}
        play.start_envoy(2, epoch=1)
        play.settle()
        play.said.clear()
        play.put(cluster("b"), assignment("b"), route("80", "b"))
        play.settle()
        assert (play.envoys[1].routed(), play.envoys[2].routed()) == ({"a"}, {"b"})
        assert {epoch for epoch, _ in play.relay.waiting().values()} == {0}
        assert ROUTE not in applied(play)
        play.stop_envoy(1)
        assert ROUTE in applied(play), "only those that are connected count"


class TestReports:
    def test_applied_names_the_upstream_version_when_every_envoy_has_it(self) -> None:
        play = playing()
        play.put(assignment("a", 1))
        for _ in range(4):
            play.server_reads()
            play.relay_reads()
            play.disk_writes()
        assert applied(play) == {}
        play.settle()
        assert applied(play) == {ENDPOINT: play.server.status()[ENDPOINT].sent}

    def test_nothing_is_applied_while_no_envoy_is_there(self) -> None:
        play = Play()
        play.put(*web())
        play.connect()
        play.settle()
        assert applied(play) == {}
        play.start_envoy(1)
        play.settle()
        assert applied(play).keys() == {CLUSTER, ENDPOINT, LISTENER, ROUTE}

    def test_a_refusal_names_the_resource_its_version_and_the_words(self) -> None:
        play = playing()
        envoy = play.envoys[1]
        envoy.refuses = {"bad"}
        play.put(cluster("bad"), cluster("good"), assignment("bad"), assignment("good"))
        play.settle()
        sent = play.server.status()[CLUSTER].sent
        rejected = relay.Rejected(CLUSTER, "bad", sent, "bad: bad", "stream-1")
        assert said(play, relay.Rejected) == [rejected]
        assert "good" in envoy.client.held(CLUSTER)
        assert said(play, relay.Good) == []

    def test_a_refused_removal_is_reported_without_a_name(self) -> None:
        play = playing(cluster("b", eds=False))
        play.drop(CLUSTER, "b")
        for _ in range(3):
            play.relay_reads()
            play.disk_writes()
        (removal,) = play.envoys[1].inbox
        play.envoys[1].inbox.clear()
        refusal = ask(CLUSTER, nonce=removal.nonce, error="in use")
        play.perform(play.relay.envoy_asked(1, refusal, 0.0))
        (rejected,) = said(play, relay.Rejected)
        assert rejected == relay.Rejected(
            CLUSTER, "", play.server.status()[CLUSTER].sent, "in use", "stream-1"
        )

    def test_a_listener_whose_address_is_taken_is_tried_again_when_asked(self) -> None:
        play = playing()
        play.envoys[1].refuses = {"more"}
        play.envoys[1].words = "cannot bind"
        play.put(listener("more", 81, "80"))
        play.settle()
        play.envoys[1].refuses = set()
        play.perform(play.relay.retry_unbound())
        play.settle()
        assert "more" in play.envoys[1].client.held(LISTENER)

    def test_words_that_come_too_late_do_nothing(self) -> None:
        play = playing()
        assert play.relay.stored(999, 0.0) == []
        assert play.relay.warming(7, frozenset("a"), frozenset(), 0.0) == []

    def test_good_is_what_every_envoy_runs_on(self) -> None:
        play = playing()
        play.put(assignment("a", 1))
        play.settle()
        assert play.relay.served is not None
        assert said(play, relay.Good) == [relay.Good(play.relay.served)]


class TestFallingBack:
    def test_the_good_one_is_served_until_the_control_plane_says_something_new(self) -> None:
        play = playing()
        good = play.relay.served
        assert good is not None
        play.put(cluster("a", "crashes"))
        play.settle()
        play.perform(play.relay.fall_back(good, play.now))
        play.settle()
        envoy = play.envoys[1]
        assert envoy.client.held(CLUSTER)["a"] == cluster("a")
        play.disconnect()
        play.connect()
        play.settle()
        assert envoy.client.held(CLUSTER)["a"] == cluster("a"), "the same again is no news"
        play.put(cluster("a", "better"))
        play.settle()
        assert envoy.client.held(CLUSTER)["a"] == cluster("a", "better")


class TestRestart:
    def test_an_envoy_that_lives_gets_nothing_it_has(self) -> None:
        play = playing()
        play.restart_relay(play.relay.served)
        envoy = play.envoys[1]
        assert [len(response.resources) for response in envoy.inbox] == [0, 0]
        play.settle()
        assert envoy.routed() == {"a"}
