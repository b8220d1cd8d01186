"""Certificates and requests as values: read, identified, verified. Nothing is made or signed here.

Spec: X.509-SVID (one URI SAN that is the SPIFFE id, CA bit tells signers from leaves), RFC 5280.
Chain validation itself is cryptography's; this module says which profile is asked of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification

from hostmesh_core.errors import BadInput
from hostmesh_core.ids import SpiffeId

MAX_PEM_BYTES = 64 * 1024
MAX_CSR_BYTES = 4 * 1024
_MAX_INTERMEDIATES = 3
E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What the mesh asks of a certificate."""

    spiffe_id: SpiffeId
    serial: str
    """Lower-case hexadecimal, without leading zeros."""
    not_before: float
    not_after: float
    """Seconds since the epoch."""
    is_authority: bool
    key_sha256: str
    """SHA-256 of the SubjectPublicKeyInfo, hexadecimal."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a certificate request proves: possession of one key. Its names are not even read."""

    key_spki: bytes
    """The P-256 public key as SubjectPublicKeyInfo, DER."""

    @property
    def key_sha256(self) -> str:
        """Give the key's SHA-256, hexadecimal."""
        return hashlib.sha256(self.key_spki).hexdigest()


def load_pem_chain(text: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates in the order they stand. Raises BadInput where there are none."""
    if len(text) > MAX_PEM_BYTES:
        raise BadInput(f"cannot read certificates: over {MAX_PEM_BYTES} bytes of PEM")
    try:
        return tuple(x509.load_pem_x509_certificates(text))
    except ValueError as error:
        raise BadInput(f"cannot read certificates: {error}") from error


def load_der(der: bytes) -> x509.Certificate:
    """Read one certificate. Raises BadInput."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise BadInput(f"cannot read a certificate: {error}") from error


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Write certificates one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def to_der(certificate: x509.Certificate) -> bytes:
    """Write one certificate."""
    return certificate.public_bytes(Encoding.DER)


def spki_sha256(certificate: x509.Certificate) -> str:
    """Give the SHA-256 of the certificate's SubjectPublicKeyInfo: what a token pins.

    Raises BadInput for a kind of key that this machine cannot read.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"cannot read a certificate's key: {error}") from error
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """Give the one URI SAN as a SPIFFE id. Raises BadInput for none, several or another scheme."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if len(uris) != 1:
        raise BadInput(f"cannot use a certificate with {len(uris)} URI names: expected exactly one")
    return SpiffeId.parse(uris[0])


def dns_names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Give the DNS SANs: empty in every leaf but a control plane's."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    return tuple(names.get_values_for_type(x509.DNSName)) if names else ()


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate may sign others."""
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """Give an extension's value, or None. Raises BadInput where they cannot be read at all."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise BadInput(f"cannot read a certificate's extensions: {error}") from error


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """Give what the mesh asks of a certificate. Raises BadInput where it has no SPIFFE id."""
    return CertificateFacts(
        spiffe_id=spiffe_id_of(certificate),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        is_authority=is_authority(certificate),
        key_sha256=spki_sha256(certificate),
    )


def trust_domain_of_root(root: x509.Certificate) -> str:
    """Give the trust domain that a root states by its single URI SAN `spiffe://<td>`.

    Raises BadInput for a certificate that is no authority or states a path.
    """
    if not is_authority(root):
        raise BadInput("cannot use a certificate as root: it is not an authority's")
    spiffe_id = spiffe_id_of(root)
    if spiffe_id.path:
        raise BadInput(f"cannot use a certificate as root: {spiffe_id} names no trust domain")
    return spiffe_id.trust_domain


def find_pinned(certificates: Sequence[x509.Certificate], pin: str) -> x509.Certificate | None:
    """Give the first certificate whose key has the pinned SHA-256; all others do not count."""
    return next((c for c in certificates if _has_pin(c, pin)), None)


def _has_pin(certificate: x509.Certificate, pin: str) -> bool:
    try:
        return spki_sha256(certificate) == pin
    except BadInput:
        return False  # among roots that nobody vouches for there may be anything


def verify_chain(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, now: float
) -> CertificateFacts:
    """Verify a leaf-first chain to one of `roots` at `now` and give the leaf's facts.

    Asks for: signatures, validity of every link, CA bit and path lengths, clientAuth, exactly one
    URI name, and a leaf that is no authority. Raises BadInput with the reason.
    """
    if not chain or not roots:
        raise BadInput("cannot verify a certificate: its chain or the trusted roots are empty")
    leaf, *intermediates = chain
    if is_authority(leaf):
        raise BadInput("cannot use an authority's certificate as a leaf")
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(roots)))
        .time(datetime.fromtimestamp(now, UTC))
        .max_chain_depth(_MAX_INTERMEDIATES)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, intermediates)
    except verification.VerificationError as error:
        raise BadInput(f"cannot verify a certificate: {error}") from error
    return facts_of(leaf)


def read_request(der: bytes) -> RequestFacts:
    """Read a certificate request (PKCS#10, DER) that proves possession of a P-256 key.

    Whatever names it asks for are ignored: the authority decides from its own records.
    Raises BadInput for another kind of key, a bad signature or unreadable bytes.
    """
    if len(der) > MAX_CSR_BYTES:
        raise BadInput(f"cannot read a certificate request: over {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"cannot read a certificate request: {error}") from error
    return _proven(request, key)


def read_pem_request(text: bytes) -> RequestFacts:
    """Read a certificate request in PEM; as `read_request`."""
    if len(text) > 2 * MAX_CSR_BYTES:
        raise BadInput(f"cannot read a certificate request: over {2 * MAX_CSR_BYTES} bytes of PEM")
    try:
        request = x509.load_pem_x509_csr(text)
    except ValueError as error:
        raise BadInput(f"cannot read a certificate request: {error}") from error
    return read_request(request.public_bytes(Encoding.DER))


def _proven(request: x509.CertificateSigningRequest, key: object) -> RequestFacts:
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise BadInput("cannot use the key of a certificate request: expected a P-256 key")
    if not request.is_signature_valid:
        raise BadInput("cannot use a certificate request: it is not signed by its own key")
    return RequestFacts(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
