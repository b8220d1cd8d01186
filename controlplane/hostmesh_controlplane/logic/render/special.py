"""Clusters of no service: nowhere, wherever it was going, and that very instance."""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from hostmesh_controlplane.logic.render import tls, unchanged
from hostmesh_controlplane.logic.render.clusters import (
    HTTP_OPTIONS,
    Sockets,
    set_identity_sockets,
    survive_vanishing_hosts,
    unlimited,
)
from hostmesh_controlplane.logic.render.encoding import encode, packed, seconds
from hostmesh_controlplane.logic.render.views import DirectView
from hostmesh_core import names
from hostmesh_core.model import Protocol


def black_hole() -> bytes:
    """Render the cluster without endpoints: what is sent there is closed."""
    return encode(
        cluster_pb2.Cluster(
            name=names.BLACK_HOLE_CLUSTER,
            type=cluster_pb2.Cluster.STATIC,
            connect_timeout=seconds(10),
        )
    )


def passthrough() -> bytes:
    """Render the cluster that leads where the client was going, as if there were no mesh."""
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=unchanged.limits(of_answers=True)
    )
    options.use_downstream_protocol_config.http_protocol_options.CopyFrom(unchanged.http1())
    options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    rendered = cluster_pb2.Cluster(
        name=names.PASSTHROUGH_CLUSTER,
        type=cluster_pb2.Cluster.ORIGINAL_DST,
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        connect_timeout=seconds(10),
        circuit_breakers=unlimited(),
    )
    rendered.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))
    return encode(rendered)


def direct(view: DirectView) -> bytes:
    """Render the cluster that leads to the registered instance whose own address was dialled.

    One for all services: which SPIFFE ids are accepted and which SNI is sent comes with each
    connection, as filter state that the instance's listener sets. Envoy asks for both matches, so
    a connection without that state still reaches workloads of the trust domain only.
    """
    rendered = cluster_pb2.Cluster(
        name=names.DIRECT_CLUSTER,
        type=cluster_pb2.Cluster.ORIGINAL_DST,
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        circuit_breakers=unlimited(),
    )
    survive_vanishing_hosts(rendered)
    rendered.ClearField("outlier_detection")  # there is no other instance to choose
    sockets = Sockets(
        trust_domain=view.trust_domain,
        accepted=[tls.any_workload(view.trust_domain)],
        alpn=tls.client_alpn(Protocol.TCP),
    )
    if view.identities:
        chosen = set_identity_sockets(rendered, view.identities, sockets)
        rendered.transport_socket_matcher.CopyFrom(chosen.matcher)
    else:
        rendered.transport_socket.CopyFrom(sockets.client(None))
    return encode(rendered)
