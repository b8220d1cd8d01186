"""Certificates and roots as the Secret resources that Envoy asks for (SDS)."""

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from hostmesh_core import names, type_urls
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.ids import Identity
from hostmesh_core.xds.resource import Resource, resource


def certificate(identity: Identity, held: CertificateSet) -> Resource:
    """Give the secret `default:<identity>`: chain and key, inline, so that they reach memory alone.

    Key and chain are in one message, so Envoy never sees one without the other.
    """
    secret = secret_pb2.Secret(name=names.certificate_secret(identity))
    secret.tls_certificate.certificate_chain.inline_bytes = held.chain_pem
    secret.tls_certificate.private_key.inline_bytes = held.key_pem
    return _resource(secret)


def roots(bundles: TrustBundles, trust_domain: str) -> Resource:
    """Give the secret `ROOTCA:<trust domain>`: the roots that verify its workloads."""
    secret = secret_pb2.Secret(name=names.root_secret(trust_domain))
    secret.validation_context.trusted_ca.inline_bytes = bundles.roots_pem(trust_domain)
    return _resource(secret)


def _resource(secret: secret_pb2.Secret) -> Resource:
    body = secret.SerializeToString(deterministic=True)
    return resource(type_urls.SECRET, secret.name, body)
