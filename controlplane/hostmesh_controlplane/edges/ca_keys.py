"""The embedded authority: its keys on disk, and the signer. The only place that signs anything.

At first start a root and an intermediate are made, each one file of key and certificate (0600),
written beside and renamed into place, so that a crash leaves none or all of it. A root that is
there but cannot be used is an error that names it: a new one in its place would cut off every host.
The root signs intermediates only; leaves carry the chain, bundles hold the root.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hostmesh_core.errors import BadInput
from hostmesh_core.ids import SpiffeId
from hostmesh_core.x509 import facts_of, load_pem_chain, to_der, to_pem, trust_domain_of_root

_DAY = 86400.0
_ROOT_LIFE = 3650 * _DAY
_INTERMEDIATE_LIFE = 365 * _DAY
_SKEW = 300.0


class AuthorityDamaged(BadInput):
    """What lies in the authority's folder cannot be used; nothing was changed."""


class LeafTemplate(Protocol):
    """What a leaf states (`logic.authority.Template`)."""

    @property
    def spiffe_id(self) -> SpiffeId:
        """Give the one URI name."""

    @property
    def key_spki(self) -> bytes:
        """Give the public key, DER."""

    @property
    def not_before(self) -> float:
        """Give seconds since the epoch."""

    @property
    def not_after(self) -> float:
        """Give seconds since the epoch."""

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Give the DNS names: only a control plane has one."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A leaf with its chain, leaf first, without the root."""

    chain_der: tuple[bytes, ...]
    serial: str
    """Lower-case hexadecimal."""
    not_before: float
    not_after: float
    """What the certificate states; may be earlier than was asked for."""


class Signer(Protocol):
    """What issues: embedded here; PKCS#11 or Vault can follow."""

    @property
    def trust_domain(self) -> str:
        """Give the domain that the root states."""

    @property
    def roots_der(self) -> tuple[bytes, ...]:
        """Give what bundles hold."""

    async def sign(self, template: LeafTemplate, *, now: float) -> Signed:
        """Sign one leaf."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key as PEM, never shown, and its public half."""

    key_pem: bytes = field(repr=False)
    key_spki: bytes


def make_key_pair() -> KeyPair:
    """Make a P-256 key: a control plane's own serving key lives in memory alone."""
    key = _new_key()
    return KeyPair(_key_pem(key), _spki(key.public_key()))


@dataclass(frozen=True)
class _Issuer:
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


class EmbeddedSigner:
    """Root and intermediate in one folder of the control plane's state directory."""

    def __init__(
        self, folder: Path, *, trust_domain: str, serial: Callable[[], int], now: float
    ) -> None:
        """Open the authority, or make it at first start. Raises AuthorityDamaged."""
        self._folder = folder
        self._serial = serial
        self.trust_domain = trust_domain
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = self._opened_root(now)
        self._intermediate = self._opened_intermediate(now)

    @property
    def roots_der(self) -> tuple[bytes, ...]:
        """Give what bundles hold."""
        return (to_der(self._root.certificate),)

    @property
    def root(self) -> x509.Certificate:
        """Give the root: its key is what tokens pin."""
        return self._root.certificate

    async def sign(self, template: LeafTemplate, *, now: float) -> Signed:
        """Sign one leaf. It never outlives the intermediate, which is made anew in good time."""
        if _half_over(self._intermediate.certificate, now):
            self._intermediate = self._made_intermediate(now)
        issuer = self._intermediate
        end = min(template.not_after, issuer.certificate.not_valid_after_utc.timestamp())
        leaf = (
            _builder(
                subject=x509.Name([]),
                issuer=issuer.certificate.subject,
                key=serialization.load_der_public_key(template.key_spki),
                life=(template.not_before, end),
                serial=self._serial(),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_others=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(_alternative_names(template), critical=True)
            .add_extension(_authority_key(issuer), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )
        facts = facts_of(leaf)
        chain = (to_der(leaf), to_der(issuer.certificate))
        return Signed(chain, facts.serial, facts.not_before, facts.not_after)

    def _opened_root(self, now: float) -> _Issuer:
        path = self._folder / "root.pem"
        if not path.exists():
            if (self._folder / "intermediate.pem").exists():
                raise AuthorityDamaged(
                    f"cannot open the authority: {path} is gone but an intermediate is there; "
                    "restore it from a backup (a new root would cut off every host)"
                )
            return self._made_root(path, now)
        root = _read(path)
        stated = trust_domain_of_root(root.certificate)
        if stated != self.trust_domain:
            raise AuthorityDamaged(
                f"cannot use trust_domain {self.trust_domain}: the authority in {self._folder} was "
                f"made for {stated}; write that one, or give this one a state_dir of its own"
            )
        return root

    def _opened_intermediate(self, now: float) -> _Issuer:
        path = self._folder / "intermediate.pem"
        if not path.exists():
            return self._made_intermediate(now)
        intermediate = _read(path)
        try:
            intermediate.certificate.verify_directly_issued_by(self._root.certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise AuthorityDamaged(
                f"cannot open the authority: {path} was not issued by root.pem beside it; restore "
                "both from one backup, or move it away to have a new one made"
            ) from error
        if _half_over(intermediate.certificate, now):
            return self._made_intermediate(now)
        return intermediate

    def _made_root(self, path: Path, now: float) -> _Issuer:
        key = _new_key()
        name = _name(f"Hostmesh root of {self.trust_domain}")
        certificate = (
            self._authority(name, name, key, (now - _SKEW, now + _ROOT_LIFE))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(path, key, certificate)
        return _Issuer(key, certificate)

    def _made_intermediate(self, now: float) -> _Issuer:
        key = _new_key()
        root = self._root
        end = min(now + _INTERMEDIATE_LIFE, root.certificate.not_valid_after_utc.timestamp())
        # A name of its own, so that verifiers never take one intermediate for another.
        name = _name(f"Hostmesh intermediate {self._serial() & 0xFFFFFFFF:08x}")
        certificate = (
            self._authority(name, root.certificate.subject, key, (now - _SKEW, end))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_authority_key(root), critical=False)
            .sign(root.key, hashes.SHA256())
        )
        _write(self._folder / "intermediate.pem", key, certificate)
        return _Issuer(key, certificate)

    def _authority(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        life: tuple[float, float],
    ) -> x509.CertificateBuilder:  # noqa: TID251
        domain = x509.UniformResourceIdentifier(str(SpiffeId(self.trust_domain, "")))
        return (
            _builder(
                subject=subject,
                issuer=issuer,
                key=key.public_key(),
                life=life,
                serial=self._serial(),
            )
            .add_extension(_usage(signs_others=True), critical=True)
            .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
        )


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: object,
    life: tuple[float, float],
    serial: int,
) -> x509.CertificateBuilder:  # noqa: TID251
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"only P-256 keys are certified, not {type(key).__name__}")
    return (
        x509.CertificateBuilder()  # noqa: TID251 (the one edge that signs)
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(int(life[0]), UTC))
        .not_valid_after(datetime.fromtimestamp(int(life[1]), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(template: LeafTemplate) -> x509.SubjectAlternativeName:
    """Give the names; critical at the caller's, because a leaf has no other subject (RFC 5280)."""
    names = [x509.DNSName(name) for name in template.dns_names]
    return x509.SubjectAlternativeName(
        [*names, x509.UniformResourceIdentifier(str(template.spiffe_id))]
    )


def _authority_key(issuer: _Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _name(text: str) -> x509.Name:
    # The attribute holds 64 characters at most; the trust domain is in the URI name as a whole.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _half_over(certificate: x509.Certificate, now: float) -> bool:
    begin = certificate.not_valid_before_utc.timestamp()
    return now >= (begin + certificate.not_valid_after_utc.timestamp()) / 2


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())  # noqa: TID251 (the one edge that makes keys)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read(path: Path) -> _Issuer:
    try:
        text = path.read_bytes()
        key = serialization.load_pem_private_key(text, password=None)
        certificate = load_pem_chain(text)[0]
    except (OSError, ValueError, TypeError, BadInput) as error:
        raise AuthorityDamaged(
            f"cannot open the authority: {path} cannot be read ({type(error).__name__}); restore "
            "it from a backup"
        ) from error
    public = certificate.public_key()
    if not (
        isinstance(key, ec.EllipticCurvePrivateKey)
        and isinstance(public, ec.EllipticCurvePublicKey)
        and _spki(public) == _spki(key.public_key())
    ):
        raise AuthorityDamaged(
            f"cannot open the authority: key and certificate in {path} do not belong together; "
            "restore it from a backup"
        )
    return _Issuer(key, certificate)


def _write(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write key and certificate as one file: all of it or none, its owner's alone."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_key_pem(key) + to_pem([certificate]))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
