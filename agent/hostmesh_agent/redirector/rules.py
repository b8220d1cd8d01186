"""Rules as data, in the form in which iptables-save prints them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """One family's part of one table: our chains, and the jumps into them."""

    chains: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(chain, its rules), each rule without `-A <chain>`."""
    jumps: tuple[tuple[str, str], ...] = ()
    """(built-in chain, rule): each stands before every rule that is not ours."""

    @property
    def count(self) -> int:
        """How many rules this is."""
        return len(self.jumps) + sum(len(rules) for _, rules in self.chains)


Tables = Mapping[str, Rules]
"""A family's tables by name, in the order in which they are put in."""
OPENING = "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
"""Only a connection's first packet. Where nothing tracked connections before, the kernel takes the
next packet of each established one for its first, and redirecting that resets it (measured)."""
MULTIPORT = 15
"""Ports that one multiport match may list."""


def why(reason: str) -> str:
    """Give the comment that tells an operator in `iptables -S` what a rule is for."""
    return f'-m comment --comment "hostmesh: {reason}"'
