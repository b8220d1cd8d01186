import pytest

from hostmesh_core import type_urls
from hostmesh_core.type_urls import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    SECRET,
    VIRTUAL_HOST,
)
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.resource import Resource
from hostmesh_testing.xds import World, ask, assignment, cluster, opaque, told

OTHER = "type.googleapis.com/example.Opaque"


def version(item: Resource) -> str:
    return item.version


class TestSubscribing:
    def test_an_empty_first_request_means_everything(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), cluster("b"))
        assert told(stream.on_request(ask(CLUSTER), world).responses) == ["CDS +a +b"]

    @pytest.mark.parametrize("type_url", [SECRET, ENDPOINT, EXTENSION_CONFIG, ROUTE, VIRTUAL_HOST])
    def test_an_empty_first_request_of_a_named_type_means_nothing(self, type_url: str) -> None:
        stream = DeltaStream()
        turn = stream.on_request(ask(type_url), World(opaque(type_url, "a")))
        assert told(turn.responses) == []

    def test_an_unknown_type_passes_opaquely(self) -> None:
        stream = DeltaStream()
        world = World(opaque(OTHER, "a", "anything"))
        (response,) = stream.on_request(ask(OTHER), world).responses
        assert response.resources[0].resource.type_url == OTHER
        assert response.resources[0].resource.value == b"anything"

    def test_everything_of_nothing_is_answered_all_the_same(self) -> None:
        stream = DeltaStream()
        assert told(stream.on_request(ask(LISTENER), World()).responses) == ["LDS"]

    def test_a_star_means_everything_at_any_time(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), cluster("b"))
        assert told(stream.on_request(ask(CLUSTER, "a"), world).responses) == ["CDS +a"]
        assert told(stream.on_request(ask(CLUSTER, "*"), world).responses) == ["CDS +b"]

    def test_a_name_added_to_the_silent_wildcard_leaves_the_wildcard(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        stream.on_request(ask(CLUSTER), world)
        stream.on_request(ask(CLUSTER, "a"), world)
        assert told(stream.on_change(world.put(cluster("b")), world)) == ["CDS +b"]

    def test_without_the_star_only_names_are_left(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), cluster("b"))
        stream.on_request(ask(CLUSTER, "*", "a"), world)
        stream.on_request(ask(CLUSTER, drop=["*"]), world)
        assert told(stream.on_change(world.put(cluster("b", "new")), world)) == []
        assert told(stream.on_change(world.put(cluster("a", "new")), world)) == ["CDS +a"]

    def test_a_name_given_up_under_the_wildcard_is_told_again(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        stream.on_request(ask(CLUSTER, "*", "a", "b"), world)
        turn = stream.on_request(ask(CLUSTER, drop=["a", "b"]), world)
        assert told(turn.responses) == ["CDS +a", "CDS -b"]

    def test_a_name_that_does_not_exist_is_answered_once(self) -> None:
        stream = DeltaStream()
        world = World()
        assert told(stream.on_request(ask(ENDPOINT, "a"), world).responses) == ["EDS -a"]
        assert told(stream.on_change({ENDPOINT: {"a"}}, world)) == []
        assert told(stream.on_change(world.put(assignment("a")), world)) == ["EDS +a"]

    def test_a_virtual_host_that_does_not_exist_is_answered_by_an_empty_one(self) -> None:
        stream = DeltaStream()
        (response,) = stream.on_request(ask(VIRTUAL_HOST, "80/a"), World()).responses
        assert [list(item.aliases) for item in response.resources] == [["80/a"]]
        assert not response.resources[0].HasField("resource")

    def test_a_name_of_which_nothing_is_known_is_not_answered_before_it_is(self) -> None:
        stream = DeltaStream(is_absent=lambda _, name: name == "gone")
        world = World()
        assert told(stream.on_request(ask(SECRET, "a", "gone"), world).responses) == ["SDS -gone"]
        assert told(stream.on_change(world.put(opaque(SECRET, "a")), world)) == ["SDS +a"]

    def test_nothing_is_said_of_what_is_withheld_until_it_is_not(self) -> None:
        withheld = {(CLUSTER, "a"), (CLUSTER, "gone")}
        stream = DeltaStream(is_withheld=lambda *key: key in withheld)
        world = World(cluster("a"), cluster("b"))
        turn = stream.on_request(ask(CLUSTER, "*", have={"a": "old", "gone": "1"}), world)
        assert told(turn.responses) == ["CDS +b"]
        names = {name for _, name in withheld}
        withheld.clear()
        assert told(stream.on_change({CLUSTER: names}, world)) == ["CDS +a", "CDS -gone"]

    def test_asking_again_sends_again(self) -> None:
        stream = DeltaStream()
        world = World(assignment("a"))
        stream.on_request(ask(ENDPOINT, "a"), world)
        assert told(stream.on_request(ask(ENDPOINT, "a"), world).responses) == ["EDS +a"]

    def test_what_was_given_up_is_not_sent(self) -> None:
        stream = DeltaStream()
        world = World(assignment("a"))
        stream.on_request(ask(ENDPOINT, "a"), world)
        stream.on_request(ask(ENDPOINT, drop=["a"]), world)
        assert told(stream.on_change(world.put(assignment("a", 1)), world)) == []
        assert told(stream.on_change(world.drop(ENDPOINT, "a"), world)) == []


class TestReconnecting:
    def test_what_is_held_at_its_version_is_not_sent(self) -> None:
        a, b = assignment("a"), assignment("b", 1)
        world = World(a, b)
        have = {"a": version(a), "b": "old"}
        turn = DeltaStream().on_request(ask(ENDPOINT, "a", "b", have=have), world)
        assert told(turn.responses) == ["EDS +b"]

    def test_a_wildcard_that_is_up_to_date_gets_an_empty_answer(self) -> None:
        a = cluster("a")
        turn = DeltaStream().on_request(ask(CLUSTER, have={"a": version(a)}), World(a))
        assert told(turn.responses) == ["CDS"]

    def test_what_is_gone_meanwhile_is_told(self) -> None:
        turn = DeltaStream().on_request(ask(CLUSTER, "*", have={"a": "1"}), World(cluster("b")))
        assert told(turn.responses) == ["CDS +b", "CDS -a"]

    def test_a_named_resource_gone_meanwhile_is_told(self) -> None:
        turn = DeltaStream().on_request(ask(ENDPOINT, "a", have={"a": "1"}), World())
        assert told(turn.responses) == ["EDS -a"]

    def test_the_assignment_of_a_cluster_changed_meanwhile_is_sent_though_held(self) -> None:
        a, endpoints = cluster("a", "new"), assignment("a")
        world = World(a, endpoints)
        stream = DeltaStream()
        stream.on_request(ask(CLUSTER, "*", have={"a": "old"}), world)
        turn = stream.on_request(ask(ENDPOINT, "a", have={"a": version(endpoints)}), world)
        assert told(turn.responses) == ["EDS +a"]

    def test_versions_said_later_than_first_are_not_believed(self) -> None:
        a = assignment("a")
        stream = DeltaStream()
        world = World(a)
        stream.on_request(ask(ENDPOINT, "b"), world)
        turn = stream.on_request(ask(ENDPOINT, "a", have={"a": version(a)}), world)
        assert told(turn.responses) == ["EDS +a"]


class TestOrder:
    def test_additions_go_forward_and_removals_backward(self) -> None:
        stream = DeltaStream()
        gone = World(*(opaque(type_url, "old") for type_url in type_urls.ORDER))
        for type_url in type_urls.ORDER:
            stream.on_request(ask(type_url, "old", "new"), gone)
        world = World(*(opaque(type_url, "new") for type_url in type_urls.ORDER))
        changed = {type_url: {"old", "new"} for type_url in reversed(type_urls.ORDER)}
        short = [type_urls.SHORT[type_url] for type_url in type_urls.ORDER]
        assert told(stream.on_change(changed, world)) == [
            *(f"{name} +new" for name in short),
            *(f"{name} -old" for name in reversed(short)),
        ]

    def test_a_changed_cluster_is_followed_at_once_by_its_unchanged_assignment(self) -> None:
        stream = DeltaStream()
        endpoints = assignment("a")
        world = World(cluster("a"), endpoints, opaque(LISTENER, "l"))
        for type_url, name in ((CLUSTER, "*"), (ENDPOINT, "a"), (LISTENER, "*")):
            stream.on_request(ask(type_url, name), world)
        changed = world.put(cluster("a", "new")) | world.put(opaque(LISTENER, "l", "new"))
        responses = stream.on_change(changed, world)
        assert told(responses) == ["CDS +a", "EDS +a", "LDS +l"]
        assert responses[1].resources[0].version == version(endpoints)

    def test_an_assignment_follows_once(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), assignment("a"))
        stream.on_request(ask(CLUSTER, "*"), world)
        stream.on_request(ask(ENDPOINT, "a"), world)
        stream.on_change(world.put(cluster("a", "new")), world)
        assert told(stream.on_change({ENDPOINT: {"a"}}, world)) == []

    def test_a_missing_assignment_is_told_missing_once(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        stream.on_request(ask(CLUSTER, "*"), world)
        assert told(stream.on_request(ask(ENDPOINT, "a"), world).responses) == ["EDS -a"]
        assert told(stream.on_change(world.put(cluster("a", "new")), world)) == [
            "CDS +a",
            "EDS -a",
        ]
        assert told(stream.on_change(world.put(cluster("b")), world)) == ["CDS +b"]

    def test_the_assignment_may_have_a_name_of_its_own(self) -> None:
        stream = DeltaStream(assignment_of=lambda item: f"eds/{item.name}")
        world = World(cluster("a"), assignment("eds/a"))
        stream.on_request(ask(CLUSTER, "*"), world)
        stream.on_request(ask(ENDPOINT, "eds/a"), world)
        responses = stream.on_change(world.put(cluster("a", "new")), world)
        assert told(responses) == ["CDS +a", "EDS +eds/a"]


class TestSize:
    def test_responses_are_split_and_nothing_is_lost(self) -> None:
        stream = DeltaStream(max_bytes=1000)
        world = World(*(opaque(OTHER, str(n), "x" * 300) for n in range(5)))
        responses = stream.on_request(ask(OTHER), world).responses
        assert told(responses) == [f"{OTHER} +0 +1", f"{OTHER} +2 +3", f"{OTHER} +4"]
        assert [response.system_version_info for response in responses] == ["1", "2", "3"]

    def test_one_larger_than_the_limit_travels_alone(self) -> None:
        stream = DeltaStream(max_bytes=1000)
        world = World(opaque(OTHER, "a"), opaque(OTHER, "b", "x" * 5000), opaque(OTHER, "c"))
        responses = stream.on_request(ask(OTHER), world).responses
        assert told(responses) == [f"{OTHER} +a", f"{OTHER} +b", f"{OTHER} +c"]

    def test_extension_configs_travel_one_by_one(self) -> None:
        world = World(opaque(EXTENSION_CONFIG, "a"), opaque(EXTENSION_CONFIG, "b"))
        turn = DeltaStream().on_request(ask(EXTENSION_CONFIG, "a", "b"), world)
        assert told(turn.responses) == ["ECDS +a", "ECDS +b"]


class TestAnswers:
    def test_an_acknowledgement_is_reported_with_the_responses_version(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        (response,) = stream.on_request(ask(CLUSTER), world).responses
        assert stream.in_flight(CLUSTER)
        turn = stream.on_request(ask(CLUSTER, nonce=response.nonce), world)
        assert turn.acked is not None
        assert (turn.acked.type_url, turn.acked.version) == (CLUSTER, "1")
        assert not turn.responses
        assert not stream.in_flight(CLUSTER)
        assert stream.status()[CLUSTER].acked == "1"

    def test_versions_count_per_type(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), opaque(LISTENER, "l"))
        stream.on_request(ask(CLUSTER), world)
        stream.on_request(ask(LISTENER), world)
        (second,) = stream.on_change(world.put(cluster("b")), world)
        assert (second.system_version_info, second.nonce) == ("2", "3")

    def test_an_answer_that_was_never_asked_for_is_ignored(self) -> None:
        stream = DeltaStream()
        turn = stream.on_request(ask(ENDPOINT, "a", nonce="77"), World(assignment("a")))
        assert turn.acked is None
        assert told(turn.responses) == ["EDS +a"]

    def test_a_refused_resource_is_kept_back_until_it_changes(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        (response,) = stream.on_request(ask(CLUSTER), world).responses
        turn = stream.on_request(ask(CLUSTER, nonce=response.nonce, error="no"), world)
        assert turn.nacked is not None
        assert (turn.nacked.names, turn.nacked.detail, turn.nacked.version) == (("a",), "no", "1")
        assert told(turn.responses) == []
        assert stream.status()[CLUSTER].quarantined == ("a",)
        assert told(stream.on_change({CLUSTER: {"a"}}, world)) == []
        assert told(stream.on_change(world.put(cluster("a", "better")), world)) == ["CDS +a"]
        assert stream.status()[CLUSTER].quarantined == ()

    def test_going_back_to_what_the_client_still_has_sends_nothing(self) -> None:
        stream = DeltaStream()
        good = cluster("a")
        world = World(good)
        (first,) = stream.on_request(ask(CLUSTER), world).responses
        stream.on_request(ask(CLUSTER, nonce=first.nonce), world)
        (bad,) = stream.on_change(world.put(cluster("a", "bad")), world)
        stream.on_request(ask(CLUSTER, nonce=bad.nonce, error="no"), world)
        assert told(stream.on_change(world.put(good), world)) == []
        assert stream.status()[CLUSTER].quarantined == ()

    def test_the_good_neighbours_of_a_named_bad_one_are_sent_again(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), cluster("b"), cluster("c"))
        (response,) = stream.on_request(ask(CLUSTER), world).responses
        error = "Error adding/updating cluster(s) b: bad timeout"
        turn = stream.on_request(ask(CLUSTER, nonce=response.nonce, error=error), world)
        assert turn.nacked is not None
        assert turn.nacked.names == ("b",)
        assert told(turn.responses) == ["CDS +a +c"]

    def test_a_bad_one_that_nobody_names_is_found_by_sending_each_alone(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"), cluster("b"), cluster("c"))
        (response,) = stream.on_request(ask(CLUSTER), world).responses
        turn = stream.on_request(ask(CLUSTER, nonce=response.nonce, error="no"), world)
        assert told(turn.responses) == ["CDS +a", "CDS +b", "CDS +c"]
        a, b, c = turn.responses
        stream.on_request(ask(CLUSTER, nonce=a.nonce), world)
        turn = stream.on_request(ask(CLUSTER, nonce=b.nonce, error="no"), world)
        assert turn.nacked is not None
        assert turn.nacked.names == ("b",)
        assert told(turn.responses) == []
        stream.on_request(ask(CLUSTER, nonce=c.nonce), world)
        changed = world.put(cluster("a", "1")) | {CLUSTER: {"a", "c"}}
        world.put(cluster("c", "1"))
        assert told(stream.on_change(changed, world)) == ["CDS +a +c"]

    def test_a_refusal_overtaken_by_a_newer_version_keeps_nothing_back(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        (first,) = stream.on_request(ask(CLUSTER), world).responses
        (second,) = stream.on_change(world.put(cluster("a", "new")), world)
        stream.on_request(ask(CLUSTER, nonce=first.nonce, error="no"), world)
        assert stream.status()[CLUSTER].quarantined == ()
        turn = stream.on_request(ask(CLUSTER, nonce=second.nonce), world)
        assert turn.acked is not None
        assert stream.status()[CLUSTER].nacked is None

    def test_a_refused_one_that_goes_away_is_told_gone_where_an_older_one_is_held(self) -> None:
        stream = DeltaStream()
        world = World(cluster("a"))
        (first,) = stream.on_request(ask(CLUSTER), world).responses
        stream.on_request(ask(CLUSTER, nonce=first.nonce), world)
        (bad,) = stream.on_change(world.put(cluster("a", "bad")), world)
        stream.on_request(ask(CLUSTER, nonce=bad.nonce, error="no"), world)
        assert told(stream.on_change(world.drop(CLUSTER, "a"), world)) == ["CDS -a"]
        assert told(stream.on_change(world.put(cluster("a", "bad")), world)) == ["CDS +a"]


def test_status_tells_what_was_asked() -> None:
    stream = DeltaStream()
    stream.on_request(ask(ENDPOINT, "a", "b"), World())
    status = stream.status()[ENDPOINT]
    assert (status.wildcard, status.subscribed, status.sent, status.acked) == (False, 2, "1", "")


def test_a_change_of_what_nobody_asked_for_sends_nothing() -> None:
    stream = DeltaStream()
    world = World()
    assert stream.on_change(world.put(cluster("a")), world) == []
