"""Which streams the registry of hosts takes: whose certificate, which session, how many."""

import asyncio
from dataclasses import replace

import pytest

from hostmesh_controlplane.app.hosts import MAX_STREAMS
from hostmesh_controlplane.edges.host_stream import Refusal
from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import SpiffeId
from hostmesh_testing.hosts import DOMAIN, HOST, FakeLink, peer
from hostmesh_testing.hosts_play import NEXT_SESSION, SESSION, World, play, web


def test_a_restarted_agent_takes_the_host_over_and_the_old_session_is_refused() -> None:
    async def scene(world: World) -> None:
        old = world.agent().connect()
        old.register(web())
        new = world.agent(session=NEXT_SESSION).connect()
        assert old.link.ended is not None
        new.register(web(declared_only=True, health=pb.STATUS_UNSPECIFIED))
        assert world.keys() == ["10.0.0.4:8080"], "what lives stays while the new one proves itself"
        old.register()
        assert world.keys() == ["10.0.0.4:8080"], "the old stream is not listened to"
        again = world.agent().connect()
        assert again.refusal is not None
        assert "taken its place" in again.refusal.reason
        assert world.hosts.refusals["superseded"] == 1

    play(scene)


def test_a_newer_stream_of_one_session_replaces_the_older_one() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        older, first = agent.stream, agent.welcome
        agent.connect(replica=first.replica, last_seen=len(agent.verdicts()))
        assert agent.welcome.last_seen == 1
        assert agent.welcome.replica == first.replica
        assert older is not None
        older.received(pb.Up(seq=2, register=pb.Register(generation=9)))
        assert world.keys() == ["10.0.0.4:8080"], "its session sends it again on the newer stream"
        older.closed()
        assert "disconnected 7f3a" not in world.mesh.told

    play(scene)


def test_unacknowledged_answers_are_sent_again_on_the_next_stream() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        replica = agent.welcome.replica
        agent.leave()
        agent.connect(replica=replica, last_seen=0)
        assert len(agent.verdicts()) == 1
        agent.leave()
        agent.connect(replica=replica, last_seen=1)
        assert agent.verdicts() == []

    play(scene)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"domain": "other.internal"}, "not_a_host", id="of another trust domain"),
        pytest.param({"host_id": "0" * 32}, "host_unknown", id="that never joined"),
        pytest.param({"host_id": "../" + HOST[3:]}, "not_a_host", id="whose id is no id"),
    ],
)
def test_a_certificate_is_not_accepted(change: dict[str, str], why: str) -> None:
    async def scene(world: World) -> None:
        hello = pb.Hello(protocol=1, session=SESSION)
        taken = world.hosts.accept(peer(**change), hello, FakeLink())
        assert isinstance(taken, Refusal)
        assert taken.reason.startswith("cannot accept")
        assert world.hosts.refusals == {why: 1}

    play(scene)


def test_a_workload_s_certificate_cannot_register() -> None:
    async def scene(world: World) -> None:
        workload = SpiffeId(DOMAIN, "/ns/default/sa/web")
        hello = pb.Hello(protocol=1, session=SESSION)
        taken = world.hosts.accept(replace(peer(), spiffe=workload), hello, FakeLink())
        assert isinstance(taken, Refusal)
        assert "only a host's own certificate may register" in taken.reason

    play(scene)


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(pb.Hello(protocol=0, session=SESSION), id="no protocol"),
        pytest.param(pb.Hello(protocol=1), id="no session"),
        pytest.param(pb.Hello(protocol=1, session=b"short"), id="a short session"),
        pytest.param(
            pb.Hello(protocol=1, session=SESSION, hostname="x" * 300), id="a name without end"
        ),
    ],
)
def test_a_hello_without_what_it_takes_is_refused(hello: pb.Hello) -> None:
    async def scene(world: World) -> None:
        assert isinstance(world.hosts.accept(peer(), hello, FakeLink()), Refusal)
        assert world.hosts.refusals == {"protocol": 1}

    play(scene)


def test_a_registry_that_does_not_run_yet_sends_hosts_elsewhere() -> None:
    async def scene() -> None:
        taken = World().hosts.accept(peer(), pb.Hello(protocol=1, session=SESSION), FakeLink())
        assert isinstance(taken, Refusal)
        assert taken.again

    asyncio.run(scene())


def test_a_revoked_host_is_out_told_and_turned_away() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        world.authorities.records[HOST].revoked = True
        world.hosts.reevaluate(HOST)
        assert world.mesh.told[-1] == "lease ended 7f3a 1", "out whatever catalogs say"
        assert world.mesh.inbound[HOST] == ()
        assert agent.link.bodies("revoked")
        assert (agent.link.ended or "").startswith("never")
        again = world.agent().connect()
        assert again.refusal is not None
        assert not again.refusal.again
        await world.clock.settle()
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(scene)


def test_a_second_stream_proves_the_other_family_for_as_long_as_it_lives() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        proof = world.agent(address="fd00::4").connect(proof=True)
        assert world.keys() == ["10.0.0.4:8080", "[fd00::4]:8080"]
        proof.say(register=pb.Register(generation=99))
        assert len(world.keys()) == 2, "a proof says nothing but its address"
        proof.leave()
        await world.clock.pass_(4)
        agent.say(renew=pb.Renew())
        assert len(world.keys()) == 2, "the next stream may be on its way"
        await world.clock.pass_(9)
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_a_host_has_a_bounded_number_of_streams() -> None:
    async def scene(world: World) -> None:
        world.agent().connect()
        proofs = [world.agent(address="fd00::4").connect(proof=True) for _ in range(MAX_STREAMS)]
        assert [proof.refusal for proof in proofs[:-1]] == [None] * (MAX_STREAMS - 1)
        assert proofs[-1].refusal is not None
        proofs[0].leave()
        assert world.agent().connect().refusal is None

    play(scene)


def test_a_proof_of_another_session_proves_nothing() -> None:
    async def scene(world: World) -> None:
        world.agent().connect().register(web())
        proof = world.agent(session=NEXT_SESSION, address="fd00::4").connect(proof=True)
        assert proof.refusal is not None
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_who_is_connected_is_shown_with_what_its_agent_says() -> None:
    async def scene(world: World) -> None:
        assert world.hosts.connection(HOST) is None
        agent = world.agent().connect()
        found = world.hosts.connection(HOST)
        assert found is not None
        assert (found[0].address, found[1].session) == ("10.0.0.4", SESSION)
        agent.leave()
        assert world.hosts.connection(HOST) is None

    play(scene)
