"""Makes private keys and certificate requests: the only place of the agent that does.

A key is made here, on the host, and never leaves it; a request carries its public half and proves
possession. It states no name: the control plane decides names from its own records.
"""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class KeyAndRequest:
    """A new key and the request for its certificate. Its repr never shows the key."""

    key_pem: bytes = field(repr=False)
    """PKCS#8, unencrypted: it lies in a 0600 file or in memory."""
    csr_der: bytes
    csr_pem: bytes


def new_key() -> KeyAndRequest:
    """Make a P-256 key and a request for it."""
    key = ec.generate_private_key(ec.SECP256R1())  # noqa: TID251 (the one edge that makes keys)
    request = (
        x509.CertificateSigningRequestBuilder()  # noqa: TID251 (the one edge that signs requests)
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyAndRequest(
        key_pem,
        request.public_bytes(serialization.Encoding.DER),
        request.public_bytes(serialization.Encoding.PEM),
    )
