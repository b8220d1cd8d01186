from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from hostmesh_agent.logic.relay_upstream import Mark, Upstream
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import generation_of
from hostmesh_core.xds.subscription import Subscription
from hostmesh_testing import xds_bench
from hostmesh_testing.xds import assignment, cluster, opaque

LISTENING = xds_bench.http_listener("in", 80, "80")
ROUTES = xds_bench.route("80", "a")


def response(
    type_url: str, *items: Resource, version: str = "1", removed: tuple[str, ...] = ()
) -> DeltaDiscoveryResponse:
    built = DeltaDiscoveryResponse(
        type_url=type_url, nonce=version, system_version_info=version, removed_resources=removed
    )
    for item in items:
        envelope = built.resources.add(name=item.name, version=item.version)
        envelope.resource.type_url = item.type_url
        envelope.resource.value = item.body
    return built


def asked(requests: list[DeltaDiscoveryRequest]) -> dict[str, list[str]]:
    return {request.type_url: list(request.resource_names_subscribe) for request in requests}


def dropped(requests: list[DeltaDiscoveryRequest]) -> dict[str, list[str]]:
    return {request.type_url: list(request.resource_names_unsubscribe) for request in requests}


def opened() -> Upstream:
    upstream = Upstream(Node())
    assert asked(upstream.connect("s")) == {CLUSTER: ["*"], LISTENER: ["*"]}
    return upstream


def test_it_asks_for_what_the_resources_refer_to() -> None:
    upstream = opened()
    assert asked(upstream.receive(response(CLUSTER, cluster("a")))) == {ENDPOINT: ["a"]}
    assert asked(upstream.receive(response(LISTENER, LISTENING))) == {ROUTE: ["80"]}
    assert upstream.waits_for() == {(ENDPOINT, "a"), (ROUTE, "80")}


def test_it_gives_up_what_nothing_refers_to_any_more() -> None:
    upstream = opened()
    upstream.receive(response(CLUSTER, cluster("a")))
    gone = response(CLUSTER, version="2", removed=("a",))
    assert dropped(upstream.receive(gone)) == {ENDPOINT: ["a"]}
    assert upstream.waits_for() == frozenset()


def test_it_closes_when_both_roots_and_all_they_refer_to_are_answered() -> None:
    upstream = opened()
    steps = [
        response(CLUSTER, cluster("a")),
        response(LISTENER, LISTENING),
        response(ENDPOINT, assignment("a")),
    ]
    for step in steps:
        upstream.receive(step)
        assert upstream.close() is None
    upstream.receive(response(ROUTE, removed=("80",)))
    closed = upstream.close()
    assert closed is not None
    assert len(closed.generation) == 3
    assert closed.generation.absent == {(ROUTE, "80")}
    assert {ack.type_url for ack in closed.acks} == {CLUSTER, LISTENER, ENDPOINT, ROUTE}
    assert closed.marks[CLUSTER] == Mark("1", "s")


def test_a_response_without_news_closes_the_same_generation_again() -> None:
    upstream = opened()
    upstream.receive(response(CLUSTER, cluster("a", eds=False)))
    upstream.receive(response(LISTENER))
    first = upstream.close()
    upstream.receive(response(CLUSTER, cluster("a", eds=False), version="2"))
    second = upstream.close()
    assert first is not None
    assert second is not None
    assert second.generation is first.generation
    assert second.marks[CLUSTER].version == "2"
    assert len(second.acks) == 1


def test_sequences_go_on_from_what_is_stored() -> None:
    stored = generation_of([cluster("a"), assignment("a"), assignment("stray")], sequence=41)
    upstream = Upstream(Node(), stored)
    requests = {request.type_url: request for request in upstream.connect("s")}
    assert dict(requests[CLUSTER].initial_resource_versions) == {"a": cluster("a").version}
    assert list(requests[ENDPOINT].resource_names_subscribe) == ["a"]
    upstream.receive(response(LISTENER))
    closed = upstream.close()
    assert closed is not None
    assert closed.generation.sequence == 42
    assert closed.generation.get(ENDPOINT, "stray") is None


def test_the_origin_of_a_resource_is_the_response_that_brought_it() -> None:
    upstream = opened()
    upstream.receive(response(CLUSTER, cluster("a")))
    upstream.receive(response(CLUSTER, cluster("b"), version="2"))
    assert upstream.origin(CLUSTER, "a") == Mark("1", "s")
    assert upstream.origin(CLUSTER, "b") == Mark("2", "s")
    assert upstream.origin(CLUSTER, "of an earlier stream") == Mark("2", "s")
    upstream.connect("t")
    assert upstream.origin(CLUSTER, "a") == Mark("", "t")


def test_what_envoys_ask_for_is_wanted_beside_the_rest_and_secrets_are_not() -> None:
    upstream = opened()
    wanted = {
        "type.example/Other": Subscription(wildcard=True, names={"x"}),
        CLUSTER: Subscription(names={"on-demand"}),
        SECRET: Subscription(names={"default:a/b"}),
    }
    assert asked(upstream.ask(wanted)) == {
        CLUSTER: ["on-demand"],
        "type.example/Other": ["*", "x"],
    }
    assert dropped(upstream.ask({})) == {
        CLUSTER: ["on-demand"],
        "type.example/Other": ["*", "x"],
    }


def test_what_envoys_ask_for_does_not_keep_a_generation_open() -> None:
    upstream = opened()
    upstream.receive(response(CLUSTER))
    upstream.receive(response(LISTENER))
    upstream.ask({ENDPOINT: Subscription(names={"x"})})
    assert upstream.close() is not None


def test_what_cannot_be_read_is_refused_as_a_whole() -> None:
    upstream = opened()
    bad = response(CLUSTER, cluster("a"), opaque(CLUSTER, "b", "\x7f\x7f"))
    (answer,) = upstream.receive(bad)
    assert answer.response_nonce == "1"
    assert "cannot read CDS resource 'b'" in answer.error_detail.message
    upstream.receive(response(LISTENER))
    assert upstream.close() is None
