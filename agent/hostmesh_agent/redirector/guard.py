"""The guard: stops a connection that would slip past the nat table, in the filter table. Pure.

The kernel asks the nat table about the first packet of a new conntrack entry, and about no other. A
new connection can meet the entry of an earlier one: the app was given the local port that Envoy had
for the same destination, and conntrack ignores a SYN while the entry is one that the peer has
reset, or whose end was never seen (nf_conntrack_proto_tcp.c: sIG). The packets then leave as the
old ones did: not redirected, in plaintext, to a registered endpoint; inbound, past
Envoy to the app. (Measured: 2 of 10,788 connections in a rollout.)

So such a SYN is dropped and logged to the redirector, which forgets the old entry (`strays`): the
SYN that TCP sends again one second later is the first of a new entry, and is redirected. Without
the redirector the kernel forgets it in its own time, ten seconds after a reset.

The only rules of ours that drop, and what they drop is exactly this:

    SYN          a connection's first packet; what is established never comes here
    CONFIRMED    the entry is older than this packet: a new connection's is confirmed after the
                 filter table. So nat rules that somebody flushed make no black hole: what is not
                 led in is let through, as without us
    not DNAT     nobody redirected the entry, neither we nor somebody else
    not returned what the nat chain lets out lies in the same RETURNs, in the same order
"""

from collections.abc import Iterable, Iterator, Sequence

from hostmesh_agent.redirector import families
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.rules import OPENING, Rules, why

_OLD = "-m conntrack ! --ctstate DNAT --ctstatus CONFIRMED"


def rules(
    instance: str, family: Family, *, ports: Sequence[int], outbound: Iterable[str] | None
) -> Rules:
    """Give the filter table's part.

    `ports`: the captured ones. `outbound`: the rules of the nat chain; None while the rule for real
    addresses is out, for then a connection may go to them as it is.
    """
    chains: list[tuple[str, tuple[str, ...]]] = []
    jumps: list[tuple[str, str]] = []
    match = f"-p tcp {OPENING} {_OLD} {why('guard')}"
    if ports:
        name = families.inbound_guard(instance)
        chains.append((name, tuple(_stop_inbound(instance, ports))))
        jumps.append(("INPUT", f"! -i lo {match} -j {name}"))
    if outbound is not None:
        name = families.outbound_guard(instance)
        returns = [rule for rule in outbound if rule.endswith("-j RETURN")]
        to = f"-p tcp -m set --match-set {families.endpoint_set(instance, family)} dst,dst"
        chains.append((name, (*returns, *_stop(instance, to))))
        jumps.append(("OUTPUT", f"{match} -j {name}"))
    return Rules(tuple(chains), tuple(jumps))


def _stop_inbound(instance: str, ports: Sequence[int]) -> Iterator[str]:
    for port in ports:
        yield from _stop(instance, f"-p tcp -m tcp --dport {port}")


def _stop(instance: str, match: str) -> tuple[str, str]:
    said = f"{match} {why('met an old entry')}"
    group = families.log_group(instance)
    return f"{said} -j NFLOG --nflog-group {group}", f"{said} -j DROP"
