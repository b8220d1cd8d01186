"""Random walks: control plane, disk, Envoys and agent in any order, and nothing breaks."""

from functools import lru_cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation
from hostmesh_testing import xds_bench
from hostmesh_testing.relay_play import Play
from hostmesh_testing.xds import assignment, cluster, opaque

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


NAMES = ("a", "b", "c")


class Walk(RuleBasedStateMachine):
    """Anything in any order: nothing breaks on the way, and all end at the same state."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Play()
        self.disk: Generation | None = None

    @initialize()
    def begin(self) -> None:
        self.play.put(*web())
        self.play.connect()
        self.play.start_envoy(1).needs_secret = {"c"}
        self.play.settle()
        self._remember()

    def _remember(self) -> None:
        if self.play.relay.served is not None:
            self.disk = self.play.relay.served

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from("01"))
    def put_cluster(self, name: str, content: str) -> None:
        self.play.put(cluster(name, content))

    @rule(name=st.sampled_from(NAMES), content=st.integers(0, 2))
    def put_assignment(self, name: str, content: int) -> None:
        self.play.put(assignment(name, content))

    @rule(to=st.sampled_from(NAMES))
    def lead_route(self, to: str) -> None:
        """As a control plane does: what is led to is there."""
        self.play.put(cluster(to), assignment(to), route("80", to))

    @rule(name=st.sampled_from(NAMES))
    def drop_cluster(self, name: str) -> None:
        led = self.play.world.get(ROUTE, "80")
        if led != route("80", name):
            self.play.drop(CLUSTER, name)
            self.play.drop(ENDPOINT, name)

    @rule(there=st.booleans())
    def second_listener(self, there: bool) -> None:  # noqa: FBT001
        if there:
            self.play.put(listener("more", 81, "80"))
        else:
            self.play.drop(LISTENER, "more")

    @rule()
    def control_plane_moves(self) -> None:
        self.play.server_reads()
        self.play.relay_reads()

    @rule()
    def disk_moves(self) -> None:
        self.play.disk_writes()
        self._remember()

    @rule()
    def all_moves(self) -> None:
        self.play.settle()
        self._remember()

    @rule(number=st.sampled_from((1, 2)))
    def envoy_moves(self, number: int) -> None:
        if number in self.play.envoys:
            self.play.envoy_reads(number)

    @rule(number=st.sampled_from((1, 2)))
    def admin_moves(self, number: int) -> None:
        if number in self.play.envoys:
            self.play.admin_answers(number)

    @rule()
    def hot_restart(self) -> None:
        if 2 in self.play.envoys:
            self.play.stop_envoy(2)
        else:
            self.play.start_envoy(2, epoch=1).needs_secret = {"c"}

    @rule(there=st.booleans())
    def secret_comes(self, there: bool) -> None:  # noqa: FBT001
        if there:
            self.play.perform(self.play.relay.set_secrets([SECRET_RESOURCE]))

    @rule()
    def connection_breaks(self) -> None:
        self.play.disconnect()
        self.play.connect()

    @rule()
    def agent_is_killed(self) -> None:
        self.play.restart_relay(self.disk)
        self.play.connect()

    @precondition(lambda self: bool(self.play.envoys))
    @invariant()
    def requests_are_never_led_to_what_is_not_active(self) -> None:
        for envoy in self.play.envoys.values():
            missing = envoy.routed() - envoy.active
            known = {name for name in missing if name in envoy.client.held(CLUSTER)}
            assert not known, f"{known} are warming and requests are led to them"
            assert not missing, f"{missing} are not there and requests are led to them"

    def teardown(self) -> None:
        if not self.play.envoys:
            return
        self.play.perform(self.play.relay.set_secrets([SECRET_RESOURCE]))
        self.play.settle()
        world = self.play.world.by_type
        for envoy in self.play.envoys.values():
            assert envoy.client.held(CLUSTER) == world[CLUSTER]
            assert envoy.client.held(LISTENER) == world[LISTENER]
            assert envoy.client.held(ROUTE) == world[ROUTE]
            assert envoy.client.held(ENDPOINT) == {
                name: item for name, item in world[ENDPOINT].items() if name in world[CLUSTER]
            }


Walk.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWalk = Walk.TestCase
