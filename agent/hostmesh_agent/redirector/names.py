"""Which of the agent's names may be written, and how the managed block reads. Pure.

A hole in the agent must not become "root points any name anywhere": names inside the mesh domain,
aliases that root lists in `names.take_over`, and short names of a name that is itself written; all
with virtual addresses as values, nothing else.
"""

import ipaddress
from collections.abc import Mapping

from hostmesh_agent.redirector.target import NameScope
from hostmesh_core.capture_plan import CapturePlan

NEVER = frozenset({"localhost", "localdomain", "broadcasthost", "wpad", "isatap"})
"""Single labels that software asks for by themselves."""


def allowed(
    plan: CapturePlan,
    names: Mapping[str, tuple[str, str]],
    scope: NameScope,
    *,
    taken: frozenset[str] = frozenset(),
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Give the names that may be written, and a sentence for each that may not.

    `taken`: names that this host's own lines define, and its own name: their answer stays.
    """
    if scope is NameScope.NONE:
        return {}, []
    kept: dict[str, tuple[str, str]] = {}
    refused: list[str] = []
    for name, addresses in sorted(names.items()):
        reason = _reason(plan, names, name, addresses, taken)
        if reason:
            refused.append(f"name {name} is not written: {reason}")
        elif scope is NameScope.ALL or _in_mesh(plan, name):
            kept[name] = addresses
    return kept, refused


def _reason(
    plan: CapturePlan,
    names: Mapping[str, tuple[str, str]],
    name: str,
    addresses: tuple[str, str],
    taken: frozenset[str],
) -> str:
    """Say why a name is not written, or ""."""
    if name in taken:
        return "this host's own configuration defines it"
    if not any(addresses) or not all(_virtual(plan, address) for address in addresses if address):
        return "its address is no virtual address"
    if _in_mesh(plan, name) or name in plan.take_over:
        return ""
    if "." in name:
        return "it is outside the mesh domain and not in names.take_over"
    if name in NEVER or not _is_short_of(plan, names, name, addresses):
        return "no name of the mesh domain with this first label has its address"
    return ""


def _in_mesh(plan: CapturePlan, name: str) -> bool:
    return name.endswith(f".{plan.mesh_domain}")


def _is_short_of(
    plan: CapturePlan,
    names: Mapping[str, tuple[str, str]],
    name: str,
    addresses: tuple[str, str],
) -> bool:
    return any(
        full.startswith(f"{name}.") and _in_mesh(plan, full) and names[full] == addresses
        for full in names
    )


def _virtual(plan: CapturePlan, address: str) -> bool:
    network = ipaddress.ip_network(plan.vip6 if ":" in address else plan.vip4)
    return ipaddress.ip_address(address) in network


def lines(names: Mapping[str, tuple[str, str]]) -> list[str]:
    """Give the block's lines: per address one line, the full names first on it."""
    by_address: dict[str, list[str]] = {}
    for name, addresses in names.items():
        for address in addresses:
            if address:
                by_address.setdefault(address, []).append(name)
    ordered = sorted(by_address.items(), key=lambda item: (":" in item[0], _number(item[0])))
    return [
        f"{address} {' '.join(sorted(listed, key=lambda name: ('.' not in name, name)))}"
        for address, listed in ordered
    ]


def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))
