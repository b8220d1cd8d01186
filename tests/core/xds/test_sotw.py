from collections.abc import Iterable

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from hostmesh_core import type_urls
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.sotw import SotwStream
from hostmesh_testing.xds import World, assignment, cluster, opaque


def ask(type_url: str, *names: str, nonce: str = "", error: str = "") -> DiscoveryRequest:
    request = DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce)
    if error:
        request.error_detail.message = error
    return request


def told(responses: Iterable[DiscoveryResponse], *known: Resource) -> list[str]:
    """Say in short what responses carry: `CDS a b`; bodies are found among `known`."""
    name_of = {item.body: item.name for item in known}
    return [
        " ".join(
            [
                type_urls.SHORT[response.type_url],
                *(name_of.get(item.value, "?") for item in response.resources),
            ]
        )
        for response in responses
    ]


A, B, A2 = cluster("a"), cluster("b"), cluster("a", "2")
EA, EB, EA2 = assignment("a"), assignment("b", 1), assignment("a", 2)


@pytest.mark.parametrize(
    ("request_", "world", "answer"),
    [
        pytest.param(ask(CLUSTER), [A, B], ["CDS a b"], id="nothing named means everything"),
        pytest.param(ask(CLUSTER, "*"), [A, B], ["CDS a b"], id="a star means everything"),
        pytest.param(ask(CLUSTER, "a"), [A, B], ["CDS a"], id="a name means that one"),
        pytest.param(ask(CLUSTER), [], ["CDS"], id="everything of nothing is answered"),
        pytest.param(ask(ENDPOINT), [EA], [], id="a type that is always named needs names"),
        pytest.param(ask(ENDPOINT, "b"), [EA], [], id="a missing name is waited for"),
    ],
)
def test_first_request(
    request_: DiscoveryRequest, world: list[Resource], answer: list[str]
) -> None:
    assert told(SotwStream().on_request(request_, World(*world)).responses, *world) == answer


def test_an_acknowledgement_is_reported_once() -> None:
    stream, world = SotwStream(), World(A)
    (response,) = stream.on_request(ask(CLUSTER), world).responses
    turn = stream.on_request(ask(CLUSTER, nonce=response.nonce), world)
    assert turn.acked is not None
    assert turn.acked.version == response.version_info
    assert turn.responses == ()
    again = stream.on_request(ask(CLUSTER, nonce=response.nonce), world)
    assert again.acked is None


def test_more_names_are_answered_and_fewer_are_forgotten() -> None:
    stream, world = SotwStream(), World(EA, EB)
    (first,) = stream.on_request(ask(ENDPOINT, "a"), world).responses
    (second,) = stream.on_request(ask(ENDPOINT, "a", "b", nonce=first.nonce), world).responses
    assert told([second], EA, EB) == ["EDS b"]
    stream.on_request(ask(ENDPOINT, "b", nonce=second.nonce), world)
    assert stream.on_change(world.put(EA2), world) == []


def test_a_request_that_crossed_a_newer_response_is_passed_over() -> None:
    stream, world = SotwStream(), World(A)
    (first,) = stream.on_request(ask(CLUSTER), world).responses
    (second,) = stream.on_change(world.put(B), world)
    assert stream.on_request(ask(CLUSTER, nonce=first.nonce), world).acked is None
    assert stream.on_request(ask(CLUSTER, nonce=second.nonce), world).acked is not None


def test_a_change_of_clusters_sends_all_clusters_and_the_assignment_of_the_changed_one() -> None:
    stream, world = SotwStream(), World(A, B, EA, EB, opaque(LISTENER, "l"))
    stream.on_request(ask(CLUSTER), world)
    stream.on_request(ask(ENDPOINT, "a", "b"), world)
    responses = stream.on_change(world.put(A2), world)
    assert told(responses, A2, B, EA, EB) == ["CDS a b", "EDS a"]


def test_a_change_of_one_assignment_sends_that_one() -> None:
    stream, world = SotwStream(), World(EA, EB)
    stream.on_request(ask(ENDPOINT, "a", "b"), world)
    assert told(stream.on_change(world.put(EA2), world), EA2, EB) == ["EDS a"]
    assert stream.on_change({ENDPOINT: {"a"}}, world) == []


def test_a_repeated_request_for_what_is_there_already_is_not_answered() -> None:
    stream, world = SotwStream(), World(EA)
    (first,) = stream.on_request(ask(ENDPOINT, "a"), world).responses
    assert stream.on_request(ask(ENDPOINT, "a"), world).responses == ()
    assert stream.on_request(ask(ENDPOINT, nonce=first.nonce), world).responses == ()
    (again,) = stream.on_request(ask(ENDPOINT, "a", nonce=first.nonce), world).responses
    assert told([again], EA) == ["EDS a"]


def test_what_is_gone_is_missing_from_the_whole() -> None:
    stream, world = SotwStream(), World(A, B, EA)
    stream.on_request(ask(CLUSTER), world)
    stream.on_request(ask(ENDPOINT, "a"), world)
    assert told(stream.on_change(world.drop(CLUSTER, "b"), world), A) == ["CDS a"]
    assert stream.on_change(world.drop(ENDPOINT, "a"), world) == []


def test_a_refused_resource_is_replaced_by_the_last_good_one() -> None:
    stream, world = SotwStream(), World(A, B)
    (first,) = stream.on_request(ask(CLUSTER), world).responses
    stream.on_request(ask(CLUSTER, nonce=first.nonce), world)
    (second,) = stream.on_change(world.put(A2), world)
    turn = stream.on_request(ask(CLUSTER, nonce=second.nonce, error="bad"), world)
    assert turn.nacked is not None
    assert turn.nacked.names == ("a",)
    assert told(turn.responses, A, B, A2) == ["CDS a b"]
    assert turn.responses[0].resources[0].value == A.body
    assert stream.status()[CLUSTER].quarantined == ("a",)
    better = cluster("a", "3")
    (third,) = stream.on_change(world.put(better), world)
    assert third.resources[0].value == better.body


def test_a_refusal_of_a_removal_is_reported_and_not_answered() -> None:
    stream, world = SotwStream(), World(A, B)
    (first,) = stream.on_request(ask(CLUSTER), world).responses
    stream.on_request(ask(CLUSTER, nonce=first.nonce), world)
    (second,) = stream.on_change(world.drop(CLUSTER, "b"), world)
    turn = stream.on_request(ask(CLUSTER, nonce=second.nonce, error="in use"), world)
    assert turn.nacked is not None
    assert turn.responses == ()


def test_a_new_bad_one_is_left_out_and_the_rest_goes_on() -> None:
    stream, world = SotwStream(), World(opaque(ROUTE, "x", "1"), opaque(ROUTE, "y", "2"))
    (first,) = stream.on_request(ask(ROUTE, "x", "y"), world).responses
    turn = stream.on_request(ask(ROUTE, "x", "y", nonce=first.nonce, error="y: bad"), world)
    assert told(turn.responses, *world.by_type[ROUTE].values()) == ["RDS x"]
    last = turn.responses[0]
    assert stream.on_request(ask(ROUTE, "x", "y", nonce=last.nonce), world).acked is not None


def test_status_tells_what_was_asked() -> None:
    stream = SotwStream()
    stream.on_request(ask(CLUSTER), World(A))
    status = stream.status()[CLUSTER]
    assert (status.wildcard, status.sent, status.acked) == (True, "1", "")
