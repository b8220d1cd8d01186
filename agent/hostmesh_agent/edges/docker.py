"""Whether Docker publishes a port of this host: its proxy process, or its DNAT rules. Root."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping

from hostmesh_agent.edges.listeners import Socket

_DNAT = re.compile(r"^-A (\S+) .*--dport (\d+) .*-j DNAT --to-destination (\S+)", re.MULTILINE)
_SECONDS = 5


def published(sockets: Iterable[Socket]) -> Mapping[int, str]:
    """Give the published ports, each with how."""
    found = {
        each.port: f"docker-proxy pid {each.pid}"
        for each in sockets
        if each.process == "docker-proxy"
    }
    for chain, port, to in _DNAT.findall(_rules()):
        found.setdefault(int(port), f"DNAT to {to} in chain {chain}")
    return found


def _rules() -> str:
    """Give nat's rules; empty where there are none to see."""
    tool = shutil.which("iptables-save")
    if tool is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603  fixed words
            [tool, "-t", "nat"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
