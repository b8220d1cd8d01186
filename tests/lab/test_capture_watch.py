"""The watch on a host: Envoy comes and goes, others change rules, the agent asks and vanishes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostmesh_core.capture_plan import CapturePlan, OnDown
from hostmesh_core.redirect_files import (
    EnvoyProcess,
    NameTable,
    Outcome,
    RedirectState,
    Report,
    Wanted,
)
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing.capture_host import PLAN, PROXY, CaptureHost, settled, snapshot
from hostmesh_testing.waiting import wait_until

NAMES = {
    "reviews.default.mesh.internal": ("240.240.0.5", ""),
    "reviews": ("240.240.0.5", ""),
    "reviews.service.consul": ("240.240.0.5", ""),
}
TAKING_OVER = replace(PLAN, take_over=("reviews.service.consul",))
CLOSED = replace(TAKING_OVER, on_down_inbound=OnDown.CLOSED, on_down_outbound=OnDown.CLOSED)


@dataclass
class Watched:
    """A host with a stand-in for Envoy and a running watch."""

    capture: CaptureHost
    before: dict[str, str]
    envoy: EnvoyProcess | None = None
    sequence: int = 0

    def start(self, plan: CapturePlan = TAKING_OVER) -> None:
        self.envoy = self.capture.stand_in()
        self.capture.write(plan, names=NameTable(sequence=1, names=NAMES))
        self.ask(Wanted.CAPTURED)
        self.watch()

    def watch(self) -> None:
        self.capture.host.spawn("watch", self.capture.command("watch"))

    def ask(self, wanted: Wanted, envoy: EnvoyProcess | None = None) -> None:
        self.sequence += 1
        state = RedirectState(
            sequence=self.sequence,
            wanted=wanted,
            envoy=envoy or self.envoy,
            endpoints=frozenset({("10.1.0.5", 80)}),
        )
        self.capture.write(state=state)

    def until(self, outcome: Outcome, *, seconds: float = 8.0) -> Report:
        """Wait for a report of this outcome about what was asked last."""

        def current() -> bool:
            report = self.capture.report()
            return (
                report is not None
                and report.outcome is outcome
                and report.state_sequence == self.sequence
            )

        wait_until(current, seconds=seconds, what=f"{outcome}, not {self.capture.report()}")
        report = self.capture.report()
        assert report is not None
        return report

    def kill_envoy(self) -> None:
        assert self.envoy is not None
        self.capture.host.run(["kill", "-9", str(self.envoy.pid)])

    def watcher(self) -> int:
        report = self.capture.report()
        assert report is not None
        return report.pid

    def within(self, condition: Callable[[], object], seconds: float) -> float:
        """Give how long it took; fail above `seconds`."""
        began = time.monotonic()
        wait_until(condition, seconds=seconds)
        return time.monotonic() - began

    def rules(self) -> str:
        return self.capture.host.run(["iptables-save", "-t", "nat"]).stdout

    def captured(self) -> bool:
        return "HOSTMESH_DEFAULT_OUT" in self.rules()

    def hosts(self) -> str:
        return self.capture.host.path("/etc/hosts").read_text()


@pytest.fixture
def watched(lab: Lab) -> Watched:
    host = settled(lab.host("watched"))
    return Watched(CaptureHost(host), snapshot(host))


def test_rules_come_when_envoy_serves_and_go_when_the_agent_leaves(watched: Watched) -> None:
    watched.start()
    report = watched.until(Outcome.APPLIED)
    assert report.inbound
    assert report.outbound
    assert (report.endpoints, report.names, report.routes) == (1, 3, 2)
    assert watched.capture.call("240.240.0.5", 80) == "15001 240.240.0.5 80"
    watched.ask(Wanted.LEFT)
    watched.until(Outcome.REMOVED)
    assert snapshot(watched.capture.host) == watched.before


def test_nothing_is_installed_before_envoy_serves(watched: Watched) -> None:
    watched.envoy = EnvoyProcess(epoch=0, pid=2**22, started=0, ready=True)
    watched.capture.write(TAKING_OVER)
    watched.ask(Wanted.CAPTURED)
    watched.watch()
    watched.until(Outcome.WAITING)
    assert not watched.captured()
    # A process that answers but is not the proxy user's is not Envoy, whatever the agent says.
    pid = watched.capture.listen(15021, uid=0)
    watched.ask(Wanted.CAPTURED, EnvoyProcess(epoch=0, pid=pid, started=0, ready=True))
    watched.until(Outcome.WAITING)
    time.sleep(0.5)
    assert not watched.captured()


def test_open_rules_are_lifted_when_envoy_dies_and_return_with_the_next(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    watched.kill_envoy()
    took = watched.within(lambda: not watched.captured(), 2.0)
    print(f"rules were out {took * 1000:.0f} ms after Envoy's death (looked at from outside)")
    watched.until(Outcome.WAITING)
    # The mesh's own names stay and are refused at once; names that others answer are given back.
    assert "reviews.default.mesh.internal" in watched.hosts()
    assert "reviews.service.consul" not in watched.hosts()
    assert watched.capture.call("240.240.0.5", 80) == "EHOSTUNREACH"
    watched.envoy = watched.capture.stand_in()
    watched.ask(Wanted.CAPTURED)
    watched.until(Outcome.APPLIED)
    assert watched.capture.call("240.240.0.5", 80) == "15001 240.240.0.5 80"
    assert "reviews.service.consul" in watched.hosts()


def test_nothing_is_refused_300_ms_after_envoys_death(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    host = watched.capture.host
    watched.capture.listen(8080, uid=0)
    caller = (
        "import socket, time\n"
        "for _ in range(400):\n"
        " try:\n"
        f"  socket.create_connection(('{host.ipv4}', 8080), 2).close(); said = 'in'\n"
        " except OSError as error:\n  said = type(error).__name__\n"
        " print(time.monotonic(), said, flush=True)\n time.sleep(0.005)\n"
    )
    # From the switch's network: what peers see of a declared port.
    outside = host._lab.switch_argv("python3", "-c", caller)
    log = host.folder / "caller.log"

    with log.open("wb") as output:
        calling = subprocess.Popen(outside, stdout=output, stderr=output)
        time.sleep(0.7)
        watched.kill_envoy()
        died = time.monotonic()
        calling.wait(20)
    lines = [line.split() for line in log.read_text().splitlines()]
    refused = [float(moment) - died for moment, said in lines if said != "in"]
    print(f"{len(refused)} of {len(lines)} calls refused, the last {max(refused, default=0):.3f} s")
    assert len(lines) == 400
    assert max(refused, default=0.0) <= 0.3


def test_closed_rules_stay_through_a_crash_and_a_release(watched: Watched) -> None:
    watched.start(CLOSED)
    watched.until(Outcome.APPLIED)
    applied = snapshot(watched.capture.host)
    watched.kill_envoy()
    watched.until(Outcome.WAITING)
    assert snapshot(watched.capture.host) == applied
    watched.ask(Wanted.RELEASED)
    report = watched.until(Outcome.WAITING)
    assert report.inbound
    assert snapshot(watched.capture.host) == applied
    watched.ask(Wanted.LEFT)
    watched.until(Outcome.REMOVED)
    assert snapshot(watched.capture.host) == watched.before


def test_a_release_keeps_virtual_addresses_until_envoy_has_ended(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    watched.ask(Wanted.RELEASED)
    report = watched.until(Outcome.WAITING)
    assert (report.inbound, report.outbound) == (False, True)
    assert "--match-set" not in watched.rules()
    assert watched.capture.call("240.240.0.5", 80) == "15001 240.240.0.5 80"
    watched.kill_envoy()
    watched.until(Outcome.REMOVED)
    assert snapshot(watched.capture.host) == watched.before


def test_rules_stay_when_the_agent_and_the_watch_are_gone(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    applied = snapshot(watched.capture.host)
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = watched.watcher()
        watched.capture.host.run(["kill", f"-{int(number)}", str(pid)])
        wait_until(lambda: not watched.capture.host.path(f"/proc/{pid}").exists())  # noqa: B023
        assert snapshot(watched.capture.host) == applied
        watched.watch()
        wait_until(lambda: watched.watcher() != pid)  # noqa: B023
        watched.until(Outcome.APPLIED)
        assert snapshot(watched.capture.host) == applied


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("iptables -t nat -F", id="the nat table flushed"),
        pytest.param("iptables -t nat -I OUTPUT 1 -p udp -j ACCEPT", id="a rule above ours"),
        pytest.param("ip -6 route del fd48:6d65:7368::/64", id="a route gone"),
        pytest.param("ip address del ::6/128 dev lo", id="::6 gone"),
    ],
)
def test_what_is_lost_is_put_back_within_2_seconds(watched: Watched, change: str) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    applied = snapshot(watched.capture.host)
    watched.capture.host.run(change.split())
    foreign = "-A OUTPUT -p udp -j ACCEPT"

    def repaired() -> bool:
        now = snapshot(watched.capture.host)
        lines = [line for line in now["iptables-save"].splitlines() if line != foreign]
        nat = now["iptables-save"].partition("*nat")[2].partition("COMMIT")[0]
        output = [line for line in nat.splitlines() if "-A OUTPUT" in line]
        ours_first = "HOSTMESH" in output[0] if output else False
        same = "\n".join(lines) == applied["iptables-save"].rstrip("\n")
        others = all(
            now[look] == applied[look]
            for look in ("ip -6 route show table all", "ip address show", "ip6tables-save")
        )
        return ours_first and same and others

    print(f"{change}: back after {watched.within(repaired, 2.0):.2f} s")


def test_a_hot_restart_leaves_the_rules_in_all_the_time(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    host = watched.capture.host
    # The next epoch: another process of the same user; the listeners are shared with the first.
    host.spawn("next", ["sleep", "1000"], uid=PROXY)
    wait_until(lambda: host.run(["pgrep", "-f", "^sleep 1000"], check=False).stdout)
    pid = int(host.run(["pgrep", "-f", "^sleep 1000"]).stdout.split()[0])
    following = EnvoyProcess(epoch=1, pid=pid, started=watched.capture.started(pid), ready=True)
    watched.ask(Wanted.CAPTURED, following)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert watched.captured()
    watched.until(Outcome.APPLIED)


def test_ipv6_that_is_switched_on_later_is_captured_within_2_seconds(watched: Watched) -> None:
    host = watched.capture.host
    switch = "for f in all lo; do echo {} >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done"
    host.run(["sh", "-c", switch.format(1)])
    watched.start()
    watched.until(Outcome.APPLIED)
    assert watched.capture.call("240.240.0.5", 80) == "15001 240.240.0.5 80"
    assert "HOSTMESH" not in host.run(["ip6tables-save"]).stdout
    host.run(["sh", "-c", switch.format(0)])
    took = watched.within(lambda: "HOSTMESH" in host.run(["ip6tables-save"]).stdout, 2.0)
    print(f"IPv6 captured {took:.2f} s after it was switched on")
    wait_until(lambda: watched.capture.call("fd48:6d65:7368::5", 80).startswith("15001"))
    host.run(["sh", "-c", switch.format(1)])
    watched.capture.redirect("remove")
    assert "HOSTMESH" not in host.run(["ip6tables-save"]).stdout


def test_explicit_mode_needs_no_tool_and_installs_nothing(watched: Watched) -> None:
    for program in ("iptables", "ip6tables", "ipset"):
        for verb in ("", "-restore", "-save"):
            watched.capture.host.run(["rm", "-f", f"/etc/alternatives/{program}{verb}"])
    watched.start(replace(TAKING_OVER, enabled=False))
    watched.until(Outcome.REMOVED)
    watched.capture.write(TAKING_OVER)

    def said() -> bool:
        report = watched.capture.report()
        return report is not None and "iptables is not installed" in report.detail

    wait_until(said)


def test_an_operators_remove_holds_until_apply(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    watched.capture.redirect("remove")
    time.sleep(1.0)
    assert snapshot(watched.capture.host) == watched.before
    watched.capture.redirect("apply")
    watched.until(Outcome.APPLIED)
    assert watched.captured()


def test_a_hung_envoy_counts_as_down(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    assert watched.envoy is not None
    watched.capture.host.run(["kill", "-STOP", str(watched.envoy.pid)])
    watched.until(Outcome.WAITING, seconds=15.0)
    assert not watched.captured()
    watched.capture.host.run(["kill", "-CONT", str(watched.envoy.pid)])
    _continue_parents(watched.capture.host)
    watched.until(Outcome.APPLIED)


def _continue_parents(host: Host) -> None:
    """Let nsenter go on too: it stops itself with the process that it has started."""
    for running in host.processes:
        stat = Path(f"/proc/{running.pid}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGCONT)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="half a file"),
        pytest.param('{"version":1,"sequence":9,"wanted":"left"}', id="a key missing"),
        pytest.param("x" * (2 << 20), id="two megabytes"),
    ],
)
def test_a_bad_state_changes_nothing_and_is_reported(watched: Watched, text: str) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    applied = snapshot(watched.capture.host)
    watched.capture.host.write(watched.capture.layout.redirect_state_file, text)
    wait_until(lambda: (report := watched.capture.report()) and report.missing)
    assert snapshot(watched.capture.host) == applied
    watched.ask(Wanted.CAPTURED)
    assert watched.until(Outcome.APPLIED).missing == ()


def test_addresses_and_names_follow_the_agents_files(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    watched.capture.write(
        names=NameTable(sequence=7, names={"x.y.mesh.internal": ("", "fd48:6d65:7368::9")})
    )
    wait_until(lambda: (report := watched.capture.report()) and report.names_sequence == 7)
    assert "fd48:6d65:7368::9 x.y.mesh.internal" in watched.hosts()
    assert "reviews" not in watched.hosts()


def test_idle_costs_are_small(watched: Watched) -> None:
    watched.start()
    watched.until(Outcome.APPLIED)
    pid = watched.watcher()
    path = watched.capture.host.path(f"/proc/{pid}")

    def spent() -> float:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    before, began = spent(), time.monotonic()
    time.sleep(10)
    share = (spent() - before) / (time.monotonic() - began)
    status = (path / "status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    print(f"idle: {share:.2%} of a core, its commands included; {kib / 1024:.1f} MiB resident")
    assert share < 0.05
    assert kib < 30 * 1024
