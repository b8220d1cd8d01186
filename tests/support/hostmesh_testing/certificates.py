"""Certificates for tests: a root, and leaves with a SPIFFE id or a DNS name, made on the spot."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key and its chain, as PEM."""

    key_pem: bytes
    chain_pem: bytes
    serial: int


@dataclass(frozen=True)
class Authority:
    """A self-signed root of one trust domain."""

    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def leaf(
        self,
        *,
        uris: tuple[str, ...] = (),
        dns: tuple[str, ...] = (),
        life: timedelta = timedelta(hours=1),
    ) -> Leaf:
        """Issue a leaf for these names that ends `life` from now."""
        key = ec.generate_private_key(ec.SECP256R1())  # noqa: TID251
        now = datetime.now(UTC)  # noqa: TID251
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names_dns = [x509.DNSName(name) for name in dns]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder()  # noqa: TID251
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test leaf")]))
            .issuer_name(self.root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + life)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names or names_dns:
            alternatives = x509.SubjectAlternativeName([*names, *names_dns])
            builder = builder.add_extension(alternatives, critical=True)
        certificate = builder.sign(self.key, hashes.SHA256())
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Leaf(
            key_pem,
            certificate.public_bytes(serialization.Encoding.PEM),
            certificate.serial_number,
        )


def authority(trust_domain: str = "mesh.internal") -> Authority:
    """Make a root with the trust domain as its one URI name."""
    key = ec.generate_private_key(ec.SECP256R1())  # noqa: TID251
    now = datetime.now(UTC)  # noqa: TID251
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
    root = (
        x509.CertificateBuilder()  # noqa: TID251
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(key, root)
