"""Transport sockets: who is spoken to with which certificate, and never plaintext by accident.

Secrets are named only; the agent's relay answers them (DESIGN 8). SANs are matched exactly.
Sessions are never resumed: a resumed one would skip the verification that a revocation, a new
root or a renewed certificate must go through.
"""

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from hostmesh_controlplane.logic.render.encoding import ads, packed
from hostmesh_core import names
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.model import Protocol

TLS_SOCKET = "envoy.transport_sockets.tls"
RAW_SOCKET = "envoy.transport_sockets.raw_buffer"

MESH_TCP_ALPN = ("istio", "istio-peer-exchange")
MESH_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""Compared as literals by Envoy: `istio-http/*` is no pattern and never matches (measured)."""
MESH_ALPN = MESH_TCP_ALPN + MESH_HTTP_ALPN

_SERVER_HTTP_ALPN = ("h2", "http/1.1")
"""Never `istio`: it would win over h2 and break the negotiation of HTTP/2."""

_NOBODY = SpiffeId("nobody.invalid", "/nobody")


def client_alpn(protocol: Protocol) -> tuple[str, ...]:
    """Give what a client offers: the mesh's own value first, then the standard one."""
    match protocol:
        case Protocol.HTTP:
            return ("istio-http/1.1", "http/1.1")
        case Protocol.HTTP2 | Protocol.GRPC:
            return ("istio-h2", "h2")
        case Protocol.HTTPS | Protocol.TCP:
            return ("istio",)


def plaintext() -> Any:
    """Give the socket without TLS."""
    return base_pb2.TransportSocket(
        name=RAW_SOCKET, typed_config=packed(raw_buffer_pb2.RawBuffer())
    )


def client_socket(
    *,
    identity: Identity | None,
    trust_domain: str,
    accepted: Iterable[Any],
    alpn: tuple[str, ...],
    sni: str = "",
) -> Any:
    """Give a client's TLS socket. Without an identity it shows no certificate, and is refused."""
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=_tls_context(identity, trust_domain, accepted, alpn), sni=sni
    )
    context.max_session_keys.value = 0
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def server_socket(
    *, identity: Identity, trust_domain: str, accepted: tuple[str, ...], http: bool
) -> Any:
    """Give an inbound port's TLS socket: any workload of the accepted trust domains may come."""
    sans = [any_workload(domain) for domain in accepted]
    alpn = _SERVER_HTTP_ALPN if http else ()
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_tls_context(identity, trust_domain, sans, alpn),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    context.require_client_certificate.value = True
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def exactly(ids: Iterable[SpiffeId]) -> list[Any]:
    """Give one matcher per accepted id."""
    uris = accepted_uris(ids)
    return [_san(string_pb2.StringMatcher(exact=uri)) for uri in uris]


def accepted_uris(ids: Iterable[SpiffeId]) -> list[str]:
    """Give the accepted ids as texts; where there is none, one that nobody can have.

    An empty list would accept every certificate of the trust domain.
    """
    uris = [str(spiffe_id) for spiffe_id in ids]
    return uris or [str(_NOBODY)]


def any_workload(trust_domain: str) -> Any:
    """Match every workload of a trust domain, and no host certificate."""
    return _san(string_pb2.StringMatcher(prefix=f"spiffe://{trust_domain}/ns/"))


def _san(matcher: Any) -> Any:
    return common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=matcher
    )


def _tls_context(
    identity: Identity | None, trust_domain: str, sans: Iterable[Any], alpn: tuple[str, ...]
) -> Any:
    context = tls_pb2.CommonTlsContext(alpn_protocols=alpn)
    context.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    context.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    if identity is not None:
        context.tls_certificate_sds_secret_configs.append(
            _secret(names.certificate_secret(identity))
        )
    combined = context.combined_validation_context
    combined.default_validation_context.match_typed_subject_alt_names.extend(sans)
    combined.validation_context_sds_secret_config.CopyFrom(_secret(names.root_secret(trust_domain)))
    return context


def _secret(name: str) -> Any:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=ads())
