import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hostmesh_ctl.demo.failures import serial_of


@pytest.mark.parametrize("serial", [1, 0x7F, 0x1234567890ABCDEF1234567890ABCDEF])
def test_the_serial_is_read_from_the_certificate(serial: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())  # noqa: TID251 - a certificate to read
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)])
    made = (
        x509.CertificateBuilder()  # noqa: TID251 - a certificate to read
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now)
        .sign(key, hashes.SHA256())
    )
    assert int(serial_of(made.public_bytes(serialization.Encoding.DER)), 16) == serial
