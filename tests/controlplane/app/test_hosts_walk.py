"""Any order of events leaves the registry of hosts, the mesh and the store in agreement."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Grant
from hostmesh_core.ids import EndpointKey
from hostmesh_testing.hosts import GRANT, Terms
from hostmesh_testing.hosts_play import WEB, Agent, World, play, web

IDS = [f"{number:032x}" for number in (1, 2, 3)]
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), st.integers(0, 2), st.sampled_from(["10.0.0.4", "10.0.0.5"])),
        st.tuples(st.just("leave"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("restart"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("register"), st.integers(0, 2), st.sampled_from(["80", "81", "none"])),
        st.tuples(st.just("renew"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("drain"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("revoke"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("forgive"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("narrow"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("catalog"), st.just(0), st.sampled_from(["10.0.0.4", "10.0.0.5", ""])),
        st.tuples(st.just("pass"), st.just(0), st.sampled_from(["3", "8", "14"])),
    ),
    max_size=40,
)


class Walk:
    """Three hosts that want two addresses, in any order of events."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agents = [world.agent(host) for host in IDS]

    async def step(self, kind: str, number: int, detail: str) -> None:
        world, agent = self.world, self.agents[number]
        terms = world.authorities.records[IDS[number]]
        match kind:
            case "connect":
                agent.address = detail
                agent.connect()
            case "restart":
                fresh = next(world.streams).to_bytes(16, "big")
                self.agents[number] = world.agent(IDS[number], session=fresh, address=agent.address)
            case "revoke" | "forgive":
                terms.revoked = kind == "revoke"
                world.hosts.reevaluate(IDS[number])
            case "narrow":
                terms.grant = Grant() if terms.grant.claims else GRANT
                world.hosts.reevaluate(IDS[number])
            case "catalog":
                world.mesh.catalog[WEB] = {EndpointKey("", detail, 80)} if detail else set()
                world.hosts.catalog_changed([WEB])
            case "pass":
                await world.clock.pass_(float(detail))
            case _ if agent.stream is not None:
                self.say(kind, agent, detail)
            case _:
                pass  # who has no stream says nothing

    def say(self, kind: str, agent: Agent, detail: str) -> None:
        match kind:
            case "leave":
                agent.leave()
                agent.stream = None
            case "register" if detail != "none":
                agent.register(web(workload_port=int(detail)))
            case "register":
                agent.register()
            case "renew":
                agent.say(renew=pb.Renew())
            case _:
                agent.say(drain=pb.Drain())

    async def check(self) -> None:
        world = self.world
        held = [key for host in IDS for key in world.keys(host)]
        assert len(held) == len(set(held)), "a key belongs to one host"
        await world.clock.settle()
        for host in IDS:
            told = world.mesh.instances.get(host, ())
            assert told == world.hosts.instances(host), "the mesh knows what is registered"
            if world.authorities.records[host].revoked:
                assert told == ()
        stored = {record.key for record in await world.store.list(Table.REGISTRATIONS)}
        assert stored == {host for host in IDS if world.keys(host)}


@settings(max_examples=150, deadline=None)
@given(OPS)
def test_any_order_of_events_leaves_keys_mesh_and_store_in_agreement(
    steps: list[tuple[str, int, str]],
) -> None:
    def three() -> World:
        world = World()
        world.authorities.records.clear()
        world.authorities.records.update({host: Terms() for host in IDS})
        return world

    async def scene(world: World) -> None:
        walk = Walk(world)
        for step in steps:
            await walk.step(*step)
            await walk.check()

    play(scene, three)
