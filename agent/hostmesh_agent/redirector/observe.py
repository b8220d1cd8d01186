"""Looks at the kernel and changes nothing in it."""

from pathlib import Path

from hostmesh_agent.redirector import families, saved
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Backend, Installed
from hostmesh_agent.redirector.kernel import CannotRun, Kernel, loaded_legacy_tables

_LEGACY_NAMES = {
    Family.V4: "/proc/net/ip_tables_names",
    Family.V6: "/proc/net/ip6_tables_names",
}
_INTERFACE_ADDRESSES = Path("/proc/net/if_inet6")
_INBOUND_SOURCE = "0" * 31 + "6"


class Observer:
    """Looks; remembers only which kernel interface each iptables speaks."""

    def __init__(self, kernel: Kernel, instance: str) -> None:
        self._kernel = kernel
        self._instance = instance
        self._nft: dict[Family, bool] = {}

    def look(self) -> Installed:
        """Read everything of ours that is installed. Raises CannotRun."""
        texts = {backend: _saved(self._kernel, backend) for backend in self._backends()}
        return Installed(
            tables={backend: saved.parse_tables(text) for backend, text in texts.items()},
            sets=_sets(self._kernel, self._instance),
            routes=_routes(self._kernel),
            inbound_source=_has_inbound_source(),
            unreadable=frozenset(
                backend.family
                for backend, text in texts.items()
                if backend.default and families.FILTER in saved.incompatible(text)
            ),
        )

    def _backends(self) -> list[Backend]:
        """Name where rules are put, and where rules of ours may lie from another time.

        Legacy and nft rules both act at once, and a host can change its default (`alternatives`).
        """
        found = []
        for family in _families(self._kernel):
            stem = family.iptables
            if family not in self._nft:
                self._nft[family] = "nf_tables" in self._kernel.run((stem, "--version"))
            nft = self._nft[family]
            # IPv6 that is switched off takes no rule, but older ones of ours may lie there.
            usable = family is Family.V4 or has_ipv6()
            found.append(Backend(family, stem, default=usable, legacy=not nft))
            other = Backend(
                family, f"{stem}-{'legacy' if nft else 'nft'}", default=False, legacy=nft
            )
            loaded = not nft or loaded_legacy_tables(_LEGACY_NAMES[family])
            if loaded and self._kernel.has(f"{other.stem}-save"):
                found.append(other)
        return found


def _families(kernel: Kernel) -> list[Family]:
    """Give the families that this kernel knows and has tools for."""
    known = {Family.V4: True, Family.V6: _INTERFACE_ADDRESSES.exists()}
    return [f for f in Family if known[f] and kernel.has(f"{f.iptables}-restore")]


def has_ipv6() -> bool:
    """Whether ::1 is there: without it neither route nor rule can be put for IPv6."""
    return "0" * 31 + "1" in _interface_addresses()


def _saved(kernel: Kernel, backend: Backend) -> str:
    if backend.legacy:
        # Its save of a table that is not loaded would load it.
        text = "".join(
            kernel.run((f"{backend.stem}-save", "-t", name))
            for name in sorted(loaded_legacy_tables(_LEGACY_NAMES[backend.family]))
        )
    else:
        text = kernel.run((f"{backend.stem}-save",))
    if families.NAT in saved.incompatible(text):
        raise CannotRun(
            f"cannot read {backend.stem} rules: somebody put native nft rules into its nat table; "
            "move them into a table of their own"
        )
    return text


def _sets(kernel: Kernel, instance: str) -> dict[str, frozenset[tuple[str, int]]]:
    if not kernel.has("ipset"):
        return {}
    mine = {
        name
        for family in Family
        for name in (families.endpoint_set(instance, family), families.next_set(instance, family))
    }
    there = kernel.run(("ipset", "list", "-name")).split()
    return {
        name: saved.parse_set(kernel.run(("ipset", "save", name))) for name in there if name in mine
    }


def _routes(kernel: Kernel) -> dict[str, str]:
    marked = ("proto", str(families.ROUTE_PROTOCOL))
    found: dict[str, str] = {}
    for family in Family:
        if family is Family.V4 or has_ipv6():
            shown = kernel.run(("ip", f"-{family.value}", "-json", "route", "show", *marked))
            found |= saved.parse_routes(shown)
    return found


def _has_inbound_source() -> bool:
    return _INBOUND_SOURCE in _interface_addresses()


def _interface_addresses() -> frozenset[str]:
    """Give lo's IPv6 addresses as the kernel lists them: 32 hexadecimal digits."""
    try:
        lines = _INTERFACE_ADDRESSES.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(line.split()[0] for line in lines if line.split()[-1] == "lo")
