"""The view property (DESIGN 8): a field that is not in a view changes nothing, one in it does."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from hostmesh_controlplane.logic.render import (
    clusters,
    endpoints,
    inbound,
    outbound_listeners,
    routes,
    special,
    upstreams,
    views,
)
from hostmesh_controlplane.logic.scope import InboundPort, Upstream
from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_core.model import InboundMode, Locality, Protocol, ServiceState
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh

KEYS = (EndpointKey.of("10.0.0.1", 80), EndpointKey.of("fd00::1", 80))
LB = views.LbEndpointFacts(KEYS, meshed=True, weight=1, locality=Locality())
PORT = views.InboundPortView(
    mesh.inbound_port(9080), "mesh.internal", ("mesh.internal",), ipv6=True, captured=True
)

UPSTREAM = Upstream("127.0.0.1", 9080, "a.example", 80, Protocol.HTTP)

CASES: dict[str, tuple[Callable[..., bytes], list[Any]]] = {
    # what is rendered: (generator, the values it gets, one of each kind)
    "cluster": (
        clusters.cluster,
        [
            views.ClusterView("default", "mesh.internal", ((15001, mesh.SHOP),)),
            views.ClusterFacts.of(mesh.service("reviews"), 9080, Protocol.HTTP),
        ],
    ),
    "load assignment": (
        endpoints.load_assignment,
        [
            views.EndpointView(v4=True, v6=True, network=""),
            views.EndpointFacts("a.example", 80, mixed=True, endpoints=(LB,)),
        ],
    ),
    "virtual outbound": (
        outbound_listeners.virtual_outbound,
        [views.CaptureView("240.240.0.0/16", "fd48:6d65:7368::/64", ipv6=True, capture_port=15001)],
    ),
    "HTTP listener": (
        lambda view: outbound_listeners.http_listener(view, 80),
        [views.OutboundView("240.240.0.0/16", "fd48:6d65:7368::/64", ipv6=True)],
    ),
    "TCP listener": (
        outbound_listeners.tcp_listener,
        [views.TcpListenerFacts("a.example", 80, "240.240.0.1", "fd48:6d65:7368::1")],
    ),
    "direct listener": (
        outbound_listeners.direct_listener,
        [views.DirectFacts("a.example", 80, KEYS[0], (mesh.spiffe("a"),))],
    ),
    "direct cluster": (
        special.direct,
        [views.DirectView("mesh.internal", ((15001, mesh.SHOP),))],
    ),
    "virtual host": (
        routes.virtual_host,
        [
            views.VirtualHostView(("a.example",), anonymous=True, capture_port=15001),
            views.VirtualHostFacts.of(mesh.service("reviews"), 9080),
        ],
    ),
    "virtual inbound": (
        inbound.virtual_inbound,
        [views.InboundView((PORT,), ipv6=True, capture_port=15006)],
    ),
    "inbound port": (
        lambda view: b"".join(
            (
                *(chain.SerializeToString() for chain in inbound.chains(view, 9080)),
                inbound.cluster(view),
                inbound.route_configuration(view),
                inbound.tcp_policy(view),
            )
        ),
        [PORT],
    ),
    "upstream": (
        lambda view: upstreams.listener(view) + upstreams.route_configuration(view),
        [views.UpstreamView(UPSTREAM, 15001)],
    ),
    "mesh port": (
        inbound.mesh_port_listener,
        [replace(PORT, port=mesh.inbound_port(9080, mesh_port=7000))],
    ),
}

OTHER: dict[str, list[Any]] = {
    # field -> other values, of which one has to show
    "namespace": ["", "elsewhere"],
    "trust_domain": ["other.example"],
    "identities": [((15001, mesh.BATCH),), ()],
    "host": ["other.example"],
    "port": [81],
    "InboundPortView.port": [mesh.inbound_port(9080, mode=InboundMode.STRICT)],
    "protocol": [Protocol.GRPC],
    "state": [ServiceState.MIXED, ServiceState.PLAIN],
    "vip4": ["240.240.9.9"],
    "vip6": ["fd48:6d65:7368::99"],
    "aliases": [("other.example",)],
    "short_name": ["other"],
    "accepted": [(mesh.spiffe("other"),)],
    "InboundPortView.accepted": [("other.example",)],
    "v4": [False],
    "v6": [False],
    "network": ["other"],
    "mixed": [False],
    "endpoints": [(), (replace(LB, weight=2),), (replace(LB, meshed=False),)],
    "vip4_range": ["10.99.0.0/16"],
    "vip6_range": ["fd99::/64"],
    "ipv6": [False],
    "captured": [False],
    "keys": [KEYS[:1]],
    "key": [KEYS[1]],
    "domains": [("other.example",)],
    "anonymous": [False],
    "meshed": [False],
    "ports": [()],
    "capture_port": [16001],
    "upstream": [replace(UPSTREAM, listen="::1")],
}

BY_THE_VIEW = {
    # Fields of the facts by which a view is made, and which the generator itself does not read.
    ("VirtualHostFacts", "namespace"),
    ("VirtualHostFacts", "vip4"),
    ("VirtualHostFacts", "vip6"),
    ("VirtualHostFacts", "aliases"),
    ("VirtualHostFacts", "short_name"),
    ("ClusterFacts", "namespace"),
}


def _fields() -> Iterator[Any]:
    for case, (_, values) in CASES.items():
        for number, value in enumerate(values):
            for field in fields(value):
                if (type(value).__name__, field.name) not in BY_THE_VIEW:
                    name = f"{case}: {type(value).__name__}.{field.name}"
                    yield pytest.param(case, number, field.name, id=name)


@pytest.mark.parametrize(("case", "number", "field"), list(_fields()))
def test_each_field_of_a_view_shows_in_the_bytes(case: str, number: int, field: str) -> None:
    generator, values = CASES[case]
    if case == "load assignment" and field == "network":
        far = replace(LB, keys=(EndpointKey("far", "10.0.0.1", 80),))
        values = [replace(values[0], network="far"), replace(values[1], endpoints=(far,))]
    if case == "load assignment" and field == "mixed":
        values = [values[0], replace(values[1], endpoints=(replace(LB, meshed=False),))]
    if case == "inbound port" and field == "ipv6":
        generator, values = CASES["mesh port"]
    if case == "mesh port" and field == "captured":
        generator, values = CASES["inbound port"]
    before = generator(*values)
    others = OTHER.get(f"{type(values[number]).__name__}.{field}") or OTHER[field]
    changed = [
        generator(
            *values[:number], replace(values[number], **{field: other}), *values[number + 1 :]
        )
        for other in others
    ]
    assert any(each != before for each in changed)


INBOUND_PORT_OTHER: dict[str, Any] = {
    "workload_port": 9999,
    "protocol": Protocol.TCP,
    "service": "other.example",
    "identity": Identity("other", "other"),
    "mode": InboundMode.STRICT,
    "listen": ("127.0.0.1", 9080),
    "mesh_port": 7000,
}


@pytest.mark.parametrize("field", [each.name for each in fields(InboundPort)])
def test_each_field_of_an_inbound_port_shows_or_is_known_not_to(field: str) -> None:
    if field == "service_port":  # clients' business: nothing inbound reads it
        assert _inbound_bytes(mesh.inbound_port(9080, service_port=1)) == _inbound_bytes(
            mesh.inbound_port(9080)
        )
    elif field == "server_first":  # read where the mode allows to inspect nothing
        strict = mesh.inbound_port(9080, mode=InboundMode.STRICT)
        assert _inbound_bytes(replace(strict, server_first=True)) != _inbound_bytes(strict)
    else:
        other = replace(mesh.inbound_port(9080), **{field: INBOUND_PORT_OTHER[field]})
        assert _inbound_bytes(other) != _inbound_bytes(mesh.inbound_port(9080))


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("listen", "::1"),
        ("listen_port", 9081),
        ("service", "other.example"),
        ("service_port", 81),
        ("protocol", Protocol.TCP),
    ],
)
def test_each_field_of_an_upstream_shows(field: str, other: object) -> None:
    assert field in {each.name for each in fields(Upstream)}
    changed: Upstream = replace(UPSTREAM, **{field: other})  # type: ignore[arg-type]
    assert _upstream_bytes(changed) != _upstream_bytes(UPSTREAM)


def _upstream_bytes(upstream: Upstream) -> list[bytes]:
    publication = mesh.published()
    publication.set_inbound(mesh.HOST_ID, replace(mesh.inbound(), upstreams=(upstream,)))
    return [each.body for each in publication.inbound(mesh.HOST_ID).all()]


def _inbound_bytes(port: InboundPort) -> list[bytes]:
    publication = mesh.published()
    publication.set_inbound(mesh.HOST_ID, mesh.inbound(port))
    own = publication.inbound(mesh.HOST_ID)
    return [each.body for each in own.all()]


def test_the_fields_of_the_views_are_known(golden: golden_files.type_golden) -> None:
    """What bytes depend on is widened on purpose only: read the diff of this file."""
    listed = [
        f"{name}: {', '.join(field.name for field in fields(each))}\n"
        for name, each in sorted(vars(views).items())
        if is_dataclass(each) and each.__module__ == views.__name__
    ]
    golden("views.txt", "".join(listed))


def test_a_plain_services_cluster_is_the_same_for_every_identity() -> None:
    plain = views.ClusterFacts.of(
        mesh.service("reviews", state=ServiceState.PLAIN), 9080, Protocol.HTTP
    )
    got = {views.ClusterView.of(each, plain) for each in (mesh.SCOPE, mesh.TWO_IDENTITIES)}
    assert len(got) == 1


def test_a_foreign_namespace_is_the_same_as_any_other_foreign_one() -> None:
    facts = views.ClusterFacts.of(mesh.service("reviews"), 9080, Protocol.HTTP)
    scopes = [replace(mesh.SCOPE, namespace=name) for name in ("x", "y", "")]
    assert len({views.ClusterView.of(scope, facts) for scope in scopes}) == 1


def test_one_service_has_a_workload_port() -> None:
    ports = (
        mesh.inbound_port(80, service="b.example"),
        mesh.inbound_port(80, service="a.example"),
    )
    (view,) = views.InboundPortView.all_of(mesh.inbound(*ports))
    assert view.port.service == "a.example"
