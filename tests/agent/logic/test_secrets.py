"""Secrets as Envoy reads them, decoded by an independent reader too."""

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from hostmesh_agent.logic import secrets
from hostmesh_core import type_urls
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.ids import Identity
from hostmesh_testing import forge
from hostmesh_testing.render_reading import unread

WEB = Identity("default", "web")
ROOT, OTHER = forge.root(), forge.root("b.example.net", name="b")
KEY_PEM = forge.key_pem(forge.key("web"))
CHAIN_PEM = forge.pem(
    forge.certificate(
        uris=["spiffe://mesh.internal/ns/default/sa/web"], private=forge.key("web"), issuer=ROOT
    )
)
BUNDLES = TrustBundles.of({"mesh.internal": [ROOT.der], "b.example.net": [OTHER.der]})


def test_a_certificate_is_one_secret_of_chain_and_key() -> None:
    made = secrets.certificate(WEB, CertificateSet.read(KEY_PEM, CHAIN_PEM))
    assert (made.type_url, made.name) == (type_urls.SECRET, "default:default/web")
    secret = secret_pb2.Secret.FromString(made.body)
    assert secret.tls_certificate.private_key.inline_bytes == KEY_PEM
    assert secret.tls_certificate.certificate_chain.inline_bytes == CHAIN_PEM


def test_each_trust_domain_has_its_own_roots() -> None:
    made = secrets.roots(BUNDLES, "b.example.net")
    assert made.name == "ROOTCA:b.example.net"
    secret = secret_pb2.Secret.FromString(made.body)
    assert secret.validation_context.trusted_ca.inline_bytes == OTHER.pem


def test_an_independent_reader_reads_both() -> None:
    for made in (
        secrets.certificate(WEB, CertificateSet.read(KEY_PEM, CHAIN_PEM)),
        secrets.roots(BUNDLES, "mesh.internal"),
    ):
        assert unread(made.type_url, made.body) == []


def test_the_version_is_that_of_the_content_and_no_repr_shows_a_key() -> None:
    held = CertificateSet.read(KEY_PEM, CHAIN_PEM)
    assert secrets.certificate(WEB, held) == secrets.certificate(WEB, held)
    assert KEY_PEM.splitlines()[1].decode() not in repr(secrets.certificate(WEB, held))
