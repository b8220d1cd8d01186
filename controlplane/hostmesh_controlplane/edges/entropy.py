"""The control plane's randomness: ids, secrets, nonces, serial numbers, jitter."""

import secrets


class SystemEntropy:
    """The kernel's random numbers."""

    def hex(self, bits: int) -> str:
        """Give `bits` random bits in hexadecimal."""
        return secrets.token_hex(bits // 8)

    def serial(self) -> int:
        """Give a certificate serial: positive, 159 bits, so at most 20 octets (RFC 5280)."""
        return (1 << 158) | secrets.randbits(158)

    def jitter(self) -> float:
        """Give a number from 0 to 1."""
        return secrets.randbits(53) / (1 << 53)
