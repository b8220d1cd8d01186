"""A key and its certificate are one thing, or nothing."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput
from hostmesh_testing import forge

REVIEWS = "spiffe://mesh.internal/ns/default/sa/reviews"
KEY = forge.key("leaf")
CHAIN = forge.pem(forge.certificate(uris=[REVIEWS], private=KEY)) + forge.root().pem


def test_a_pair_that_belongs_together_is_read() -> None:
    held = CertificateSet.read(forge.key_pem(KEY), CHAIN)
    assert str(held.facts.spiffe_id) == REVIEWS
    assert held.chain_pem == CHAIN


ENCRYPTED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # noqa: TID251


@pytest.mark.parametrize(
    ("key_pem", "chain_pem"),
    [
        pytest.param(forge.key_pem(forge.key("other")), CHAIN, id="another key"),
        pytest.param(forge.key_pem(RSA), CHAIN, id="an RSA key"),
        pytest.param(ENCRYPTED, CHAIN, id="an encrypted key"),
        pytest.param(b"", CHAIN, id="no key"),
        pytest.param(forge.key_pem(KEY), b"", id="no certificate"),
        pytest.param(CHAIN, forge.key_pem(KEY), id="both in each other's place"),
        pytest.param(
            forge.key_pem(KEY), forge.pem(forge.certificate(private=KEY)), id="no identity"
        ),
    ],
)
def test_no_pair_is(key_pem: bytes, chain_pem: bytes) -> None:
    with pytest.raises(BadInput, match="cannot") as caught:
        CertificateSet.read(key_pem, chain_pem)
    for line in key_pem.splitlines()[1:-1]:
        assert line.decode() not in str(caught.value)


def test_no_repr_shows_the_key() -> None:
    held = CertificateSet.read(forge.key_pem(KEY), CHAIN)
    assert forge.key_pem(KEY).splitlines()[1].decode() not in repr(held)
    assert "PRIVATE" not in repr(held)
