"""A connection that is given the port of an older one, whose conntrack entry is still there.

Each case makes the old entry as it comes about: the proxy's own connection out (or a caller's, from
before its port was captured), ended by the peer's reset or never answered; then the same addresses
and ports again.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from hostmesh_agent.redirector import families
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import EnvoyProcess, RedirectState, Report, Wanted
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.processes import Running
from hostmesh_testing import old_entries
from hostmesh_testing.capture_host import APP, PLAN, PROXY, CaptureHost, settled
from hostmesh_testing.captured import Capture
from hostmesh_testing.waiting import wait_until

FIRST_PORT = 42_000
OTHER_PORT = replace(PLAN, inbound=(InboundPort(8081),))
"""8080 is not captured: what is left there has passed no rule."""
CLOSE_SECONDS = 120
"""How long the kernel keeps a reset connection's entry here; it is 10 s elsewhere."""


@dataclass
class Pair:
    """A captured host and a peer, each with something on 8080."""

    capture: CaptureHost
    peer: Host
    envoy: EnvoyProcess
    sequence: int = 0
    port: int = FIRST_PORT
    watch: Running | None = field(default=None)

    @property
    def here(self) -> Host:
        return self.capture.host

    def state(self) -> RedirectState:
        self.sequence += 1
        endpoints = frozenset({(self.peer.ipv4, 8080), (self.peer.ipv6, 8080)})
        return RedirectState(
            sequence=self.sequence, wanted=Wanted.CAPTURED, envoy=self.envoy, endpoints=endpoints
        )

    def start_watch(self, plan: CapturePlan = PLAN) -> Report:
        self.capture.write(plan, self.state())
        self.watch = self.here.spawn("watch", self.capture.command("watch"))
        return self.applied()

    def applied(self, plan: CapturePlan | None = None) -> Report:
        if plan is not None:
            self.capture.write(plan, self.state())

        def current() -> bool:
            report = self.capture.report()
            return report is not None and (report.outcome, report.state_sequence) == (
                "applied", self.sequence,
            ) and report.pid != 0  # fmt: skip

        wait_until(current, seconds=20, what=f"the rules, not {self.capture.report()}")
        report = self.capture.report()
        assert report is not None
        return report

    def turned(self) -> int:
        """Give what the last report counts."""
        report = self.capture.report()
        return report.turned if report is not None else 0

    def stop_watch(self) -> None:
        """End it as a crash does: the rules stay."""
        report = self.capture.report()
        if self.watch is not None and report is not None and report.pid:
            self.here.run(["kill", "-9", str(report.pid)], check=False)
            self.watch.stop()

    def next_port(self) -> int:
        self.port += 1
        return self.port

    def addresses(self, family: int) -> tuple[str, str]:
        """Give (ours, the peer's)."""
        pairs = (self.here.ipv4, self.peer.ipv4), (self.here.ipv6, self.peer.ipv6)
        return pairs[family]

    def entries(self, port: int) -> list[str]:
        """Give the lines of conntrack that begin at this port."""
        shown = self.here.run(["cat", "/proc/net/nf_conntrack"]).stdout.splitlines()
        return [line for line in shown if f" sport={port} " in line]


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    here, peer = settled(lab.host("here")), settled(lab.host("peer"))
    capture = CaptureHost(here)
    for host in (here, peer):
        host.spawn("app", [sys.executable, old_entries.PATH, "reset", "8080"])
        wait_until(partial(CaptureHost(host).listening, 8080))
    _keep_reset_entries(here, CLOSE_SECONDS)
    pair = Pair(capture, peer, capture.stand_in())
    yield pair
    pair.stop_watch()


def _keep_reset_entries(host: Host, seconds: int) -> None:
    path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close"
    host.run(["sh", "-c", f"echo {seconds} > {path}"])


def _go(host: Host, verb: str, words: tuple[str, int, str, int], uid: int) -> str:
    who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    program = [sys.executable, old_entries.PATH, verb, *map(str, words)]
    return host.run([*who, *program]).stdout.strip()


@contextmanager
def _deaf(host: Host, family: int, port: int) -> Iterator[None]:
    """Let a host answer nothing that comes from a port."""
    rule = ["-p", "tcp", "--sport", str(port), "-j", "DROP"]
    tool = ("iptables", "ip6tables")[family]
    host.run([tool, "-I", "INPUT", *rule])
    yield
    host.run([tool, "-D", "INPUT", *rule])


def _leave_outbound(pair: Pair, family: int, ended: str) -> tuple[int, tuple[str, int, str, int]]:
    """Let the proxy's own connection leave an entry behind; gives its port and its words."""
    ours, theirs = pair.addresses(family)
    port = pair.next_port()
    words = (ours, port, theirs, 8080)
    if ended == "reset":
        assert _go(pair.here, "leave", words, PROXY) == "ECONNRESET"
    else:
        with _deaf(pair.peer, family, port):
            assert _go(pair.here, "leave", words, PROXY) == "timeout"
    (entry,) = pair.entries(port)
    assert ("CLOSE" if ended == "reset" else "SYN_SENT") in entry
    return port, words


FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
ENDS = pytest.mark.parametrize("ended", ["reset", "unanswered"])


@FAMILIES
@ENDS
def test_outbound_it_is_led_in_anew_and_nothing_of_it_is_on_the_wire(
    pair: Pair, family: int, ended: str
) -> None:
    assert pair.start_watch().guarded == (4, 6)
    port, words = _leave_outbound(pair, family, ended)
    wire = Capture(pair.here, "eth0", only=f"tcp and src port {port}")
    assert _go(pair.here, "meet", words, APP) == f"15001 {words[2]} 8080"
    assert not wire.packets()
    (entry,) = pair.entries(port)
    assert "sport=15001" in entry
    wait_until(lambda: pair.turned() == 1, seconds=20)
    status = json.loads(pair.capture.redirect("status", "--output", "json"))
    assert (status["turned"], status["good"]) == (1, True)


@FAMILIES
@ENDS
def test_outbound_without_the_guard_it_goes_past_envoy(pair: Pair, family: int, ended: str) -> None:
    pair.capture.apply(PLAN, pair.state())
    _port, words = _leave_outbound(pair, family, ended)
    _without_guard(pair)
    assert _go(pair.here, "meet", words, APP) == "app"


def _without_guard(pair: Pair) -> None:
    for tool in ("iptables", "ip6tables"):
        for chain in ("INPUT", "OUTPUT"):
            pair.here.run([tool, "-t", "filter", "-F", chain])


def _leave_inbound(pair: Pair, family: int) -> tuple[int, tuple[str, int, str, int]]:
    ours, theirs = pair.addresses(family)
    port = pair.next_port()
    words = (theirs, port, ours, 8080)
    assert _go(pair.peer, "leave", words, APP) == "ECONNRESET"
    (entry,) = pair.entries(port)
    assert "CLOSE" in entry
    return port, words


@FAMILIES
def test_inbound_it_reaches_envoy_and_not_the_app(pair: Pair, family: int) -> None:
    pair.start_watch(OTHER_PORT)
    port, words = _leave_inbound(pair, family)
    pair.applied(PLAN)
    assert _go(pair.peer, "meet", words, APP).startswith("15006 ")
    (entry,) = pair.entries(port)
    assert "sport=15006" in entry


@FAMILIES
def test_inbound_without_the_guard_it_reaches_the_app(pair: Pair, family: int) -> None:
    pair.capture.apply(OTHER_PORT, pair.state())
    _port, words = _leave_inbound(pair, family)
    pair.capture.apply(PLAN, pair.state())
    _without_guard(pair)
    assert _go(pair.peer, "meet", words, APP) == "app"


@FAMILIES
def test_while_the_redirector_is_gone_it_waits_until_the_kernel_forgets(
    pair: Pair, family: int
) -> None:
    _keep_reset_entries(pair.here, 5)
    pair.start_watch()
    pair.stop_watch()
    port, words = _leave_outbound(pair, family, "reset")
    wire = Capture(pair.here, "eth0", only=f"tcp and src port {port}")
    assert _go(pair.here, "meet", words, APP) == f"15001 {words[2]} 8080"
    assert not wire.packets()


@FAMILIES
def test_rules_that_somebody_flushed_make_no_black_hole_of_the_guard(
    pair: Pair, family: int
) -> None:
    pair.capture.apply(PLAN, pair.state())
    for tool in ("iptables", "ip6tables"):
        pair.here.run([tool, "-t", "nat", "-F"])
    ours, theirs = pair.addresses(family)
    assert _go(pair.here, "meet", (ours, pair.next_port(), theirs, 8080), APP) == "app"
    assert _go(pair.peer, "meet", (theirs, pair.next_port(), ours, 8080), APP) == "app"


def test_what_somebody_else_redirected_is_none_of_ours(pair: Pair) -> None:
    """Their port 80 leads to our 8080: a first packet that is sent again passes as without us."""
    pair.capture.apply(PLAN, pair.state())
    ours, theirs = pair.addresses(0)
    port, here = pair.next_port(), pair.here
    rule = ["-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "8080"]
    here.run(["iptables", "-t", "nat", "-A", "PREROUTING", *rule])
    first = ["-p", "tcp", "--syn", "--sport", str(port)]
    here.run(["iptables", "-t", "mangle", "-A", "PREROUTING", *first])
    answers = ["-p", "tcp", "--dport", str(port), "-j", "DROP"]
    here.run(["iptables", "-t", "mangle", "-A", "OUTPUT", *answers])
    words = (theirs, port, ours, 80)
    with ThreadPoolExecutor(1) as caller:
        met = caller.submit(_go, pair.peer, "meet", words, APP)
        wait_until(lambda: _counted(here, "mangle", "PREROUTING")[0] >= 2, seconds=20)
        here.run(["iptables", "-t", "mangle", "-D", "OUTPUT", *answers])
        assert met.result() == "app"
    assert _counted(here, "filter", "HOSTMESH_DEFAULT_G_IN") == [0, 0]


def _counted(host: Host, table: str, chain: str) -> list[int]:
    """Give how many packets each rule of a chain has matched."""
    shown = host.run(["iptables", "-t", table, "-nvxL", chain]).stdout.splitlines()
    return [int(line.split()[0]) for line in shown[2:]]


def test_each_instance_hears_its_own_guard(pair: Pair) -> None:
    pair.start_watch()
    two = CaptureHost(pair.here, HostLayout("gateway-two"))
    plan = replace(PLAN, instance="gateway-two", inbound=(InboundPort(9090),))
    two.write(plan, pair.state())
    second = pair.here.spawn("second", two.command("watch"))
    wait_until(lambda: _guarded(two) == (4, 6), seconds=20)
    heard = pair.here.run(["cat", "/proc/net/netfilter/nfnetlink_log"]).stdout.splitlines()
    assert {int(line.split()[0]) for line in heard} == {
        families.log_group("default"), families.log_group("gateway-two"),
    }  # fmt: skip
    second.stop()


def _guarded(capture: CaptureHost) -> tuple[int, ...]:
    report = capture.report()
    return report.guarded if report is not None else ()


HOLDS = (
    "import sys, time; from hostmesh_agent.redirector.strays import Strays; "
    "held = Strays(int(sys.argv[1])); held.listen(9.0); print(held.problem); time.sleep(1000)"
)


def test_a_log_group_that_somebody_has_is_said(pair: Pair) -> None:
    group = str(families.log_group("default"))
    holder = pair.here.spawn("holder", [sys.executable, "-c", HOLDS, group])
    wait_until(lambda: group in pair.here.run(["cat", "/proc/net/netfilter/nfnetlink_log"]).stdout)
    report = pair.start_watch()
    assert report.guarded == (4, 6)
    assert any(f"cannot hear the guard in log group {group}: " in note for note in report.notes)
    holder.stop()


def test_a_kernel_that_lacks_it_is_captured_without_it(pair: Pair) -> None:
    """A log group of ours that cannot be named stands for any match that the kernel lacks."""
    real = pair.here.run(["readlink", "-f", "/usr/sbin/iptables-restore"]).stdout.strip()
    script = '#!/bin/sh\ntext=$(cat)\ncase "$text" in *NFLOG*) echo "no NFLOG" >&2; exit 2;; esac\n'
    script += f'printf "%s\\n" "$text" | exec -a iptables-restore {real} "$@"\n'
    pair.here.write("/etc/alternatives/iptables-restore.new", script.replace("sh\n", "bash\n", 1))
    pair.here.run(["chmod", "755", "/etc/alternatives/iptables-restore.new"])
    pair.here.run(
        ["mv", "/etc/alternatives/iptables-restore.new", "/etc/alternatives/iptables-restore"]
    )
    report = pair.start_watch()
    assert report.guarded == (6,)
    assert any("the guard is not in for IPv4: " in n and "no NFLOG" in n for n in report.notes)
    ours, theirs = pair.addresses(0)
    words = (ours, pair.next_port(), theirs, 8080)
    assert _go(pair.here, "meet", words, APP) == f"15001 {theirs} 8080"
    assert json.loads(pair.capture.redirect("status", "--output", "json"))["good"]
