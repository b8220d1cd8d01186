"""Certificates and requests of every kind, true and forged: for tests of who is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NOW = 1_800_000_000.0
HOUR = 3600.0


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Give the P-256 key of this name: the same one each time."""
    del name
    return ec.generate_private_key(ec.SECP256R1())  # noqa: TID251


def key_pem(private: PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki(private: PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Issuer:
    """Who signs: a certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def certificate(
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    issuer: Issuer | None = None,
    authority: bool = False,
    path_length: int | None = None,
    life: tuple[float, float] = (NOW - HOUR, NOW + HOUR),
    private: PrivateKey | None = None,
    name: str = "forged",
    usages: Sequence[x509.ObjectIdentifier] | None = None,
) -> x509.Certificate:
    """Make a certificate; self-signed without an issuer."""
    own = private or key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else own
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
    if usages is None:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder()  # noqa: TID251
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(life[0], UTC))
        .not_valid_after(datetime.fromtimestamp(life[1], UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(_usage(authority), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if not authority and usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm)


def bare_certificate() -> x509.Certificate:
    """Make a certificate that has no extension at all."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])
    own = key("bare")
    return (
        x509.CertificateBuilder()  # noqa: TID251
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + HOUR, UTC))
        .sign(own, hashes.SHA256())
    )


def root(trust_domain: str = "mesh.internal", *, name: str = "root") -> Issuer:
    """Make a root that states a trust domain."""
    made = certificate(uris=[f"spiffe://{trust_domain}"], authority=True, path_length=1, name=name)
    return Issuer(made, key(name))


def intermediate(by: Issuer, *, name: str = "intermediate") -> Issuer:
    made = certificate(issuer=by, authority=True, path_length=0, name=name)
    return Issuer(made, key(name))


def request(
    private: PrivateKey | None = None,
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    subject: str = "",
) -> x509.CertificateSigningRequest:
    """Make a certificate request that asks for whatever it likes."""
    own = private or key("request")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(  # noqa: TID251
        x509.Name(attributes)
    )
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    algorithm = None if isinstance(own, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(own, algorithm)


def der(made: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return made.public_bytes(Encoding.DER)


def pem(made: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return made.public_bytes(Encoding.PEM)


def _usage(authority: bool) -> x509.KeyUsage:  # noqa: FBT001
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
