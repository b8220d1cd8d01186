"""All that a join may change on a lab host, as texts that can be compared byte by byte."""

import re
from collections.abc import Mapping

from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.mesh import wait_for

_COMMANDS = {
    "iptables": "iptables-save",
    "ip6tables": "ip6tables-save",
    "rules": "ip rule; ip -6 rule",
    "routes": "ip route show table all; ip -6 route show table all",
    "addresses": "ip addr",
    "sets": "ipset list",
    "nft": "nft list ruleset",
    "hosts": "cat /etc/hosts",
    "files": "find /etc /var/lib /run /var/log /dev/shm -path /run/lab -prune -o "
    r"-printf '%p %y %m %u %g %l\n' | sort",
    "contents": "find /etc /var/lib/hostmesh /run /var/log/hostmesh -path /run/lab -prune -o "
    "-type f -print0 | xargs -0r sha256sum | sort",
    "processes": "ps -eo args | grep -c '[h]ostmesh_agent'",
}
_COUNTED = re.compile(r"\[\d+:\d+\]|packets \d+ bytes \d+|^#.*$", re.MULTILINE)
"""What the tools write beside the rules: counters, and the time of day."""

Snapshot = Mapping[str, str]


def settle(host: Host) -> None:
    """Wait until the kernel has made up its mind about the host's own addresses."""
    wait_for("the addresses", lambda: "tentative" not in host.run(["ip", "addr"]).stdout)


def take(host: Host) -> Snapshot:
    """Take everything down."""
    return {
        name: _COUNTED.sub("", host.run(["sh", "-c", command], check=False).stdout)
        for name, command in _COMMANDS.items()
    }


def differences(before: Snapshot, after: Snapshot) -> dict[str, tuple[list[str], list[str]]]:
    """Give, per kind, the lines that went and the lines that came."""
    found = {}
    for name, text in before.items():
        old, new = text.splitlines(), after[name].splitlines()
        gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
        if text != after[name]:
            found[name] = (gone, come)
    return found
