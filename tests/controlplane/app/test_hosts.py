import pytest

from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import MAX_PORTS, Health
from hostmesh_testing.hosts import DOMAIN, HOST, OTHER
from hostmesh_testing.hosts_play import WEB, World, play, web


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
        await world.clock.settle()
        assert world.keys() == ["10.0.0.4:8080"]
        (verdict,) = agent.verdicts()
        (service,) = verdict.services
        assert (service.accepted, service.host, service.port) == (True, WEB, 80)
        assert (service.state, service.meshed) == ("mixed", 1)
        assert service.inbound == "permissive"
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
        await world.clock.settle()
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


def test_health_reaches_the_mesh_at_once() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        agent.say(
            health=pb.HealthReport(
                service="web", workload_port=8080, status=pb.STATUS_NOT_CAPTURED, reason="no rules"
            )
        )
        (instance,) = world.mesh.instances[HOST]
        assert instance.health is Health.UNHEALTHY
        assert instance.reasons == ("not captured: no rules",)

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


def test_a_catalog_that_lists_another_address_of_the_host_moves_the_registration() -> None:
    async def scene(world: World) -> None:
        world.authorities.records[HOST].grant = Grant(
            claims=(Claim("default", "web", "web"),), cidrs=("10.9.0.0/16",)
        )
        agent = world.agent().connect()
        agent.register(web(), host_addresses=["10.0.0.4", "10.9.0.4"])
        assert world.keys() == ["10.0.0.4:8080"]
        world.mesh.catalog[WEB] = {EndpointKey("", "10.9.0.4", 8080)}
        world.hosts.catalog_changed([WEB, "unknown.default.mesh.internal"])
        assert world.keys() == ["10.9.0.4:8080"]
        await world.clock.settle()
        assert list(agent.verdicts()[-1].services[0].addresses) == ["10.9.0.4:8080"]

    play(scene)


def test_a_host_of_unknown_address_cannot_register_one() -> None:
    async def scene(world: World) -> None:
        agent = world.agent(address="").connect()
        agent.register(web())
        assert "sees no address of this host" in agent.verdicts()[0].services[0].reason

    play(scene)


def test_a_certificate_is_asked_of_the_authority_and_sent() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(certificate_request=pb.CertificateRequest(request_id="1", csr_der=b"csr"))
        await world.clock.settle()
        (issue,) = agent.link.bodies("issue")
        assert list(issue.issue.chain_der) == [b"signed csr"]

    play(scene)


def test_a_certificate_request_out_of_bounds_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(certificate_request=pb.CertificateRequest(request_id="1", csr_der=b"x" * 9000))
        await world.clock.settle()
        assert agent.link.bodies("issue")[0].issue.refused.startswith("cannot read")
        assert world.hosts.refusals == {"malformed": 1}

    play(scene)
    assert "why=malformed reason='cannot read a certificate request" in caplog.text


def test_reports_of_the_proxy_are_passed_on() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(applied=pb.Applied(type_url="cds", version="7", stream_id="x"))
        agent.say(rejected=pb.Rejected(type_url="lds", name="l", detail="no"))
        agent.say(use=pb.Use(names=["reviews"]))
        assert world.mesh.applied[0].version == "7"
        assert world.mesh.rejected[0].detail == "no"
        assert world.mesh.told[-1] == "use 7f3a reviews"
        agent.say(callers=pb.Callers(services=[pb.ServiceCallers(service="web", plaintext=14)]))
        ((host, word),) = world.mesh.callers
        assert (host[:4], word.services[0].plaintext) == ("7f3a", 14)

    play(scene)


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
        await world.clock.settle()
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


def test_a_service_on_too_many_ports_is_on_none_though_not_all_of_them_are_registered() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        ports = range(9000, 9000 + MAX_PORTS)
        some = [web(port=port, workload_port=port) for port in ports]
        agent.register(*some, web(declared_only=True))
        assert world.keys() == []
        agent.register(*some)
        assert len(world.keys()) == MAX_PORTS

    play(scene)
