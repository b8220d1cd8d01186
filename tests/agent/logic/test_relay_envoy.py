from hostmesh_agent.logic.relay_envoy import (
    PATIENCE_SECONDS,
    EnvoyStream,
    assignment_of,
    clusters_of,
)
from hostmesh_core import names
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation, generation_of
from hostmesh_testing import xds_bench
from hostmesh_testing.xds import ask, assignment, cluster, opaque, told

LISTENING = xds_bench.http_listener("in", 80, "80")
BASE = [cluster("a"), assignment("a"), LISTENING, xds_bench.route("80", "a")]
LED_TO_B = [
    cluster("a"),
    assignment("a"),
    cluster("b"),
    assignment("b"),
    LISTENING,
    xds_bench.route("80", "b"),
]


def following(*resources: Resource) -> EnvoyStream:
    """A stream on which Envoy has asked for everything and taken it."""
    stream = EnvoyStream(generation_of(resources or BASE), {})
    for type_url, name in ((CLUSTER, "*"), (ENDPOINT, "a"), (LISTENER, "*"), (ROUTE, "80")):
        for response in stream.on_request(ask(type_url, name), 0.0).responses:
            stream.on_request(ask(type_url, nonce=response.nonce), 0.0)
    return stream


def serve(stream: EnvoyStream, *resources: Resource, now: float = 1.0) -> list[str]:
    """Lead to a generation; Envoy takes all that it is told."""
    outcome = stream.serve(generation_of(resources), now)
    for response in outcome.responses:
        stream.on_request(ask(response.type_url, nonce=response.nonce), now)
    return told(outcome.responses)


def test_the_epoch_is_in_the_node_of_the_first_request() -> None:
    stream = EnvoyStream(Generation(), {})
    assert stream.epoch is None
    request = ask(CLUSTER)
    request.node.metadata.fields[names.EPOCH_METADATA].number_value = 3
    stream.on_request(request, 0.0)
    stream.on_request(ask(LISTENER), 0.0)
    assert stream.epoch == 3


def test_a_route_to_a_new_cluster_is_held_back_with_the_removals() -> None:
    stream = following()
    without_a = [item for item in LED_TO_B if item.name != "a"]
    assert serve(stream, *without_a) == ["CDS +b"]
    assert stream.waits_for() == {"b"}
    assert not stream.has_applied(ROUTE)
    assert not stream.has_applied(CLUSTER), "a removal is still to come"
    outcome = stream.warming(frozenset({"b"}), frozenset({"b"}), 2.0)
    assert told(outcome.responses) == []
    outcome = stream.warming(frozenset({"b"}), frozenset(), 2.1)
    assert told(outcome.responses) == ["RDS +80", "CDS -a"]


def test_a_cluster_is_not_asked_about_before_envoy_has_accepted_it() -> None:
    stream = following()
    outcome = stream.serve(generation_of(LED_TO_B), 1.0)
    assert stream.is_waiting
    assert stream.waits_for() == frozenset()
    (clusters,) = outcome.responses
    stream.on_request(ask(CLUSTER, nonce=clusters.nonce), 1.1)
    assert stream.waits_for() == {"b"}


def test_a_listener_that_leads_straight_to_a_new_cluster_waits_too() -> None:
    stream = following()
    direct = xds_bench.tcp_listener("tcp", 81, "b")
    assert serve(stream, *BASE, cluster("b"), assignment("b"), direct) == ["CDS +b"]
    outcome = stream.warming(stream.waits_for(), frozenset(), 1.0)
    assert told(outcome.responses) == ["LDS +tcp"]


def test_what_refers_to_known_or_unknown_clusters_goes_at_once() -> None:
    stream = following()
    other = xds_bench.route("80", "nobody-has-it")
    assert serve(stream, *BASE[:3], other) == ["RDS +80"]


def test_patience_counts_from_when_the_wait_began() -> None:
    stream = following()
    serve(stream, *LED_TO_B, now=10.0)
    assert stream.tick(10.0 + PATIENCE_SECONDS - 0.01).given_up == ()
    outcome = stream.tick(10.0 + PATIENCE_SECONDS)
    assert outcome.given_up == ("b",)
    assert told(outcome.responses) == ["RDS +80"]
    assert not stream.is_waiting
    assert stream.tick(99.0).given_up == ()


def come_back(stream: EnvoyStream, *had: Resource) -> list[str]:
    """Let an Envoy that has these open a stream, as after an agent's restart."""
    texts = []
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        have = {item.name: item.version for item in had if item.type_url == type_url}
        names = ["*"] if type_url in (CLUSTER, LISTENER) else list(have)
        outcome = stream.on_request(ask(type_url, *names, have=have), 0.0)
        texts += told(outcome.responses)
        for response in outcome.responses:
            stream.on_request(ask(type_url, nonce=response.nonce), 0.0)
    return [text for text in texts if "+" in text or "-" in text]


def test_an_envoy_that_comes_back_with_what_is_served_is_told_nothing() -> None:
    stream = EnvoyStream(generation_of(BASE), {})
    assert come_back(stream, *BASE) == []
    assert not stream.is_waiting


def test_an_envoy_that_comes_back_is_not_led_to_a_cluster_that_may_be_warming() -> None:
    stream = EnvoyStream(generation_of(LED_TO_B), {})
    had = [*LED_TO_B[:-1], BASE[-1]]
    assert come_back(stream, *had) == []
    assert not stream.has_applied(ROUTE)
    assert stream.waits_for() == {"b"}
    outcome = stream.warming(frozenset({"b"}), frozenset(), 1.0)
    assert told(outcome.responses) == ["RDS +80"]


def test_an_envoy_that_comes_back_keeps_a_cluster_until_its_routes_have_left_it() -> None:
    without_a = [item for item in LED_TO_B if item.name != "a"]
    stream = EnvoyStream(generation_of(without_a), {})
    assert come_back(stream, *BASE) == ["CDS +b"]
    assert stream.waits_for() == {"b"}
    outcome = stream.warming(frozenset({"b"}), frozenset(), 1.0)
    assert told(outcome.responses) == ["RDS +80", "CDS -a"]


def test_an_envoy_without_routes_that_comes_back_loses_what_is_gone_in_the_end() -> None:
    stream = EnvoyStream(generation_of([]), {})
    stream.on_request(ask(CLUSTER, "*", have={"a": "1"}), 0.0)
    assert stream.is_waiting
    assert told(stream.tick(PATIENCE_SECONDS).responses) == ["CDS -a"]
    assert not stream.is_waiting


def test_a_secret_is_waited_for_and_pushed_and_never_taken_away() -> None:
    stream = following()
    assert told(stream.on_request(ask(SECRET, "s"), 0.0).responses) == []
    first, second = opaque(SECRET, "s", "1"), opaque(SECRET, "s", "2")
    assert told(stream.set_secrets({"s": first}).responses) == ["SDS +s"]
    assert told(stream.set_secrets({"s": first}).responses) == []
    assert told(stream.set_secrets({"s": second}).responses) == ["SDS +s"]
    assert told(stream.set_secrets({}).responses) == []


def test_a_client_that_asks_for_every_secret_gets_them() -> None:
    stream = EnvoyStream(generation_of(BASE), {"s": opaque(SECRET, "s")})
    assert told(stream.on_request(ask(SECRET, "*"), 0.0).responses) == ["SDS +s"]


def test_what_the_control_plane_does_not_have_is_told_and_what_is_unknown_is_not() -> None:
    stream = EnvoyStream(generation_of(BASE, absent=[(ROUTE, "gone")]), {})
    outcome = stream.on_request(ask(ROUTE, "gone", "unknown"), 0.0)
    assert told(outcome.responses) == ["RDS -gone"]


def test_applied_needs_the_parents_the_answer_and_nothing_held_back() -> None:
    stream = EnvoyStream(generation_of(BASE), {})
    assert not stream.has_applied(CLUSTER)
    (response,) = stream.on_request(ask(CLUSTER, "*"), 0.0).responses
    assert not stream.has_applied(CLUSTER)
    assert not stream.has_applied(ENDPOINT)
    stream.on_request(ask(CLUSTER, nonce=response.nonce), 0.0)
    assert stream.has_applied(CLUSTER)
    assert stream.has_applied(ENDPOINT), "no cluster of this Envoy wants any"
    (response,) = stream.on_request(ask(ENDPOINT, "a"), 0.0).responses
    assert not stream.has_applied(ENDPOINT)
    stream.on_request(ask(ENDPOINT, nonce=response.nonce), 0.0)
    assert stream.has_applied(ENDPOINT)
    assert not stream.has_applied(ROUTE), "its listener has not been asked for"


def test_a_refusal_counts_as_taken_but_not_as_good() -> None:
    stream = following()
    outcome = stream.serve(generation_of([*BASE, cluster("bad", eds=False)]), 1.0)
    (response,) = outcome.responses
    refused = stream.on_request(ask(CLUSTER, nonce=response.nonce, error="no"), 1.0)
    assert refused.nacked is not None
    assert refused.nacked.names == ("bad",)
    assert stream.has_applied(CLUSTER)
    assert not stream.has_applied_all([CLUSTER])


def test_what_it_reads_from_resources() -> None:
    assert clusters_of(xds_bench.route("80", "a")) == {"a"}
    assert assignment_of(cluster("a")) == "a"
    assert assignment_of(cluster("static", eds=False)) == "static"


def refuse_listener(stream: EnvoyStream, words: str) -> bool:
    """Let Envoy refuse the listener that it is sent; tell whether that is reported."""
    outcome = stream.serve(generation_of([*BASE, xds_bench.tcp_listener("tcp", 81, "a")]), 1.0)
    (response,) = outcome.responses or stream.retry_unbound().responses
    assert told([response]) == ["LDS +tcp"]
    return bool(stream.on_request(ask(LISTENER, nonce=response.nonce, error=words), 1.0).nacked)


def test_a_listener_whose_address_is_taken_is_tried_again_and_reported_once() -> None:
    stream = following()
    words = "error adding listener: cannot bind '127.0.0.1:81': Address already in use"
    assert refuse_listener(stream, words)
    assert not refuse_listener(stream, words)
    (response,) = stream.retry_unbound().responses
    stream.on_request(ask(LISTENER, nonce=response.nonce), 1.0)
    assert stream.retry_unbound().responses == ()
    assert stream.has_applied_all([LISTENER])


def test_a_listener_that_is_wrong_is_not_tried_again() -> None:
    stream = following()
    assert refuse_listener(stream, "error adding listener: no such filter")
    assert stream.retry_unbound().responses == ()
