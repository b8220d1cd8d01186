import pytest

from hostmesh_controlplane.logic import declarations
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity
from hostmesh_core.model import Health

DOMAIN = "mesh.internal"
ONE = Grant(claims=(Claim("shop", "front", "web"),))
TWO = Grant(claims=(Claim("shop", "web", "web"), Claim("shop", "api", "api")))
MANY = Grant(claims=(Claim("shop", "web", "web"), Claim("back", "api", "api")))


def read(grant: Grant = ONE, **fields: object) -> declarations.Declaration:
    message = pb.ServiceRegistration(**{"service": "web", "workload_port": 8080, **fields})  # type: ignore[arg-type]
    return declarations.read(message, grant, mesh_domain=DOMAIN)


@pytest.mark.parametrize(
    ("grant", "fields", "host", "short", "identity"),
    [
        pytest.param(ONE, {}, "web.shop.mesh.internal", "web", "shop/front", id="the only one"),
        pytest.param(
            ONE,
            {"service": "web.shop.mesh.internal"},
            "web.shop.mesh.internal",
            "web",
            "shop/front",
            id="a full name of the mesh is granted by its short one",
        ),
        pytest.param(
            TWO,
            {},
            "web.shop.mesh.internal",
            "web",
            "shop/web",
            id="several accounts: the one of the service's name",
        ),
        pytest.param(
            MANY,
            {"namespace": "back", "service": "api"},
            "api.back.mesh.internal",
            "api",
            "back/api",
            id="a stated namespace",
        ),
        pytest.param(
            ONE,
            {"service": "db.corp.example"},
            "db.corp.example",
            "db.corp.example",
            "shop/front",
            id="a name of another domain is granted in full",
        ),
        pytest.param(
            ONE,
            {"service": "web.other.mesh.internal", "service_account": "x"},
            "web.other.mesh.internal",
            "web",
            "other/x",
            id="a full name says its own namespace",
        ),
    ],
)
def test_names_are_completed_from_the_grant(
    grant: Grant, fields: dict[str, object], host: str, short: str, identity: str
) -> None:
    found = read(grant, **fields)
    assert (found.host, found.short) == (host, short)
    assert found.identity == Identity.parse(identity)


def test_ports_that_are_left_out_are_the_app_s_own() -> None:
    found = read()
    assert (found.port, found.endpoint_port, found.workload_port) == (8080, 8080, 8080)


def test_a_namespace_that_nobody_states_is_asked_for() -> None:
    with pytest.raises(BadInput, match=r"cannot tell the namespace of web.*services\[\].namespace"):
        read(MANY)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        pytest.param("127.0.0.1:8080", ("127.0.0.1", 8080), id="IPv4"),
        pytest.param("[::1]:8080", ("::1", 8080), id="IPv6"),
        pytest.param("", None, id="none"),
    ],
)
def test_a_listen_address_is_read(listen: str, expected: tuple[str, int] | None) -> None:
    assert read(listen=listen).listen == expected


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:x"])
def test_a_listen_address_without_a_port_is_refused(listen: str) -> None:
    with pytest.raises(BadInput, match="cannot use"):
        read(listen=listen)


@pytest.mark.parametrize("field", ["region", "zone", "network"])
def test_texts_are_bounded(field: str) -> None:
    with pytest.raises(BadInput, match=field):
        read(ONE, **{field: "x" * 254})


@pytest.mark.parametrize(
    ("status", "reason", "health", "reasons"),
    [
        pytest.param(pb.STATUS_HEALTHY, "ignored", Health.HEALTHY, (), id="healthy"),
        pytest.param(pb.STATUS_UNHEALTHY, "503", Health.UNHEALTHY, ("503",), id="unhealthy"),
        pytest.param(
            pb.STATUS_UNHEALTHY, "", Health.UNHEALTHY, ("its host says so",), id="without a reason"
        ),
        pytest.param(
            pb.STATUS_NOT_CAPTURED,
            "Envoy is gone",
            Health.UNHEALTHY,
            ("not captured: Envoy is gone",),
            id="not captured",
        ),
        pytest.param(pb.STATUS_NOT_CAPTURED, "", Health.UNHEALTHY, ("not captured",), id="bare"),
        pytest.param(
            pb.STATUS_UNSPECIFIED, "", Health.UNHEALTHY, ("not checked yet",), id="nothing said"
        ),
    ],
)
def test_health_is_what_the_host_says_and_unhealthy_until_it_does(
    status: pb.Status, reason: str, health: Health, reasons: tuple[str, ...]
) -> None:
    assert declarations.health_of(status, reason) == (health, reasons)


def test_a_reason_is_bounded_and_stays_in_its_line() -> None:
    said = "refused\n10.9.9.9:1  8080  healthy\x1b[8m" + "x" * 10_000
    for status in (pb.STATUS_UNHEALTHY, pb.STATUS_NOT_CAPTURED):
        _, (reason,) = declarations.health_of(status, said)
        assert "refused?10.9.9.9:1  8080  healthy?[8mxxx" in reason
        assert len(reason) <= declarations.MAX_TEXT + len(f"{declarations.NOT_CAPTURED}: …")
