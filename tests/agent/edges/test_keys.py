"""Keys and requests of the agent: new each time, of P-256, with nothing asked for."""

from cryptography import x509 as cryptography_x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hostmesh_agent.edges.keys import new_key
from hostmesh_core import x509
from hostmesh_testing import forge


def test_a_request_proves_a_new_key_and_asks_for_no_name() -> None:
    made, other = new_key(), new_key()
    facts = x509.read_request(made.csr_der)
    assert facts == x509.read_pem_request(made.csr_pem)
    assert facts != x509.read_request(other.csr_der)
    request = cryptography_x509.load_der_x509_csr(made.csr_der)
    assert request.subject.rfc4514_string() == ""
    assert list(request.extensions) == []


def test_the_key_is_the_one_that_the_request_proves() -> None:
    made = new_key()
    key = load_pem_private_key(made.key_pem, password=None)
    assert forge.spki(key) == x509.read_request(made.csr_der).key_spki  # type: ignore[arg-type]


def test_no_repr_shows_the_key() -> None:
    made = new_key()
    assert "PRIVATE" not in repr(made)
    assert made.key_pem.splitlines()[1].decode() not in repr(made)
