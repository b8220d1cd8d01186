"""The agent's randomness: session and request ids, jitter."""

import secrets


class SystemEntropy:
    """The kernel's random numbers."""

    def hex(self, bits: int) -> str:
        """Give `bits` random bits in hexadecimal."""
        return secrets.token_hex(bits // 8)

    def jitter(self) -> float:
        """Give a number from 0 to 1."""
        return secrets.randbits(53) / (1 << 53)
