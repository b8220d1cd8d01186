"""Certificates and requests: what is read from them, and which ones are believed."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from hostmesh_core import x509
from hostmesh_core.errors import BadInput
from hostmesh_testing import forge
from hostmesh_testing.forge import HOUR, NOW

REVIEWS = "spiffe://mesh.internal/ns/default/sa/reviews"
ROOT = forge.root()
FOREIGN = forge.root(name="foreign root")
SIGNER = forge.intermediate(ROOT)
FOREIGN_SIGNER = forge.intermediate(FOREIGN, name="foreign intermediate")


def _leaf(**changes: object) -> Certificate:
    made = {"uris": [REVIEWS], "issuer": SIGNER, "name": "leaf", **changes}
    return forge.certificate(**made)  # type: ignore[arg-type]


def test_the_facts_of_a_leaf() -> None:
    leaf = _leaf()
    facts = x509.facts_of(leaf)
    assert str(facts.spiffe_id) == REVIEWS
    assert facts.serial == f"{leaf.serial_number:x}"
    assert (facts.not_before, facts.not_after) == (NOW - HOUR, NOW + HOUR)
    assert not facts.is_authority
    assert facts.key_sha256 == x509.spki_sha256(leaf)
    assert x509.dns_names_of(leaf) == ()


@pytest.mark.parametrize(
    "uris",
    [
        pytest.param([], id="no URI name"),
        pytest.param([REVIEWS, REVIEWS + "2"], id="two URI names"),
        pytest.param([REVIEWS, REVIEWS], id="one URI name twice"),
        pytest.param(["https://mesh.internal/ns/default/sa/reviews"], id="another scheme"),
        pytest.param(["spiffe://mesh.internal/ns/../hostmesh"], id="a path that climbs"),
    ],
)
def test_a_certificate_without_exactly_one_spiffe_id_is_nobodys(uris: list[str]) -> None:
    with pytest.raises(BadInput, match="cannot"):
        x509.spiffe_id_of(_leaf(uris=uris))


def test_a_chain_to_a_trusted_root_is_believed() -> None:
    facts = x509.verify_chain(
        [_leaf(), SIGNER.certificate], [FOREIGN.certificate, ROOT.certificate], now=NOW
    )
    assert str(facts.spiffe_id) == REVIEWS


def test_a_leaf_signed_by_the_root_itself_is_believed() -> None:
    facts = x509.verify_chain([_leaf(issuer=ROOT)], [ROOT.certificate], now=NOW)
    assert str(facts.spiffe_id) == REVIEWS


LEAF_AS_ISSUER = forge.Issuer(_leaf(), forge.key("leaf"))
SAME_NAME = forge.intermediate(forge.root(name="root2"), name="intermediate")

CHAINS = {
    "without its intermediate": ([_leaf()], [ROOT], NOW),
    "to a root that is not trusted": ([_leaf(), SIGNER.certificate], [FOREIGN], NOW),
    "signed by a foreign intermediate": (
        [_leaf(issuer=FOREIGN_SIGNER), FOREIGN_SIGNER.certificate],
        [ROOT],
        NOW,
    ),
    "that shows another intermediate": ([_leaf(), FOREIGN_SIGNER.certificate], [ROOT], NOW),
    "before it begins": ([_leaf(), SIGNER.certificate], [ROOT], NOW - 2 * HOUR),
    "after its end": ([_leaf(), SIGNER.certificate], [ROOT], NOW + 2 * HOUR),
    "whose leaf ended earlier": (
        [_leaf(life=(NOW - HOUR, NOW - 1)), SIGNER.certificate],
        [ROOT],
        NOW,
    ),
    "signed by a leaf": (
        [_leaf(issuer=LEAF_AS_ISSUER, name="sub"), LEAF_AS_ISSUER.certificate, SIGNER.certificate],
        [ROOT],
        NOW,
    ),
    "whose leaf is an authority": ([SIGNER.certificate], [ROOT], NOW),
    "that is the root itself": ([ROOT.certificate], [ROOT], NOW),
    "whose leaf is for servers only": (
        [_leaf(usages=[ExtendedKeyUsageOID.SERVER_AUTH]), SIGNER.certificate],
        [ROOT],
        NOW,
    ),
    "with two identities": (
        [_leaf(uris=[REVIEWS, REVIEWS + "2"]), SIGNER.certificate],
        [ROOT],
        NOW,
    ),
    "self-signed": ([_leaf(issuer=None)], [ROOT], NOW),
    "of nothing": ([], [ROOT], NOW),
    "with nobody to trust": ([_leaf(), SIGNER.certificate], [], NOW),
}


@pytest.mark.parametrize("case", CHAINS)
def test_no_chain_is_believed(case: str) -> None:
    chain, roots, now = CHAINS[case]
    with pytest.raises(BadInput, match="cannot"):
        x509.verify_chain(chain, [root.certificate for root in roots], now=now)


def test_an_intermediate_below_an_intermediate_is_not_believed() -> None:
    below = forge.intermediate(SIGNER, name="below")
    chain = [_leaf(issuer=below), below.certificate, SIGNER.certificate]
    with pytest.raises(BadInput, match="cannot verify"):
        x509.verify_chain(chain, [ROOT.certificate], now=NOW)


def test_an_intermediate_of_the_same_name_and_another_key_is_not_believed() -> None:
    forged = forge.Issuer(
        forge.certificate(
            issuer=FOREIGN,
            authority=True,
            path_length=0,
            name="intermediate",
            private=forge.key("other"),
        ),
        forge.key("other"),
    )
    with pytest.raises(BadInput, match="cannot verify"):
        x509.verify_chain([_leaf(issuer=forged), forged.certificate], [ROOT.certificate], now=NOW)


@pytest.mark.parametrize(
    ("made", "domain"),
    [
        pytest.param(forge.root("mesh.internal"), "mesh.internal", id="the default domain"),
        pytest.param(forge.root("a.example.net"), "a.example.net", id="another domain"),
    ],
)
def test_a_root_states_its_trust_domain(made: forge.Issuer, domain: str) -> None:
    assert x509.trust_domain_of_root(made.certificate) == domain


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(_leaf(), id="a leaf"),
        pytest.param(forge.certificate(authority=True), id="an authority that states nothing"),
        pytest.param(
            forge.certificate(authority=True, uris=[REVIEWS]), id="an authority with a path"
        ),
        pytest.param(
            forge.certificate(authority=True, uris=["spiffe://a.net", "spiffe://b.net"]),
            id="an authority of two domains",
        ),
    ],
)
def test_no_root_is(made: Certificate) -> None:
    with pytest.raises(BadInput, match="cannot use a certificate"):
        x509.trust_domain_of_root(made)


def test_the_pinned_certificate_is_found_among_others_and_nothing_else() -> None:
    pin = x509.spki_sha256(ROOT.certificate)
    assert x509.find_pinned([FOREIGN.certificate, ROOT.certificate], pin) == ROOT.certificate
    assert x509.find_pinned([FOREIGN.certificate], pin) is None
    assert x509.find_pinned([], pin) is None


def test_a_chain_can_be_written_and_read() -> None:
    chain = (_leaf(), SIGNER.certificate)
    assert x509.load_pem_chain(x509.to_pem(chain)) == chain
    assert x509.load_der(x509.to_der(chain[0])) == chain[0]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no certificate", id="another text"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="rubbish"
        ),
        pytest.param(b"x" * 70_000, id="too much of it"),
    ],
)
def test_no_certificates_can_be_read_from(text: bytes) -> None:
    with pytest.raises(BadInput, match="cannot read certificates"):
        x509.load_pem_chain(text)


def test_a_der_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot read a certificate"):
        x509.load_der(b"\x30\x03abc")


def _unreadable(old: bytes, new: bytes) -> Certificate:
    """A certificate whose DER was changed in place; its signature no longer matters."""
    der = forge.der(forge.certificate(uris=["spiffe://mesh.internal"], authority=True))
    assert old in der
    return x509.load_der(der.replace(old, new))


P256, UNKNOWN_CURVE = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030163")
STRANGE_KEY = _unreadable(P256, UNKNOWN_CURVE)
STRANGE_NAMES = _unreadable(b"\x86\x16spiffe://mesh.internal", b"\x9f\x16spiffe://mesh.internal")
BARE = forge.bare_certificate()


def test_what_cannot_be_read_in_a_certificate_is_said() -> None:
    with pytest.raises(BadInput, match="cannot read a certificate's key"):
        x509.spki_sha256(STRANGE_KEY)
    for read in (x509.spiffe_id_of, x509.dns_names_of, x509.is_authority):
        with pytest.raises(BadInput, match="cannot read a certificate's extensions"):
            read(STRANGE_NAMES)


def test_the_pinned_certificate_is_found_beside_what_cannot_be_read() -> None:
    pin = x509.spki_sha256(ROOT.certificate)
    found = x509.find_pinned([STRANGE_KEY, STRANGE_NAMES, ROOT.certificate], pin)
    assert found == ROOT.certificate


def test_a_certificate_without_extensions_is_nobodys() -> None:
    assert not x509.is_authority(BARE)
    assert x509.dns_names_of(BARE) == ()
    with pytest.raises(BadInput, match="0 URI names"):
        x509.spiffe_id_of(BARE)


def test_the_key_of_a_request_is_known_by_its_hash() -> None:
    facts = x509.read_request(forge.der(forge.request(forge.key("leaf"))))
    assert facts.key_sha256 == x509.spki_sha256(_leaf())


def test_a_request_gives_its_key_and_none_of_its_names() -> None:
    asked = forge.request(
        uris=["spiffe://mesh.internal/hostmesh/host/" + "f" * 32],
        dns=["control-plane.mesh.internal"],
        subject="root",
    )
    facts = x509.read_request(forge.der(asked))
    assert facts.key_spki == forge.spki(forge.key("request"))
    assert facts == x509.read_pem_request(forge.pem(asked))
    assert "control-plane" not in repr(facts)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # noqa: TID251
P384 = ec.generate_private_key(ec.SECP384R1())  # noqa: TID251
ED25519 = ed25519.Ed25519PrivateKey.generate()  # noqa: TID251


def _with_another_signature() -> bytes:
    good = forge.der(forge.request())
    return good[:-1] + bytes([good[-1] ^ 1])


def _with_another_key() -> bytes:
    """The request of one key with the signature of another: nobody owns this pair."""
    own, other = forge.spki(forge.key("request")), forge.spki(forge.key("other"))
    return forge.der(forge.request()).replace(own, other)


def _signed_in_an_unknown_way() -> bytes:
    known, unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040363")
    return forge.der(forge.request()).replace(known, unknown)


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(forge.der(forge.request(RSA)), id="an RSA key"),
        pytest.param(forge.der(forge.request(P384)), id="a P-384 key"),
        pytest.param(forge.der(forge.request(ED25519)), id="an Ed25519 key"),
        pytest.param(_with_another_signature(), id="a wrong signature"),
        pytest.param(_with_another_key(), id="somebody else's key"),
        pytest.param(_signed_in_an_unknown_way(), id="an unknown kind of signature"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x82rubbish", id="rubbish"),
        pytest.param(forge.der(_leaf()), id="a certificate"),
        pytest.param(
            forge.der(forge.request(dns=[f"n{n}.example.net" for n in range(300)])),
            id="over 4 KiB of names",
        ),
    ],
)
def test_no_request_is_accepted_with(der: bytes) -> None:
    with pytest.raises(BadInput, match="cannot"):
        x509.read_request(der)


def test_a_request_in_pem_that_is_none_is_refused() -> None:
    for text in (b"", b"hello", b"x" * 9000):
        with pytest.raises(BadInput, match="cannot read a certificate request"):
            x509.read_pem_request(text)
