"""Trust bundles: trust domain -> roots. A map from the first commit, though there is one domain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from hostmesh_core.errors import BadInput
from hostmesh_core.ids import is_dns_name
from hostmesh_core.x509 import (
    is_authority,
    load_der,
    load_pem_chain,
    to_der,
    to_pem,
    trust_domain_of_root,
)


@dataclass(frozen=True, slots=True)
class TrustBundles:
    """Roots by trust domain, in one canonical order: equal content, equal value."""

    entries: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """Sorted by trust domain; roots as DER, in the order the authority gave them."""

    @classmethod
    def of(cls, roots: Mapping[str, Iterable[bytes]]) -> Self:
        """Build from DER. Raises BadInput for what is no authority's certificate.

        A root that states a trust domain of its own counts in that domain alone.
        """
        entries = []
        for trust_domain, ders in sorted(roots.items()):
            if not is_dns_name(trust_domain):
                raise BadInput(f"cannot use trust domain {trust_domain!r}: not a DNS name")
            entries.append((trust_domain, tuple(_root(trust_domain, der) for der in ders)))
        return cls(tuple(entries))

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Give the trust domains, sorted."""
        return tuple(trust_domain for trust_domain, _ in self.entries)

    def roots_der(self, trust_domain: str) -> tuple[bytes, ...]:
        """Give a domain's roots; none for an unknown domain."""
        return dict(self.entries).get(trust_domain, ())

    def roots(self, trust_domain: str) -> tuple[x509.Certificate, ...]:
        """Give a domain's roots, parsed."""
        return tuple(load_der(der) for der in self.roots_der(trust_domain))

    def roots_pem(self, trust_domain: str) -> bytes:
        """Give a domain's roots, one after the other; empty for an unknown domain."""
        return to_pem(self.roots(trust_domain))

    def to_json(self) -> dict[str, str]:
        """Give the stored and enrolment form: PEM texts by trust domain."""
        return {domain: self.roots_pem(domain).decode() for domain in self.trust_domains}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read the stored or enrolment form. Raises BadInput."""
        if not isinstance(value, dict):
            raise BadInput("cannot read trust bundles: expected trust domains with roots")
        roots: dict[str, list[bytes]] = {}
        for trust_domain, text in value.items():
            if not isinstance(text, str):
                raise BadInput(f"cannot read the roots of {trust_domain!r}: expected PEM")
            roots[str(trust_domain)] = [to_der(c) for c in load_pem_chain(text.encode())]
        return cls.of(roots)


def _root(trust_domain: str, der: bytes) -> bytes:
    certificate = load_der(der)
    if not is_authority(certificate):
        raise BadInput(f"cannot trust a certificate for {trust_domain}: it is not an authority's")
    try:
        stated = trust_domain_of_root(certificate)
    except BadInput:
        stated = trust_domain  # a root made elsewhere states nothing
    if stated != trust_domain:
        raise BadInput(f"cannot trust a root of {stated} for {trust_domain}")
    return der
