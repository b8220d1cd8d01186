"""A private key with its certificate chain: the unit that is stored, served and replaced."""

from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from hostmesh_core import x509
from hostmesh_core.errors import BadInput
from hostmesh_core.x509 import CertificateFacts


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """Key and chain that belong together. Its repr never shows the key."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    """Leaf first, without the root."""
    facts: CertificateFacts

    @classmethod
    def read(cls, key_pem: bytes, chain_pem: bytes) -> Self:
        """Read both and check that they belong together. Raises BadInput, never with the key."""
        chain = x509.load_pem_chain(chain_pem)
        try:
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise BadInput("cannot read a private key: it is no unencrypted PEM key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise BadInput("cannot use a private key: expected a P-256 key")
        own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        certified = chain[0].public_key()
        stated = certified.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if own != stated:
            raise BadInput("cannot use a certificate: it was issued for another key")
        return cls(key_pem, chain_pem, x509.facts_of(chain[0]))
