"""Says where this host's own firewall and capture meet. Pure.

A captured packet reaches the filter as one to Envoy's inbound port, marked as translated: a list of
allowed ports then drops what it let in before, and a rule such as firewalld's "accept what is
translated" lets in what it dropped. Nothing of the user's is changed for that; it is said.
"""

from collections.abc import Iterable, Mapping

from hostmesh_agent.redirector.saved import Table, target

_REFUSING = ("DROP", "REJECT")


def notes(tables: Mapping[str, Table], native: Iterable[str], inbound_port: int) -> list[str]:
    """Give a sentence for each filter that sees inbound packets.

    `tables`: iptables' by name; `native`: nft tables that filter inbound (`inet firewalld`).
    """
    found = [f"the nft table {name}" for name in native]
    filtering = tables.get("filter")
    if filtering is not None and _filters(filtering, inbound_port):
        found.append("iptables INPUT")
    return [
        f"this host filters inbound traffic ({name}), which sees a captured port as port "
        f"{inbound_port}: allow tcp port {inbound_port} there, or peers cannot reach the service; "
        "a declared port that it closes can open"
        for name in found
    ]


def _filters(table: Table, inbound_port: int) -> bool:
    """Whether INPUT, or a chain that it leads to, can refuse a packet to the inbound port."""
    if table.policies.get("INPUT", "ACCEPT") != "ACCEPT":
        return not _allows(table, inbound_port)
    seen: set[str] = set()
    todo = ["INPUT"]
    while todo:
        chain = todo.pop()
        seen.add(chain)
        for rule in table.chains.get(chain, ()):
            if target(rule) in _REFUSING:
                return not _allows(table, inbound_port)
            if target(rule) in table.chains and target(rule) not in seen:
                todo.append(target(rule))
    return False


def _allows(table: Table, inbound_port: int) -> bool:
    """Whether some rule names the inbound port and accepts: an operator has seen to it."""
    return any(
        target(rule) == "ACCEPT" and f"--dport {inbound_port}" in rule
        for rules in table.chains.values()
        for rule in rules
    )
