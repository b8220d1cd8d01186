"""A lab host with the redirector's files, a stand-in for Envoy, and a look at all of its kernel."""

import re
import subprocess
import sys
from dataclasses import dataclass, field, replace

from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import EnvoyProcess, NameTable, RedirectState, Report
from hostmesh_ctl.demo.hosts import Host
from hostmesh_testing import capture_stand_in
from hostmesh_testing.waiting import wait_until

PROXY, AGENT, APP, OTHER = 61337, 61338, 61001, 61002
PLAN = CapturePlan(proxy_uid=PROXY, proxy_gid=PROXY, agent_uid=AGENT, inbound=(InboundPort(8080),))


@dataclass
class CaptureHost:
    """Drives the redirector on one host through its own command line and files."""

    host: Host
    layout: HostLayout = field(default_factory=HostLayout)

    def write(
        self,
        plan: CapturePlan | None = None,
        state: RedirectState | None = None,
        names: NameTable | None = None,
    ) -> None:
        """Put the files that are given in place, by rename as their writers do."""
        for path, content in (
            (self.layout.capture_file, plan),
            (self.layout.redirect_state_file, state),
            (self.layout.names_file, names),
        ):
            if content is not None:
                self.host.write(f"{path}.tmp", content.encode().decode())
                self.host.path(f"{path}.tmp").rename(self.host.path(path))

    def redirect(self, *words: str, check: bool = True) -> str:
        """Run `hostmesh-agent redirect …` and give what it printed."""
        done = self.host.run(self.command(*words), check=check)
        return done.stdout + done.stderr

    def command(self, *words: str) -> list[str]:
        """Give the words that run the redirector."""
        verb, *rest = words
        instance = ["--instance", self.layout.instance]
        return [
            sys.executable,
            "-m",
            "hostmesh_agent.main",
            "redirect",
            verb,
            *instance,
            *rest,
        ]

    def apply(self, plan: CapturePlan, state: RedirectState | None = None) -> str:
        """Put a plan's rules in as if Envoy served."""
        self.write(replace(plan, instance=self.layout.instance), state)
        return self.redirect("apply", "--assume-ready")

    def report(self) -> Report | None:
        """Give the last report."""
        path = self.host.path(self.layout.redirector_report_file)
        try:
            return Report.decode(path.read_bytes(), where=str(path))
        except FileNotFoundError:
            return None

    def listen(self, *ports: int, uid: int) -> int:
        """Start listeners; gives the process's pid as the host sees it."""
        words = [sys.executable, capture_stand_in.PATH, "listen", *map(str, ports)]
        running = self.host.spawn(f"listen-{ports[0]}", words, uid=uid)
        wait_until(lambda: self.listening(*ports))
        del running
        found = self.host.run(["pgrep", "-f", f"listen {ports[0]}"]).stdout.split()
        return int(found[0])

    def listening(self, *ports: int) -> bool:
        """Whether every port has a listener."""
        shown = self.host.run(["ss", "-Hltn"]).stdout
        return all(re.search(rf":{port}\b", shown) for port in ports)

    def stand_in(self) -> EnvoyProcess:
        """Start what stands for Envoy; gives it as the agent would name it."""
        pid = self.listen(15001, 15006, 15021, uid=PROXY)
        return EnvoyProcess(epoch=0, pid=pid, started=self.started(pid), ready=True)

    def started(self, pid: int) -> int:
        """Give a process's start, as the kernel counts it."""
        text = self.host.path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])

    def call(
        self,
        address: str,
        port: int,
        source: str = "",
        source_port: int = 0,
        *,
        uid: int = APP,
        gid: int | None = None,
    ) -> str:
        """Connect from this host as `uid`; gives who answered, or the error."""
        who = ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}"]
        words = [sys.executable, capture_stand_in.PATH, "call", address, str(port)]
        words += [source, str(source_port)] if source or source_port else []
        return self.host.run([*who, "--clear-groups", *words]).stdout.strip()


_NOISE = (
    (r"^#.*\n", ""),  # iptables-save's dates
    (r"\[\d+:\d+\]", "[0:0]"),
    (r" (hashsize|bucketsize|initval) \S+", ""),
    (r"packets \d+ bytes \d+", ""),
    (r"(valid_lft|preferred_lft) \S+", ""),
)
_LOOKS = (
    "iptables-save",
    "ip6tables-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "nft list ruleset",
    "ip rule",
    "ip -6 rule",
    "ip route show table all",
    "ip -6 route show table all",
    "ip address show",
    "ipset save",
    "cat /etc/hosts",
)


def normalised(look: str, text: str) -> str:
    """Take away what differs without meaning: counters, dates, hash seeds, the order of sets."""
    for pattern, replacement in _NOISE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    if look == "ipset save":
        return "\n".join(sorted(text.splitlines()))
    if look == "nft list ruleset":
        return "\n".join(sorted(_blocks(text)))
    return text


def _blocks(text: str) -> list[str]:
    """Cut nft's listing into its chains, each with its table: their order means nothing."""
    found, table, chain = [], "", list[str]()
    for line in text.splitlines():
        if line.startswith("table"):
            table = line
            found.append(table)
        elif line.startswith("\tchain"):
            chain = [f"{table} {line.strip()}"]
        elif line == "\t}":
            found.append("\n".join(chain))
        else:
            chain.append(line)
    return found


SCRIPT = "; ".join(f"echo '%%{look}'; {look} 2>/dev/null" for look in _LOOKS)


def looks() -> dict[str, str]:
    """Look at everything of this host's kernel that capture could touch, and at /etc/hosts."""
    done = subprocess.run(["sh", "-c", SCRIPT], capture_output=True, text=True, check=False)
    return parsed(done.stdout)


def snapshot(host: Host) -> dict[str, str]:
    """Look at the same of a lab host, from outside."""
    return parsed(host.run(["sh", "-c", SCRIPT], check=False).stdout)


def parsed(text: str) -> dict[str, str]:
    """Cut the looks apart and normalise each."""
    parts = [part.partition("\n") for part in text.split("%%")[1:]]
    return {look: normalised(look, shown) for look, _, shown in parts}


def use_legacy(host: Host) -> None:
    """Let the host's iptables be the old kernel interface, as `update-alternatives` would."""
    for family in ("iptables", "ip6tables"):
        for verb in ("", "-save", "-restore"):
            link = f"/etc/alternatives/{family}{verb}"
            host.run(["ln", "-sfn", f"/usr/sbin/{family}-legacy{verb}", link])
    assert "legacy" in host.run(["iptables", "--version"]).stdout


def settled(host: Host) -> Host:
    """Wait until the kernel has finished with the host's addresses: two looks are then equal."""
    wait_until(lambda: "tentative" not in host.run(["ip", "address"]).stdout)
    return host
