import json

from hostmesh_controlplane.logic.registration import (
    MAX_ADDRESSES,
    Registration,
    StoredRegistration,
    services_named,
    services_not_declared,
)
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.model import Health

WEB = ("web", "", 8080)
API = ("api", "", 9090)


def service(name: str, port: int, **fields: object) -> pb.ServiceRegistration:
    return pb.ServiceRegistration(service=name, workload_port=port, **fields)  # type: ignore[arg-type]


def web(**fields: object) -> pb.ServiceRegistration:
    return service("web", 8080, **fields)


def api(**fields: object) -> pb.ServiceRegistration:
    return service("api", 9090, **fields)


def said(*services: pb.ServiceRegistration) -> Registration:
    return Registration().with_register(pb.Register(services=services))


def report(status: pb.Status, reason: str = "") -> pb.HealthReport:
    return pb.HealthReport(service="web", workload_port=8080, status=status, reason=reason)


def test_a_register_is_complete_what_it_leaves_out_is_gone() -> None:
    after = said(web(), api()).with_register(pb.Register(services=[api()]))
    assert list(after.registered) == [API]
    assert list(after.health) == [API]


def test_what_is_only_declared_is_not_registered() -> None:
    after = said(web(declared_only=True))
    assert after.registered == {}
    assert [item.service for item in after.declared] == ["web"]


def test_a_registration_that_lives_stays_when_a_restarted_agent_declares() -> None:
    before = said(web(weight=3, health=pb.STATUS_HEALTHY))
    after = before.with_register(pb.Register(services=[web(declared_only=True, weight=9)]))
    assert after.registered[WEB].weight == 3
    assert after.health[WEB] == (Health.HEALTHY, ())


def test_a_restarted_agent_that_finds_no_envoy_takes_what_lives_out_at_once() -> None:
    before = said(web(health=pb.STATUS_HEALTHY))
    after = before.with_register(
        pb.Register(services=[web(declared_only=True, health=pb.STATUS_NOT_CAPTURED)])
    )
    assert after.health[WEB] == (Health.UNHEALTHY, ("not captured",))


def test_health_is_the_last_word_and_its_reason_survives_a_register_of_the_same_health() -> None:
    after = said(web(health=pb.STATUS_HEALTHY)).with_health(report(pb.STATUS_UNHEALTHY, "503"))
    assert after.health[WEB] == (Health.UNHEALTHY, ("503",))
    again = after.with_register(pb.Register(services=[web(health=pb.STATUS_UNHEALTHY)]))
    assert again.health[WEB] == (Health.UNHEALTHY, ("503",))
    well = again.with_register(pb.Register(services=[web(health=pb.STATUS_HEALTHY)]))
    assert well.health[WEB] == (Health.HEALTHY, ())


def test_health_of_an_unknown_service_changes_nothing() -> None:
    before = said(api())
    assert before.with_health(report(pb.STATUS_HEALTHY)) is before


def test_a_drain_deregisters_the_named_and_keeps_them_declared() -> None:
    after = said(web(), api()).without(frozenset({WEB}))
    assert list(after.registered) == [API]
    assert [item.service for item in after.declared] == ["web", "api"]
    assert said(web(), api()).without(frozenset()).registered == {}


def test_services_may_be_named_in_full() -> None:
    full = {"web": "web.default.mesh.internal", "api": "api.default.mesh.internal"}
    before = said(web(), api())
    assert services_named(before, full, ["web.default.mesh.internal"]) == {WEB}
    assert services_named(before, full, ["web", "other"]) == {WEB}


def test_of_two_declarations_of_one_service_the_port_names_one() -> None:
    before = said(web(), service("web", 9090))
    full = {"web": "web.default.mesh.internal"}
    for name in ("web:9090", "web.default.mesh.internal:9090"):
        assert services_named(before, full, [name]) == {("web", "", 9090)}
        assert services_not_declared(before, full, [name]) == ()
    assert services_not_declared(before, full, ["web:7070"]) == ("web:7070",)


def test_what_a_host_declares_stays_its_own_when_it_is_drained() -> None:
    drained = said(web()).without({WEB})
    full = {"web": "web.default.mesh.internal", "gone": "gone.default.mesh.internal"}
    names = ["web", "web.default.mesh.internal", "api", "gone.default.mesh.internal"]
    assert services_not_declared(drained, full, names) == ("api", "gone.default.mesh.internal")


def test_interface_addresses_are_bounded() -> None:
    many = [f"10.0.{number}.1" for number in range(200)]
    after = Registration().with_register(pb.Register(host_addresses=many))
    assert len(after.interfaces) == MAX_ADDRESSES


def test_the_stored_form_reads_back_with_health_and_reasons() -> None:
    before = said(
        web(labels={"version": "v2"}, health=pb.STATUS_HEALTHY), api(declared_only=True)
    ).with_health(report(pb.STATUS_UNHEALTHY, "503"))
    stored = StoredRegistration(
        registration=before, addresses=("10.0.0.4", "fd00::4"), owner="ab", epoch=3
    )
    found = StoredRegistration.from_bytes(stored.to_bytes())
    assert found.registration.registered == {WEB: before.registered[WEB]}
    assert found.registration.health == before.health
    assert before.health[WEB] == (Health.UNHEALTHY, ("503",))
    assert (found.addresses, found.owner, found.epoch) == (("10.0.0.4", "fd00::4"), "ab", 3)


def test_all_that_a_host_s_proxy_is_shown_outlives_a_restart() -> None:
    batch = pb.OutboundIdentity(capture_port=15101, namespace="default", service_account="batch")
    register = pb.Register(services=[web(), api(declared_only=True)], outbound=[batch])
    before = Registration().with_register(register).without({WEB})
    stored = StoredRegistration(registration=before, addresses=(), owner="", epoch=0)
    found = StoredRegistration.from_bytes(stored.to_bytes()).registration
    assert {s.service for s in found.declared} == {"web", "api"}
    assert found.registered == {}, "what is drained or only declared does not count"
    assert found.outbound == (batch,)


def test_what_an_older_version_stored_counts_as_registered() -> None:
    stored = StoredRegistration(registration=said(web()), addresses=(), owner="", epoch=0)
    value = json.loads(stored.to_bytes())
    del value["outbound"], value["services"][0]["registered"]
    found = StoredRegistration.from_bytes(json.dumps(value).encode())
    assert list(found.registration.registered) == [WEB]


def test_a_field_that_a_newer_version_stored_is_ignored() -> None:
    stored = StoredRegistration(registration=said(web()), addresses=(), owner="", epoch=0)
    newer = stored.to_bytes().replace(b'"workload_port"', b'"colour": "red", "workload_port"')
    assert list(StoredRegistration.from_bytes(newer).registration.registered) == [WEB]


def test_upstreams_ports_and_explicit_mode_outlive_a_restart() -> None:
    upstream = pb.Upstream(service="a", port=80, listen_address="::1", listen_port=9081)
    ports = pb.EnvoyPorts(outbound=16001, inbound=16006, status=1, readiness=2, prometheus=3)
    before = Registration().with_register(
        pb.Register(upstreams=[upstream], ports=ports, explicit_mode=True)
    )
    stored = StoredRegistration(registration=before, addresses=(), owner="", epoch=0)
    found = StoredRegistration.from_bytes(stored.to_bytes()).registration
    assert (found.upstreams, found.ports, found.explicit_mode) == ((upstream,), ports, True)


def test_what_an_older_version_stored_has_none_of_them() -> None:
    older = b'{"services": [], "interfaces": [], "addresses": [], "owner": "", "epoch": 0}'
    found = StoredRegistration.from_bytes(older).registration
    assert (found.upstreams, found.ports, found.explicit_mode) == ((), None, False)
