"""The client alone by table, and server and client against each other by random walks."""

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, VIRTUAL_HOST
from hostmesh_core.xds.client import DeltaClient
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.resource import Resource
from hostmesh_testing.xds import World, assignment, cluster

NAMES = ("a", "b", "c", "d")


def response(*resources: Resource, removed: Iterable[str] = ()) -> DeltaDiscoveryResponse:
    built = DeltaDiscoveryResponse(
        type_url=resources[0].type_url if resources else ENDPOINT,
        nonce="1",
        system_version_info="7",
        removed_resources=removed,
    )
    for item in resources:
        envelope = built.resources.add(name=item.name, version=item.version)
        envelope.resource.type_url = item.type_url
        envelope.resource.value = item.body
    return built


def test_the_first_requests_go_in_order_with_what_is_held_and_the_node_once() -> None:
    client = DeltaClient(Node(id="host"))
    client.want(ENDPOINT, {"a", "b"})
    client.want(CLUSTER, (), wildcard=True)
    client.receive(response(assignment("a")))
    clusters, endpoints = client.connect()
    assert (clusters.type_url, list(clusters.resource_names_subscribe)) == (CLUSTER, ["*"])
    assert clusters.node.id == "host"
    assert not endpoints.HasField("node")
    assert list(endpoints.resource_names_subscribe) == ["a", "b"]
    assert dict(endpoints.initial_resource_versions) == {"a": assignment("a").version}


def test_wishes_are_told_only_on_an_open_stream_and_only_as_differences() -> None:
    client = DeltaClient()
    assert client.want(ENDPOINT, {"a"}) == []
    client.connect()
    assert client.want(ENDPOINT, {"a"}) == []
    (request,) = client.want(ENDPOINT, {"b"})
    assert list(request.resource_names_subscribe) == ["b"]
    assert list(request.resource_names_unsubscribe) == ["a"]


def test_what_is_no_longer_wanted_is_forgotten_and_passed_over() -> None:
    client = DeltaClient()
    client.want(ENDPOINT, {"a"})
    client.connect()
    client.receive(response(assignment("a"), removed=["b"]))
    client.want(ENDPOINT, ())
    assert client.held(ENDPOINT) == {}
    update = client.receive(response(assignment("a")))
    assert update.changed == ()
    assert client.held(ENDPOINT) == {}


def test_an_answer_of_nothing_is_remembered_until_something_comes() -> None:
    client = DeltaClient()
    client.want(ENDPOINT, {"a"})
    client.connect()
    update = client.receive(response(removed=["a"]))
    assert update.removed == ("a",)
    assert set(client.absent()) == {(ENDPOINT, "a")}
    client.receive(response(assignment("a")))
    assert set(client.absent()) == set()


def test_an_empty_virtual_host_is_an_answer_of_nothing() -> None:
    client = DeltaClient()
    client.want(VIRTUAL_HOST, {"80/a"})
    empty = DeltaDiscoveryResponse(type_url=VIRTUAL_HOST)
    empty.resources.add(name="80/a", aliases=["80/a"])
    assert client.receive(empty).removed == ("80/a",)
    assert set(client.absent()) == {(VIRTUAL_HOST, "80/a")}


def test_answers_carry_the_nonce() -> None:
    client = DeltaClient()
    client.want(ENDPOINT, {"a"})
    update = client.receive(response(assignment("a")))
    assert update.version == "7"
    assert update.ack().response_nonce == "1"
    assert not update.ack().HasField("error_detail")
    assert update.nack("cannot read it").error_detail.message == "cannot read it"


def test_what_was_kept_on_disk_counts_as_held() -> None:
    client = DeltaClient()
    client.restore([assignment("a"), assignment("b")])
    client.want(ENDPOINT, {"a"})
    (request,) = client.connect()
    assert list(request.initial_resource_versions) == ["a"]


class ServerAgainstClient(RuleBasedStateMachine):
    """Both ends with a pipe in between that delays, and a connection that breaks at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.wanted: set[str] = set()

    @initialize(limit=st.sampled_from([1, 400, 1_000_000]))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.client = DeltaClient()
        self.client.want(CLUSTER, (), wildcard=True)
        self._connect()

    def _connect(self) -> None:
        self.server = DeltaStream(max_bytes=self.limit)
        self.up: list[DeltaDiscoveryRequest] = []
        self.down: list[DeltaDiscoveryResponse] = []
        self.up += self.client.connect()

    @rule(name=st.sampled_from(NAMES), content=st.integers(0, 2))
    def put_cluster(self, name: str, content: int) -> None:
        changed = self.world.put(cluster(name, str(content)))
        self.down += self.server.on_change(changed, self.world)

    @rule(name=st.sampled_from(NAMES), content=st.integers(0, 2))
    def put_assignment(self, name: str, content: int) -> None:
        changed = self.world.put(assignment(name, content))
        self.down += self.server.on_change(changed, self.world)

    @rule(name=st.sampled_from(NAMES), type_url=st.sampled_from([CLUSTER, ENDPOINT]))
    def drop(self, name: str, type_url: str) -> None:
        self.down += self.server.on_change(self.world.drop(type_url, name), self.world)

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def want(self, names: set[str]) -> None:
        self.wanted = names
        self.up += self.client.want(ENDPOINT, names)

    @rule()
    def server_reads(self) -> None:
        if self.up:
            turn = self.server.on_request(self.up.pop(0), self.world)
            self.down += turn.responses

    @rule()
    def client_reads(self) -> None:
        if self.down:
            self.up.append(self.client.receive(self.down.pop(0)).ack())

    @rule()
    def connection_breaks(self) -> None:
        self.client.disconnect()
        self._connect()

    def settle(self) -> None:
        for _ in range(1000):
            if not self.up and not self.down:
                return
            while self.up:
                self.server_reads()
            while self.down:
                self.client_reads()
        raise AssertionError("the two never come to rest")

    @invariant()
    def clusters_never_go_without_their_assignments(self) -> None:
        """In the pipe and at rest: a sent cluster is followed by what Envoy waits for."""
        endpoints = self.server.subscription(ENDPOINT) if hasattr(self, "server") else None
        if endpoints is None:
            return
        following: set[str] = set()
        for item in reversed(self.down):
            if item.type_url == ENDPOINT:
                following |= {envelope.name for envelope in item.resources}
                following |= set(item.removed_resources)
            if item.type_url == CLUSTER:
                sent = {envelope.name for envelope in item.resources} & endpoints.names
                missing = {name for name in sent - following if self._exists(name)}
                assert not missing, f"{missing} sent without assignment"

    def _exists(self, name: str) -> bool:
        return self.world.get(ENDPOINT, name) is not None

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.settle()
        assert self.client.held(CLUSTER) == self.world.by_type.get(CLUSTER, {})
        there = self.world.by_type.get(ENDPOINT, {})
        assert self.client.held(ENDPOINT) == {
            name: item for name, item in there.items() if name in self.wanted
        }
        assert set(self.client.absent()) == {
            (ENDPOINT, name) for name in self.wanted if name not in there
        }


ServerAgainstClient.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestServerAgainstClient = ServerAgainstClient.TestCase


@given(
    bad=st.sets(st.sampled_from(NAMES)),
    limit=st.sampled_from([1, 400, 1_000_000]),
    talks=st.booleans(),
)
def test_whatever_is_refused_all_that_is_good_arrives(
    bad: set[str],
    limit: int,
    talks: bool,  # noqa: FBT001
) -> None:
    """A client that refuses a whole response for one bad resource in it ends with the rest."""
    world = World(*(cluster(name) for name in NAMES))
    server, client = DeltaStream(max_bytes=limit), DeltaClient()
    client.want(CLUSTER, (), wildcard=True)
    up, down = client.connect(), list[DeltaDiscoveryResponse]()
    arrived: set[str] = set()
    for _ in range(100):
        if not up:
            break
        down += server.on_request(up.pop(0), world).responses
        for item in down:
            update = client.receive(item)
            wrong = bad & {envelope.name for envelope in item.resources}
            words = "bad: " + ", ".join(sorted(wrong)) if talks else "something is bad"
            up.append(update.nack(words) if wrong else update.ack())
            if not wrong:
                arrived |= {envelope.name for envelope in item.resources}
        down.clear()
    assert not up
    assert arrived == set(NAMES) - bad
    assert set(server.status()[CLUSTER].quarantined) == bad
