"""Outbound clusters: how a client reaches one port of a service.

The state of the service decides the transport (DESIGN 5): plain = as its catalog says; mesh = TLS
only, whatever an endpoint's metadata says; mixed = each endpoint states its mode, and one that
states none gets a TLS socket without a certificate: refused, never plaintext.
"""

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import socket_option_pb2
from envoy.extensions.matching.common_inputs.transport_socket.v3 import (
    transport_socket_inputs_pb2 as socket_inputs_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from hostmesh_controlplane.logic.render import tls, unchanged
from hostmesh_controlplane.logic.render.encoding import (
    UNLIMITED,
    ads,
    encode,
    own_metadata,
    packed,
    seconds,
)
from hostmesh_controlplane.logic.render.views import ClusterFacts, ClusterView, Identities
from hostmesh_core import names
from hostmesh_core.ids import Identity
from hostmesh_core.model import Protocol, ServiceState

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_MESH_CONNECT_SECONDS = 5.0
"""For TCP and TLS together, so this ends handshakes of hosts that are merely slow: starved ones,
whose kernels still acknowledge at once. It is there for an Envoy that hangs, and shorter than what
its own host needs to find that out (`envoy_silence`). A host that vanished acknowledges nothing and
is told by the kernel: see below."""
_PLAIN_CONNECT_SECONDS = 10.0
"""Istio's. What the mesh does not know may be far away."""
_USER_TIMEOUT_MS = 1000
"""TCP_USER_TIMEOUT: bytes that stay unacknowledged this long end the connection, a SYN too: at the
first retransmission, 1.02 s after it. That one comes after 1 s whatever is set here (measured with
0.3 and 0.5 s), so that nothing is won by less; data ends after 1.44 s."""
_MIXED_CONNECTION_SECONDS = 600.0
"""A plaintext pool must not outlive the endpoint's registration by more than this."""
_IPPROTO_TCP = 6
_TCP_USER_TIMEOUT = 18


def cluster(view: ClusterView, facts: ClusterFacts) -> bytes:
    """Render the cluster of one port of a service."""
    rendered = cluster_pb2.Cluster(
        name=names.outbound_cluster(facts.host, facts.port),
        type=cluster_pb2.Cluster.EDS,
        lb_policy=_lb_policy(facts.state),
        connect_timeout=seconds(_PLAIN_CONNECT_SECONDS),
        circuit_breakers=unlimited(),
        metadata=own_metadata(_described(view, facts)),
    )
    rendered.eds_cluster_config.eds_config.CopyFrom(ads(wait_for_ever=True))
    # Unhealthy endpoints are not sent at all, so there is nothing to panic about.
    rendered.common_lb_config.healthy_panic_threshold.SetInParent()
    # By default Envoy gathers changes of weight and metadata for a second: too late for a mode.
    rendered.common_lb_config.update_merge_window.SetInParent()
    _set_http_options(rendered, facts)
    if facts.state is not ServiceState.PLAIN:
        survive_vanishing_hosts(rendered)
        _set_sockets(rendered, view, facts)
    return encode(rendered)


def _lb_policy(state: ServiceState) -> Any:
    """Balance as Istio does, by outstanding requests, but for a mixed service.

    There the way to an instance in the mesh is longer than to one that is reached in plaintext, so
    that it would lose a part of its share by joining; by turns each keeps what its weight says.
    """
    if state is ServiceState.MIXED:
        return cluster_pb2.Cluster.ROUND_ROBIN
    return cluster_pb2.Cluster.LEAST_REQUEST


def unlimited() -> Any:
    """Raise the circuit breakers as Istio does: three concurrent retries lose requests."""
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    for field in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        getattr(thresholds, field).value = UNLIMITED
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def survive_vanishing_hosts(rendered: Any) -> None:
    """Set what a host that says nothing any more is noticed by (DESIGN 9)."""
    rendered.connect_timeout.CopyFrom(seconds(_MESH_CONNECT_SECONDS))
    rendered.upstream_bind_config.socket_options.append(
        socket_option_pb2.SocketOption(
            description="TCP_USER_TIMEOUT",
            level=_IPPROTO_TCP,
            name=_TCP_USER_TIMEOUT,
            int_value=_USER_TIMEOUT_MS,
        )
    )
    rendered.outlier_detection.CopyFrom(_outliers())


def set_identity_sockets(rendered: Any, identities: Identities, sockets: "Sockets") -> Any:
    """Add one TLS socket per identity and one without, and give the matcher that chooses.

    The filter state says by which capture port the connection came, hence whose it is.
    """
    wanted = dict.fromkeys(identity for _, identity in identities)
    for identity in (*wanted, None):
        rendered.transport_socket_matches.append(
            cluster_pb2.Cluster.TransportSocketMatch(
                name=_socket_name(identity), transport_socket=sockets.client(identity)
            )
        )
    nobody = use_socket(names.NO_IDENTITY_SOCKET)
    if not identities:
        return nobody
    by_port = {str(port): use_socket(_socket_name(identity)) for port, identity in identities}
    key = socket_inputs_pb2.FilterStateInput(key=names.IDENTITY_FILTER_STATE)
    return matcher_pb2.Matcher.OnMatch(matcher=_exact("identity", key, by_port, nobody))


class Sockets:
    """The TLS sockets of one cluster: all alike but for the certificate that is shown."""

    def __init__(
        self, *, trust_domain: str, accepted: list[Any], alpn: tuple[str, ...], sni: str = ""
    ) -> None:
        """Take what they share."""
        self._trust_domain = trust_domain
        self._accepted = accepted
        self._alpn = alpn
        self._sni = sni

    def client(self, identity: Identity | None) -> Any:
        """Give the socket of one identity, or of none."""
        return tls.client_socket(
            identity=identity,
            trust_domain=self._trust_domain,
            accepted=self._accepted,
            alpn=self._alpn,
            sni=self._sni,
        )


def use_socket(name: str) -> Any:
    """Give the matcher's action that chooses a socket by name."""
    action = socket_inputs_pb2.TransportSocketNameAction(name=name)
    return matcher_pb2.Matcher.OnMatch(
        action=extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(action))
    )


def _socket_name(identity: Identity | None) -> str:
    return names.NO_IDENTITY_SOCKET if identity is None else names.identity_socket(identity)


def _described(view: ClusterView, facts: ClusterFacts) -> dict[str, Any]:
    local = (facts.short_name,) if facts.short_name and view.namespace else ()
    return {
        "host": facts.host,
        "port": facts.port,
        "protocol": facts.protocol.value,
        "vip4": facts.vip4,
        "vip6": facts.vip6,
        "names": [facts.host, *facts.aliases, *local],
    }


def _set_http_options(rendered: Any, facts: ClusterFacts) -> None:
    if not facts.protocol.is_http:
        return
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=unchanged.limits(of_answers=True)
    )
    if facts.protocol is Protocol.HTTP:
        options.explicit_http_config.http_protocol_options.CopyFrom(unchanged.http1())
    else:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    if facts.state is ServiceState.MIXED:
        longest = seconds(_MIXED_CONNECTION_SECONDS)
        options.common_http_protocol_options.max_connection_duration.CopyFrom(longest)
    rendered.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))


def _set_sockets(rendered: Any, view: ClusterView, facts: ClusterFacts) -> None:
    sockets = Sockets(
        trust_domain=view.trust_domain,
        accepted=tls.exactly(facts.accepted),
        alpn=tls.client_alpn(facts.protocol),
        sni=names.sni(facts.host, facts.port),
    )
    if facts.state is ServiceState.MESH and not view.identities:
        rendered.transport_socket.CopyFrom(sockets.client(None))
        return
    meshed = set_identity_sockets(rendered, view.identities, sockets)
    if facts.state is ServiceState.MESH:
        rendered.transport_socket_matcher.CopyFrom(meshed.matcher)
        return
    rendered.transport_socket_matches.append(
        cluster_pb2.Cluster.TransportSocketMatch(
            name=names.PLAINTEXT_SOCKET, transport_socket=tls.plaintext()
        )
    )
    mode = socket_inputs_pb2.EndpointMetadataInput(
        filter=names.TLS_MODE_METADATA,
        path=[socket_inputs_pb2.EndpointMetadataInput.PathSegment(key=names.TLS_MODE_KEY)],
    )
    by_mode = {
        names.TLS_MODE_MESH: meshed,
        names.TLS_MODE_PLAIN: use_socket(names.PLAINTEXT_SOCKET),
    }
    nobody = use_socket(names.NO_IDENTITY_SOCKET)
    rendered.transport_socket_matcher.CopyFrom(_exact("mode", mode, by_mode, nobody))


def _exact(name: str, source: Any, by_value: dict[str, Any], otherwise: Any) -> Any:
    tree = matcher_pb2.Matcher.MatcherTree(
        input=extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(source)),
        exact_match_map=matcher_pb2.Matcher.MatcherTree.MatchMap(map=by_value),
    )
    return matcher_pb2.Matcher(matcher_tree=tree, on_no_match=otherwise)


def _outliers() -> Any:
    """Eject on what the connection itself says: 2 failures in 0.5 s intervals, at most half."""
    found = outlier_detection_pb2.OutlierDetection(
        interval=seconds(0.5),
        base_ejection_time=seconds(5),
        max_ejection_time=seconds(30),
        split_external_local_origin_errors=True,
    )
    found.max_ejection_percent.value = 50
    found.consecutive_local_origin_failure.value = 2
    found.enforcing_consecutive_local_origin_failure.value = 100
    # An app's own 5xx is an answer, not a vanished host.
    for field in (
        "enforcing_consecutive_5xx",
        "enforcing_consecutive_gateway_failure",
        "enforcing_success_rate",
        "enforcing_local_origin_success_rate",
        "enforcing_failure_percentage",
    ):
        getattr(found, field).SetInParent()
    return found
