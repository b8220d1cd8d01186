from dataclasses import replace

from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CaptureConfig,
    OutboundConfig,
    PortsConfig,
    ServiceConfig,
    Upstream,
)
from hostmesh_agent.logic import registration
from hostmesh_agent.logic.health import AppHealth
from hostmesh_agent.logic.registration import Message, Place, State
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, Protocol, labels_of

WEB = ServiceConfig(name="web", port=8080, protocol=Protocol.HTTP)
API = ServiceConfig(name="api", port=9090, namespace="back")
WELL = AppHealth(healthy=True)
DOWN = AppHealth(healthy=False, reason="503")


def config(*services: ServiceConfig, identity: Identity | None = None) -> AgentConfig:
    return AgentConfig(
        control_planes=(Address(host="cp", port=15012),),
        services=services,
        outbound=OutboundConfig(default_identity=identity),
        ports=PortsConfig(outbound=15101),
    )


def started(*services: ServiceConfig, place: Place | None = None) -> State:
    state, _ = registration.start(config(*services), place or Place(), granted=None)
    return state


def both_proven() -> State:
    state, _ = registration.captured(started(WEB, API), None)
    state, _ = registration.proven(state, WEB, WELL)
    state, _ = registration.proven(state, API, WELL)
    return state


def said(messages: tuple[Message, ...]) -> list[tuple[str, object, str]]:
    return [(m.service, m.status, m.reason) for m in messages if isinstance(m, pb.HealthReport)]


def registered(state: State) -> list[str]:
    services = registration.register(state).services
    return [service.service for service in services if not service.declared_only]


def test_everything_is_declared_before_anything_is_registered() -> None:
    state, (message,) = registration.start(config(WEB, API), Place(), granted=None)
    assert isinstance(message, pb.Register)
    assert [(s.service, s.declared_only, s.health) for s in message.services] == [
        ("web", True, pb.STATUS_UNSPECIFIED),
        ("api", True, pb.STATUS_UNSPECIFIED),
    ]
    assert registered(state) == []


def test_a_declaration_says_all_that_the_configuration_does() -> None:
    service = ServiceConfig(
        name="db",
        port=5432,
        service_port=15432,
        mesh_port=25432,
        address="10.0.0.4",
        listen="127.0.0.1:5432",
        server_first=True,
        inbound=InboundMode.STRICT,
        namespace="back",
        service_account="postgres",
        labels=labels_of({"version": "v2"}),
        weight=7,
    )
    place = Place(region="eu", zone="a", network="n1", addresses=("10.0.0.4",))
    message = registration.register(started(service, place=place))
    assert message.services[0] == pb.ServiceRegistration(
        service="db",
        namespace="back",
        service_account="postgres",
        port=15432,
        endpoint_port=25432,
        workload_port=5432,
        server_first=True,
        addresses=["10.0.0.4"],
        labels={"version": "v2"},
        weight=7,
        inbound_mode="strict",
        listen="127.0.0.1:5432",
        region="eu",
        zone="a",
        network="n1",
        declared_only=True,
    )
    assert list(message.host_addresses) == ["10.0.0.4"]


def test_upstreams_ports_and_explicit_mode_are_told() -> None:
    where = Address(host="::1", port=9081)
    told = replace(
        config(WEB),
        upstreams=(Upstream(service="ratings", port=80, listen=where),),
        ports=PortsConfig(outbound=16001, inbound=16006, status=1, readiness=2, prometheus=3),
        capture=CaptureConfig(enabled=False),
    )
    state, (first,) = registration.start(told, Place(), granted=None)
    for message in (first, registration.register(registration.configured(state, told, (API,))[0])):
        assert isinstance(message, pb.Register)
        assert list(message.upstreams) == [
            pb.Upstream(service="ratings", port=80, listen_address="::1", listen_port=9081)
        ]
        assert message.ports == pb.EnvoyPorts(
            outbound=16001, inbound=16006, status=1, readiness=2, prometheus=3
        )
        assert message.explicit_mode


def test_the_default_instance_says_nothing_about_ports() -> None:
    plain = replace(config(WEB), ports=PortsConfig())
    _, (message,) = registration.start(plain, Place(), granted=None)
    assert isinstance(message, pb.Register)
    assert not message.HasField("ports")
    assert not message.explicit_mode


def test_what_the_control_plane_notes_is_said_after_the_services() -> None:
    verdict = pb.Verdict(notes=["cannot open upstream 127.0.0.1:9"])
    verdict.services.add(service="web", reason="web:80 refused")
    assert registration.sentences(verdict) == (
        "web:80 refused",
        "cannot open upstream 127.0.0.1:9",
    )


def test_who_speaks_for_the_host_is_the_configured_identity_else_the_granted_one() -> None:
    configured, granted = Identity("shop", "front"), Identity("shop", "web")
    for wanted, given, expected in (
        (configured, granted, [(15101, "shop", "front")]),
        (None, granted, [(15101, "shop", "web")]),
        (None, None, []),
    ):
        _, (message,) = registration.start(config(identity=wanted), Place(), granted=given)
        assert isinstance(message, pb.Register)
        found = [(o.capture_port, o.namespace, o.service_account) for o in message.outbound]
        assert found == expected


def test_a_proven_service_is_registered_with_the_proof_s_result_as_its_health() -> None:
    state, (message,) = registration.proven(started(WEB, API), WEB, WELL)
    assert isinstance(message, pb.Register)
    assert [(s.service, s.declared_only, s.health) for s in message.services] == [
        ("web", False, pb.STATUS_HEALTHY),
        ("api", True, pb.STATUS_UNSPECIFIED),
    ]
    assert registered(state) == ["web"]


def test_health_of_a_registered_service_is_reported() -> None:
    state, messages = registration.checked(both_proven(), API, DOWN)
    assert messages == (
        pb.HealthReport(
            service="api",
            namespace="back",
            workload_port=9090,
            status=pb.STATUS_UNHEALTHY,
            reason="503",
        ),
    )
    assert registration.register(state).services[1].health == pb.STATUS_UNHEALTHY


def test_health_of_what_is_not_registered_is_only_remembered() -> None:
    state, messages = registration.checked(started(WEB), WEB, DOWN)
    assert messages == ()
    assert registration.register(state).services[0].health == pb.STATUS_UNSPECIFIED


def test_without_envoy_or_rules_every_service_is_out_at_once() -> None:
    state, messages = registration.captured(both_proven(), "Envoy has crashed")
    assert said(messages) == [
        ("web", pb.STATUS_NOT_CAPTURED, "Envoy has crashed"),
        ("api", pb.STATUS_NOT_CAPTURED, "Envoy has crashed"),
    ]
    assert registration.captured(state, "Envoy has crashed") == (state, ())
    state, nothing = registration.checked(state, WEB, DOWN)
    assert nothing == (), "an app's health says nothing while it cannot be reached"
    _, back = registration.captured(state, None)
    assert said(back) == [("web", pb.STATUS_UNHEALTHY, "503"), ("api", pb.STATUS_HEALTHY, "")]


def test_a_restarted_agent_takes_nobody_out_while_it_finds_what_the_earlier_one_left() -> None:
    state = started(WEB)
    for missing in ("Envoy does not serve yet", "the rules are not in yet"):
        state, messages = registration.captured(state, missing)
        assert messages == ()
        assert registration.register(state).services[0].health == pb.STATUS_UNSPECIFIED
    state, messages = registration.captured(state, None)
    assert messages == ()
    assert registration.settled(state)[1] == ()


def test_what_an_earlier_agent_left_without_envoy_is_taken_out_when_the_time_is_up() -> None:
    state, _ = registration.captured(started(WEB), "Envoy is gone")
    state, messages = registration.settled(state)
    assert said(messages) == [("web", pb.STATUS_NOT_CAPTURED, "Envoy is gone")]
    assert registration.register(state).services[0].health == pb.STATUS_NOT_CAPTURED


def test_what_an_earlier_agent_registered_returns_only_by_its_proof() -> None:
    state, _ = registration.settled(started(WEB))
    state, messages = registration.captured(state, "no rules")
    assert said(messages) == [("web", pb.STATUS_NOT_CAPTURED, "no rules")]
    state, back = registration.captured(state, None)
    assert back == ()
    _, (message,) = registration.proven(state, WEB, WELL)
    assert isinstance(message, pb.Register)
    assert message.services[0].health == pb.STATUS_HEALTHY


def test_what_is_drained_stays_declared_and_is_not_registered_again_by_itself() -> None:
    state = registration.drained(both_proven(), [WEB.key])
    assert registered(state) == ["api"]
    state, messages = registration.checked(state, WEB, DOWN)
    assert messages == ()
    assert registered(registration.drained(state)) == []


def test_a_service_that_changes_is_to_be_proven_again_and_the_others_stay() -> None:
    changed = ServiceConfig(name="web", port=8080, protocol=Protocol.TCP)
    state, (message,) = registration.configured(both_proven(), config(changed, API), (changed, API))
    assert isinstance(message, pb.Register)
    assert registered(state) == ["api"]
    gone, _ = registration.configured(both_proven(), config(API), (API,))
    assert [service.service for service in registration.register(gone).services] == ["api"]


def test_a_changed_address_is_told_and_an_unchanged_one_is_not() -> None:
    state, messages = registration.moved(both_proven(), Place(addresses=("10.0.0.5",)))
    assert len(messages) == 1
    assert registration.moved(state, Place(addresses=("10.0.0.5",))) == (state, ())


VERDICT = pb.Verdict(
    services=[
        pb.ServiceVerdict(
            service="web",
            port=8080,
            accepted=True,
            host="web.default.mesh.internal",
            addresses=["10.0.0.4:8080", "n1/[fd00::4]:8080"],
            state="mixed",
            meshed=1,
            endpoints=3,
        ),
        pb.ServiceVerdict(service="api", port=9090, reason="api:9090 refused: not granted"),
        pb.ServiceVerdict(service="db", port=1, accepted=True, host="db", reason="without IPv6"),
    ]
)


def test_a_verdict_is_told_in_sentences() -> None:
    assert registration.sentences(VERDICT) == (
        "web is accepted as web.default.mesh.internal:8080 at 10.0.0.4:8080, n1/[fd00::4]:8080 "
        "(mixed: 1 of 3 meshed)",
        "api:9090 refused: not granted",
        "db is accepted as db:1 at  (plain: 0 of 0 meshed); without IPv6",
    )


def test_the_dialled_addresses_are_those_of_the_verdict() -> None:
    assert registration.addresses(VERDICT, WEB) == ("10.0.0.4", "fd00::4")
    assert registration.addresses(VERDICT, API) == ()
    assert registration.addresses(None, WEB) == ()


def test_of_two_declarations_of_one_service_each_has_its_own_verdict() -> None:
    old = ServiceConfig(name="web", port=8080, service_port=80)
    new = replace(old, port=9090)
    words = {"service": "web", "port": 80}
    verdict = pb.Verdict(
        services=[
            pb.ServiceVerdict(**words, workload_port=8080, accepted=True, addresses=["a:8080"]),  # type: ignore[arg-type]
            pb.ServiceVerdict(**words, workload_port=9090, reason="not granted"),  # type: ignore[arg-type]
        ]
    )
    assert registration.addresses(verdict, old) == ("a",)
    assert registration.addresses(verdict, new) == ()
    found = registration.verdict_of(verdict, new)
    assert found is not None
    assert found.reason == "not granted"
