import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_controlplane.app import registrations
from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.host_queries import HostSilent
from hostmesh_controlplane.app.hosts import FORGET_SECONDS, MAX_STREAMS, Hosts
from hostmesh_controlplane.edges.host_stream import Refusal, Session
from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health
from hostmesh_testing.fixed import CountingEntropy, ManualClock
from hostmesh_testing.hosts import (
    DOMAIN,
    GRANT,
    HOST,
    OTHER,
    FakeAuthorities,
    FakeLink,
    FakeMesh,
    Terms,
    peer,
)
from hostmesh_testing.memory_store import MemoryStore

WEB = f"web.default.{DOMAIN}"
KEY = EndpointKey("", "10.0.0.4", 8080)
SESSION = b"s" * 16
NEXT_SESSION = b"t" * 16


def web(**fields: object) -> pb.ServiceRegistration:
    message = pb.ServiceRegistration(service="web", workload_port=8080, health=pb.STATUS_HEALTHY)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


class Agent:
    """One agent process as the registry sees it: a session over a stream."""

    def __init__(self, world: "World", host_id: str, session: bytes, address: str) -> None:
        self.world = world
        self.host_id = host_id
        self.session = session
        self.address = address
        self.link = FakeLink()
        self.stream: Session | None = None
        self.refusal: Refusal | None = None
        self.seq = 0
        self.generation = 0

    def connect(self, *, proof: bool = False, last_seen: int = 0, replica: bytes = b"") -> "Agent":
        self.link = FakeLink()
        hello = pb.Hello(
            protocol=1,
            session=self.session,
            last_seen=last_seen,
            replica=replica,
            address_proof=proof,
        )
        number = next(self.world.streams)
        from_ = peer(self.host_id, address=self.address, stream_id=f"s{number}")
        taken = self.world.hosts.accept(from_, hello, self.link)
        if isinstance(taken, Refusal):
            self.refusal = taken
        else:
            self.stream = taken
        return self

    def leave(self) -> None:
        assert self.stream is not None
        self.stream.closed()

    def say(self, **body: object) -> None:
        assert self.stream is not None
        self.seq += 1
        self.stream.received(pb.Up(seq=self.seq, **body))  # type: ignore[arg-type]

    def register(self, *services: pb.ServiceRegistration, **fields: object) -> None:
        self.generation += 1
        message = pb.Register(services=services, generation=self.generation, **fields)  # type: ignore[arg-type]
        self.say(register=message)

    def verdicts(self) -> list[pb.Verdict]:
        return [item.verdict for item in self.link.bodies("verdict")]

    @property
    def welcome(self) -> pb.Welcome:
        return self.link.bodies("welcome")[-1].welcome


class World:
    """A registry with everything around it held in the hand."""

    def __init__(self, store: MemoryStore | None = None, mesh: FakeMesh | None = None) -> None:
        self.authorities = FakeAuthorities(HOST, OTHER)
        self.mesh = mesh or FakeMesh()
        self.store = store or MemoryStore()
        self.clock = ManualClock()
        self.streams = iter(range(1, 1000))
        self.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN, virtual_ranges=("240.240.0.0/16",)),
            self.store,
            self.authorities,
            mesh=self.mesh,
            clock=self.clock,
            entropy=CountingEntropy(),
        )

    def agent(
        self, host_id: str = HOST, *, session: bytes = SESSION, address: str = "10.0.0.4"
    ) -> Agent:
        return Agent(self, host_id, session, address)

    def keys(self, host_id: str = HOST) -> list[str]:
        return [str(key) for i in self.hosts.instances(host_id) for key in i.keys]


Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene, world: Callable[[], World] = World) -> World:
    made: list[World] = []

    async def whole() -> None:
        made.append(world())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made[0].hosts.run())
            await made[0].clock.settle()
            await scene(made[0])
            running.cancel()

    asyncio.run(whole())
    return made[0]


def test_a_welcome_says_lease_pace_address_grant_and_stream() -> None:
    async def scene(world: World) -> None:
        welcome = world.agent().connect().welcome
        assert (welcome.lease_seconds, welcome.renew_seconds) == (12.0, 4.0)
        assert (welcome.peer_address, welcome.stream_id) == ("10.0.0.4", "s1")
        assert b'"web"' in welcome.grant_json
        assert welcome.trust_domain == DOMAIN
        assert world.hosts.connected() == (HOST,)

    play(scene)


def test_a_register_is_told_to_the_mesh_first_and_answered_with_a_verdict() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(port=80))
        assert world.keys() == ["10.0.0.4:8080"]
        (verdict,) = agent.verdicts()
        (service,) = verdict.services
        assert (service.accepted, service.host, service.port) == (True, WEB, 80)
        assert (service.state, service.meshed) == ("mixed", 1)
        assert world.mesh.inbound[HOST][0].workload_port == 8080
        assert [port for port, _ in world.mesh.outbound[HOST]] == [15001]

    play(scene)


def test_a_refusal_is_told_counted_and_not_repeated_while_nothing_changes() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(service="payments"))
        agent.register(web(service="payments"))
        assert world.keys() == []
        assert agent.verdicts()[-1].services[0].accepted is False
        assert world.hosts.refusals == {"not_granted": 1}
        assert "payments" in world.hosts.refused(HOST)[0]

    play(scene)


def test_an_older_register_than_the_last_says_nothing() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(register=pb.Register(generation=0))
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_an_empty_register_deregisters_all() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.register()
        assert world.keys() == []
        assert world.hosts.lease_count == 0
        assert world.mesh.told[-1] == "instances 7f3a 0"

    play(scene)


def test_a_register_with_too_many_services_changes_nothing() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.register(*(web(workload_port=port) for port in range(1, 300)))
        assert world.keys() == ["10.0.0.4:8080"]
        assert "more than 256" in agent.verdicts()[-1].services[0].reason

    play(scene)


def test_every_body_is_acknowledged() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(renew=pb.Renew())
        agent.say()  # a body from the future: a seq without a known body
        assert agent.link.sent[-1] == pb.Down(ack=2)

    play(scene)


def test_a_silent_host_is_out_when_its_lease_ends_and_is_back_when_it_renews() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        for _ in range(5):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(11.4)
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(1.1)
        assert world.keys() == []
        assert world.mesh.told[-1] == "lease ended 7f3a 1"
        agent.say(renew=pb.Renew())
        assert world.keys() == ["10.0.0.4:8080"], "it returns with all that it had registered"

    play(scene)


def test_a_stream_that_breaks_ends_nothing_until_the_lease_does() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.leave()
        assert world.mesh.told[-1] == "disconnected 7f3a"
        await world.clock.pass_(8)
        assert world.keys() == ["10.0.0.4:8080"]
        agent.connect(replica=agent.link.bodies("welcome")[0].welcome.replica, last_seen=99)
        agent.say(renew=pb.Renew())
        await world.clock.pass_(8)
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_health_reaches_the_mesh_at_once() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(
            health=pb.HealthReport(
                service="web", workload_port=8080, status=pb.STATUS_NOT_CAPTURED, reason="no rules"
            )
        )
        (instance,) = world.mesh.instances[HOST]
        assert instance.health is Health.UNHEALTHY
        assert instance.reasons == ("not captured: no rules",)

    play(scene)


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


def test_a_register_of_a_host_revoked_meanwhile_counts_for_nothing() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        world.authorities.records[HOST].revoked = True
        agent.register(web())
        assert world.keys() == []

    play(scene)


def test_a_changed_grant_counts_at_once_in_both_directions() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        terms = world.authorities.records[HOST]
        given, terms.grant = terms.grant, Grant(claims=(Claim("default", "web"),))
        world.hosts.reevaluate(HOST)
        assert world.keys() == []
        assert "pure client" in agent.verdicts()[-1].services[0].reason
        terms.grant = given
        world.hosts.reevaluate(HOST)
        assert world.keys() == ["10.0.0.4:8080"]
        assert len(agent.link.bodies("welcome")) == 3, "the host hears of its grant"

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


def test_what_a_host_writes_cannot_forge_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(service="x\nrefused host=other"), web(namespace="y\nz"))
        agent.say(drain=pb.Drain(services=["a\nb"]))

    with caplog.at_level("INFO"):
        play(scene)
    assert caplog.messages
    assert not [line for line in caplog.messages if "\n" in line]


def test_a_proof_of_another_session_proves_nothing() -> None:
    async def scene(world: World) -> None:
        world.agent().connect().register(web())
        proof = world.agent(session=NEXT_SESSION, address="fd00::4").connect(proof=True)
        assert proof.refusal is not None
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_a_catalog_that_lists_another_address_of_the_host_moves_the_registration() -> None:
    async def scene(world: World) -> None:
        world.authorities.records[HOST].grant = Grant(
            claims=(Claim("default", "web", "web"),), cidrs=("10.9.0.0/16",)
        )
        agent = world.agent().connect()
        agent.register(web(), host_addresses=["10.9.0.4"])
        assert world.keys() == ["10.0.0.4:8080"]
        world.mesh.catalog[WEB] = {EndpointKey("", "10.9.0.4", 8080)}
        world.hosts.catalog_changed([WEB, "unknown.default.mesh.internal"])
        assert world.keys() == ["10.9.0.4:8080"]
        assert list(agent.verdicts()[-1].services[0].addresses) == ["10.9.0.4:8080"]

    play(scene)


def test_a_host_that_waits_for_an_address_gets_it_when_the_former_s_lease_ends() -> None:
    async def scene(world: World) -> None:
        world.agent(OTHER).connect().register(web())
        later = world.agent().connect()
        later.register(web())
        assert world.keys() == []
        assert "has registered it" in later.verdicts()[-1].services[0].reason
        await world.clock.pass_(8)
        later.say(renew=pb.Renew())
        await world.clock.pass_(5)
        assert world.keys(OTHER) == []
        assert world.keys() == ["10.0.0.4:8080"]
        assert later.verdicts()[-1].services[0].accepted

    play(scene)


def test_a_drain_deregisters_at_once_and_is_answered_when_everybody_has_applied_it() -> None:
    async def scene(world: World) -> None:
        world.mesh.drain_gate = asyncio.Event()
        agent = world.agent().connect()
        agent.register(web())
        agent.say(drain=pb.Drain(services=[WEB]))
        agent.say(drain=pb.Drain(services=[WEB]))
        await world.clock.settle()
        assert world.keys() == []
        assert world.mesh.inbound[HOST], "the chains stay: requests are still on their way"
        assert agent.link.bodies("drained") == []
        world.mesh.drain_gate.set()
        await world.clock.settle()
        (answer,) = agent.link.bodies("drained")
        assert answer.drained == pb.Drained(services=[WEB], complete=True)
        assert world.mesh.told.count("drain 7f3a 1") == 1

    play(scene)


def test_a_verdict_waits_until_the_mesh_has_taken_the_registration_in() -> None:
    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        assert agent.verdicts() == []
        world.mesh.taking_in.set_result(None)
        await world.clock.settle()
        assert len(agent.verdicts()) == 1

    play(scene)


def test_a_mesh_that_cannot_take_it_in_does_not_keep_the_host_waiting() -> None:
    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        world.mesh.taking_in.set_exception(BadInput("cannot find a free virtual address"))
        await world.clock.settle()
        assert len(agent.verdicts()) == 1

    play(scene)


def test_a_mesh_that_is_too_slow_does_not_keep_the_host_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrations, "SETTLE_SECONDS", 0.05)

    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        await asyncio.sleep(0.1)
        assert len(agent.verdicts()) == 1
        assert not world.mesh.taking_in.cancelled(), "others wait for it too"

    play(scene)


def test_a_drain_that_nobody_applies_is_answered_as_incomplete_in_time() -> None:
    def hasty() -> World:
        world = World()
        world.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN, drain_seconds=0.05),
            world.store,
            world.authorities,
            mesh=world.mesh,
            clock=world.clock,
            entropy=CountingEntropy(),
        )
        world.mesh.drain_gate = asyncio.Event()
        return world

    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(drain=pb.Drain())
        await asyncio.sleep(0.1)
        assert agent.link.bodies("drained")[0].drained.complete is False

    play(scene, hasty)


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


def test_a_host_of_unknown_address_cannot_register_one() -> None:
    async def scene(world: World) -> None:
        agent = world.agent(address="").connect()
        agent.register(web())
        assert "sees no address of this host" in agent.verdicts()[0].services[0].reason

    play(scene)


def test_a_drain_of_what_is_not_registered_is_answered_at_once() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(drain=pb.Drain())
        await world.clock.settle()
        assert agent.link.bodies("drained")[0].drained.complete

    play(scene)


def test_a_certificate_is_asked_of_the_authority_and_sent() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(certificate_request=pb.CertificateRequest(request_id="1", csr_der=b"csr"))
        await world.clock.settle()
        (issue,) = agent.link.bodies("issue")
        assert list(issue.issue.chain_der) == [b"signed csr"]

    play(scene)


def test_reports_of_the_proxy_are_passed_on() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(applied=pb.Applied(type_url="cds", version="7", stream_id="x"))
        agent.say(rejected=pb.Rejected(type_url="lds", name="l", detail="no"))
        agent.say(use=pb.Use(names=["reviews"]))
        assert world.mesh.applied[0].version == "7"
        assert world.mesh.rejected[0].detail == "no"
        assert world.mesh.told[-1] == "use 7f3a reviews"

    play(scene)


def test_a_question_is_answered_on_the_stream() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()

        async def reply() -> None:
            await world.clock.settle()
            query = agent.link.bodies("query")[0].query
            agent.say(answer=pb.Answer(query_id="of another", body=b"no"))
            agent.say(answer=pb.Answer(query_id=query.query_id, body=b"yes"))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reply())
            answer = await world.hosts.query(HOST, "admin", {"path": "/stats"})
        assert answer.body == b"yes"

    play(scene)


def test_a_host_that_is_not_connected_cannot_be_asked() -> None:
    async def scene(world: World) -> None:
        with pytest.raises(HostSilent, match="not connected"):
            await world.hosts.query(HOST, "admin", {})

    play(scene)


def test_a_restart_gives_stored_registrations_one_full_lease() -> None:
    async def before(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(
            health=pb.HealthReport(
                service="web", workload_port=8080, status=pb.STATUS_UNHEALTHY, reason="503"
            )
        )
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        assert world.keys() == ["10.0.0.4:8080"]
        assert world.mesh.instances[HOST][0].reasons == ("503",)
        await world.clock.pass_(11)
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(2)
        assert world.keys() == []
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(after, lambda: World(store=first.store))


def test_a_restored_host_that_is_back_within_its_lease_loses_nothing() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web())
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        await world.clock.pass_(3)
        agent = world.agent().connect()
        assert agent.welcome.last_seen == 0, "a new replica has seen nothing"
        agent.register(web())
        for _ in range(4):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.mesh.told == [
            "instances 7f3a 1",
            "connected 7f3a 10.0.0.4",
        ]

    play(after, lambda: World(store=first.store))


UPSTREAM = pb.Upstream(service="reviews", port=9080, listen_address="127.0.0.1", listen_port=19080)


def test_upstreams_are_told_to_the_mesh_and_its_word_is_in_the_verdict() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        wrong = pb.Upstream(service="x", port=1, listen_address="8.8.8.8", listen_port=9)
        ports = pb.EnvoyPorts(outbound=16001, inbound=16006, status=1, readiness=2, prometheus=3)
        agent.register(web(), upstreams=[UPSTREAM, wrong], ports=ports, explicit_mode=True)
        own = world.mesh.own[HOST]
        assert [str(each) for each in own.upstreams] == ["upstream 127.0.0.1:19080"]
        assert (own.ports.outbound, own.captured) == (16001, False)
        assert [port for port, _ in world.mesh.outbound[HOST]] == [16001]
        refused, unknown = agent.verdicts()[-1].notes
        assert "expected loopback" in refused
        assert unknown == "told of upstream 127.0.0.1:19080"
        world.hosts.upstreams_changed(HOST)
        assert len(agent.verdicts()) == 2
        agent.register(web())
        assert world.mesh.own[HOST].upstreams == ()
        assert list(agent.verdicts()[-1].notes) == []

    play(scene)


def test_a_clients_upstreams_outlive_a_restart_without_registering_anything() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web(declared_only=True), upstreams=[UPSTREAM])
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        assert len(world.mesh.own[HOST].upstreams) == 1
        assert (world.keys(), world.hosts.lease_count) == ([], 0)
        world.authorities.records[HOST].revoked = True
        world.hosts.reevaluate(HOST)
        await world.clock.settle()
        assert world.mesh.own[HOST].upstreams == ()
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(after, lambda: World(store=first.store))


def test_a_lease_that_ended_is_not_brought_back_by_a_restart() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web(), upstreams=[UPSTREAM])
        await world.clock.pass_(14)
        assert world.keys() == []
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        assert (world.keys(), world.hosts.lease_count) == ([], 0)
        assert len(world.mesh.own[HOST].upstreams) == 1

    play(after, lambda: World(store=first.store))


def test_a_registration_of_a_host_that_was_revoked_meanwhile_is_not_restored() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web())
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        world.authorities.records[HOST].revoked = True
        await world.hosts.restore()
        assert world.keys() == []
        await world.clock.settle()
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(after, lambda: World(store=first.store))


def test_an_address_from_before_the_lease_ended_counts_no_more() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(addresses=["10.0.0.4"]))
        agent.leave()
        await world.clock.pass_(13)
        moved = world.agent(address="10.0.0.5").connect()
        moved.say(renew=pb.Renew())
        assert world.keys() == []
        assert "the control plane sees 10.0.0.5" in world.hosts.refused(HOST)[0]

    play(scene)


def test_an_address_that_moved_counts_for_one_more_lease() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(addresses=["10.0.0.4"]))
        agent.leave()
        agent.address = "10.0.0.5"
        agent.connect(replica=agent.welcome.replica)
        assert world.keys() == ["10.0.0.4:8080"]
        for _ in range(4):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.keys() == []

    play(scene)


def test_what_one_host_asks_for_cannot_take_the_others_down() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        world.authorities.broken = RuntimeError("a bug in the signer")
        agent.say(
            certificate_request=pb.CertificateRequest(
                request_id="1", csr_der=b"csr", namespace="a", service_account="b"
            )
        )
        await world.clock.settle()
        assert world.hosts.connected() == (HOST,)
        assert isinstance(world.agent(OTHER, address="10.0.0.9").connect().welcome, pb.Welcome)

    play(scene)


def test_a_host_without_stream_and_lease_is_forgotten_after_a_while() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(declared_only=True))
        replica = agent.welcome.replica
        agent.leave()
        await world.clock.pass_(FORGET_SECONDS + 1)
        assert agent.connect(replica=replica).welcome.replica != replica

    play(scene)


def test_too_many_silent_hosts_are_held_until_an_operator_says_so() -> None:
    def many() -> World:
        world = World()
        ids = [f"{number:032x}" for number in range(1, 11)]
        world.authorities = FakeAuthorities(*ids)
        world.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN),
            world.store,
            world.authorities,
            mesh=world.mesh,
            clock=world.clock,
            entropy=CountingEntropy(),
        )
        return world

    async def scene(world: World) -> None:
        with pytest.raises(BadInput, match="none is held"):
            world.hosts.end_held()
        ids = sorted(world.authorities.records)
        for number, host in enumerate(ids):
            agent = world.agent(host, address=f"10.0.1.{number}").connect()
            agent.register(web())
            agent.leave()
        await world.clock.pass_(40)
        assert world.hosts.held == tuple(ids)
        assert all(world.keys(host) for host in ids)
        assert world.hosts.end_held() == tuple(ids)
        await world.clock.pass_(1)
        assert not any(world.keys(host) for host in ids)
        assert world.hosts.held == ()

    play(scene, many)


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
        for host in IDS:
            told = world.mesh.instances.get(host, ())
            assert told == world.hosts.instances(host), "the mesh knows what is registered"
            if world.authorities.records[host].revoked:
                assert told == ()
        await world.clock.settle()
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
