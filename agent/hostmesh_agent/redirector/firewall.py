"""Asks the host's own firewall what it would do with a port before and after capture. Pure.

A REDIRECT comes before the filter, so a captured packet reaches it as one to Envoy's inbound port,
marked as translated: a list of allowed ports would drop what it let in, and a rule such as "accept
what is translated" would let in what it dropped. Capture is a guest: a port whose fate would change
is left as it is, and it is said what would allow it.
"""

from collections.abc import Iterable, Sequence

from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.packet_filter import Filter, Probe, Verdict, one_verdict, verdict


def changed_ports(
    filters: Sequence[Filter], ports: Iterable[int], inbound_port: int
) -> dict[int, str]:
    """Give the ports whose fate capture would change, each with what to say about it."""
    found: dict[int, str] = {}
    for family in Family:
        after = verdict(filters, Probe(inbound_port, family, translated=True))
        for port in ports:
            before = verdict(filters, Probe(port, family))
            if (before, after) == (Verdict.ACCEPT, Verdict.REFUSE):
                found[port] = (
                    f"this host's firewall would drop it as port {inbound_port} (IPv{family}); "
                    f"allow tcp port {inbound_port} in {_names(filters)}"
                )
            elif (before, after) == (Verdict.REFUSE, Verdict.ACCEPT):
                found[port] = (
                    f"this host's firewall keeps it closed, and as port {inbound_port} it would be "
                    f"open (IPv{family}); allow tcp port {port} in {_names(filters)} first"
                )
    return found


def notes(filters: Sequence[Filter], inbound_port: int) -> list[str]:
    """Give a sentence for each filter whose decision depends on who calls."""
    found = {
        each.name
        for each in filters
        for family in each.families
        if one_verdict(each, Probe(inbound_port, family, translated=True)) is Verdict.DEPENDS
    }
    return [
        f"this host filters inbound traffic ({name}), which sees a captured port as port "
        f"{inbound_port}: it has to let tcp port {inbound_port} in from the peers"
        for name in sorted(found)
    ]


def _names(filters: Sequence[Filter]) -> str:
    return " and ".join(sorted({each.name for each in filters}))
