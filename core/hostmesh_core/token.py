"""The text of a join token (DESIGN 6): `hm1.<id>.<secret>.<pin>`.

The secret is 256 random bits; a control plane keeps its SHA-256 alone. The pin is the SHA-256 of
the root's public key: it lets a host that trusts nobody yet tell the true control plane.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Self

from hostmesh_core.errors import BadInput

PREFIX = "hm1"
MAX_TEXT = 256
_ID = re.compile(r"[0-9a-f]{16}")
_HEX_256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token in the clear. Its repr never shows the secret."""

    id: str
    """64 random bits, hexadecimal: names the token in tables and logs."""
    secret: str = field(repr=False)
    """256 random bits, hexadecimal."""
    pin: str
    """SHA-256 of the root's SubjectPublicKeyInfo, hexadecimal."""

    def __str__(self) -> str:
        """Give the form that logs may show; `reveal` gives the text that a host joins with."""
        return f"{PREFIX}.{self.id}.***"

    def reveal(self) -> str:
        """Give the whole text, secret included: for the operator's file and nothing else."""
        return f"{PREFIX}.{self.id}.{self.secret}.{self.pin}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token, white space around it ignored. Raises BadInput, never with the text."""
        parts = text.strip().split(".") if len(text) <= 2 * MAX_TEXT else []
        match parts:
            case [prefix, token_id, secret, pin] if (
                prefix == PREFIX
                and _ID.fullmatch(token_id)
                and _HEX_256.fullmatch(secret)
                and _HEX_256.fullmatch(pin)
            ):
                return cls(token_id, secret, pin)
            case [prefix, *_] if prefix != PREFIX and re.fullmatch(r"hm[0-9]+", prefix):
                raise BadInput(
                    f"cannot read the token: it is of version {prefix}, this program reads {PREFIX}"
                )
            case _:
                raise BadInput(
                    f"cannot read the token: expected one line {PREFIX}.<id>.<secret>.<pin>, as "
                    "`hostmesh token create` prints it"
                )


def hash_secret(secret: str) -> str:
    """Give what is stored in place of a secret. Its 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
