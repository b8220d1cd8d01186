from typing import Any

from hostmesh_controlplane.logic.render import tls
from hostmesh_core.ids import Identity
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message


def read(socket: Any) -> Any:
    return message(socket.typed_config.type_url, socket.typed_config.value)


def client(identity: Identity | None) -> Any:
    return read(
        tls.client_socket(
            identity=identity,
            trust_domain="mesh.internal",
            accepted=tls.exactly([mesh.spiffe("reviews")]),
            alpn=("istio",),
            sni="outbound_.1_._.a",
        )
    )


def server(*, http: bool) -> Any:
    return read(
        tls.server_socket(
            identity=mesh.SHOP,
            trust_domain="mesh.internal",
            accepted=("mesh.internal", "other.example"),
            http=http,
        )
    )


def sans(context: Any) -> list[str]:
    combined = context.common_tls_context.combined_validation_context
    return [
        each.matcher.exact or f"{each.matcher.prefix}*"
        for each in combined.default_validation_context.match_typed_subject_alt_names
    ]


def test_secrets_are_named_and_come_over_ads() -> None:
    context = client(mesh.SHOP).common_tls_context
    (certificate,) = context.tls_certificate_sds_secret_configs
    roots = context.combined_validation_context.validation_context_sds_secret_config
    assert (certificate.name, roots.name) == ("default:default/shop", "ROOTCA:mesh.internal")
    for secret in (certificate, roots):
        assert secret.sds_config.WhichOneof("config_source_specifier") == "ads"


def test_a_client_accepts_exactly_the_services_ids() -> None:
    assert sans(client(mesh.SHOP)) == ["spiffe://mesh.internal/ns/default/sa/reviews"]


def test_without_ids_nobody_is_accepted_rather_than_everybody() -> None:
    assert tls.accepted_uris([]) == ["spiffe://nobody.invalid/nobody"]


def test_without_an_identity_no_certificate_is_shown() -> None:
    assert not client(None).common_tls_context.tls_certificate_sds_secret_configs


def test_a_server_takes_workloads_and_no_host_certificates() -> None:
    context = server(http=True)
    assert context.require_client_certificate.value
    assert sans(context) == ["spiffe://mesh.internal/ns/*", "spiffe://other.example/ns/*"]


def test_a_server_offers_no_alpn_of_the_meshs_own() -> None:
    assert list(server(http=True).common_tls_context.alpn_protocols) == ["h2", "http/1.1"]
    assert list(server(http=False).common_tls_context.alpn_protocols) == []


def test_sessions_are_never_resumed() -> None:
    context = server(http=True)
    assert context.disable_stateless_session_resumption
    assert context.disable_stateful_session_resumption
    assert client(mesh.SHOP).HasField("max_session_keys")
    assert client(mesh.SHOP).max_session_keys.value == 0


def test_plaintext_is_a_socket_of_its_own() -> None:
    assert tls.plaintext().name == "envoy.transport_sockets.raw_buffer"
