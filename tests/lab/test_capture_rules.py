"""What apply and remove do to a host's kernel and files, through the command line."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from itertools import product

import pytest

from hostmesh_core.capture_plan import InboundPort, OnDown
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import NameTable, RedirectState, Wanted
from hostmesh_ctl.demo.commands import CommandFailed
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing import capture_foreign
from hostmesh_testing.capture_host import PLAN, CaptureHost, settled, snapshot

STATE = RedirectState(
    sequence=1, wanted=Wanted.CAPTURED, endpoints=frozenset({("10.1.0.5", 80), ("fd01::5", 80)})
)
OURS = ("HOSTMESH_", "hostmesh-", "hostmesh:")


@pytest.fixture
def host(lab: Lab) -> Host:
    return settled(lab.host("rules"))


def _load(host: Host, foreign: str) -> None:
    if foreign == "native":
        host.run(["nft", "-f", "-"], text=capture_foreign.NATIVE)
    else:
        for program in ("iptables-restore", "ip6tables-restore"):
            text = capture_foreign.IPTABLES[foreign]
            if program.startswith("ip6"):
                text = _for_ipv6(text)
            host.run([program, "--noflush"], text=text)


def _for_ipv6(text: str) -> str:
    """Give the same shape for IPv6, without the lines that name IPv4 addresses."""
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if "172.17" not in line and "127.0" not in line
    )


def _without_ours(look: dict[str, str]) -> dict[str, str]:
    tables = {name: text for name, text in look.items() if "tables" in name}
    return {
        name: "\n".join(line for line in text.splitlines() if not any(o in line for o in OURS))
        for name, text in tables.items()
    }


def test_apply_twice_is_apply_once_and_remove_leaves_the_host_as_it_was(host: Host) -> None:
    capture, before = CaptureHost(host), snapshot(host)
    capture.write(names=NameTable(sequence=1, names={"a.b.mesh.internal": ("240.240.0.1", "")}))
    capture.apply(PLAN, STATE)
    once = snapshot(host)
    capture.apply(PLAN, STATE)
    assert snapshot(host) == once != before
    assert "240.240.0.1 a.b.mesh.internal" in once["cat /etc/hosts"]
    capture.redirect("remove")
    assert snapshot(host) == before
    capture.redirect("remove")
    assert snapshot(host) == before


@pytest.mark.parametrize("foreign", ["docker", "firewalld", "ufw", "native"])
def test_rules_of_others_stay_byte_for_byte_and_in_their_order(host: Host, foreign: str) -> None:
    _load(host, foreign)
    capture, before = CaptureHost(host), snapshot(host)
    capture.apply(PLAN, STATE)
    during = snapshot(host)
    assert "HOSTMESH_DEFAULT_OUT" in during["iptables-save"]
    if foreign == "native":
        # There was no nat table; what is added is ours alone.
        assert before["nft list ruleset"].splitlines() == [
            line
            for line in during["nft list ruleset"].splitlines()
            if line in before["nft list ruleset"].splitlines()
        ]
    else:
        kept, had = _without_ours(during), _without_ours(before)
        for look in ("iptables-save", "ip6tables-save"):
            missing = [
                line for line in had[look].splitlines() if line not in kept[look].splitlines()
            ]
            assert missing == []
            rules = [line for line in kept[look].splitlines() if line.startswith("-A")]
            assert rules == [line for line in had[look].splitlines() if line.startswith("-A")]
    capture.redirect("remove")
    assert snapshot(host) == before


def test_show_touches_nothing(host: Host) -> None:
    capture, before = CaptureHost(host), snapshot(host)
    capture.write(PLAN, STATE)
    shown = capture.redirect("show")
    assert "-A HOSTMESH_DEFAULT_IN -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 15006" in shown
    assert json.loads(capture.redirect("show", "--output", "json"))["routes"]
    assert snapshot(host) == before


def test_a_stop_keeps_what_is_closed_unless_the_host_has_left(host: Host) -> None:
    capture, before = CaptureHost(host), snapshot(host)
    closed = replace(PLAN, on_down_inbound=OnDown.CLOSED)
    capture.apply(closed, STATE)
    capture.redirect("remove", "--keep-closed")
    kept = snapshot(host)["iptables-save"]
    assert "HOSTMESH_DEFAULT_IN" in kept
    assert "HOSTMESH_DEFAULT_OUT" not in kept
    capture.write(state=replace(STATE, wanted=Wanted.LEFT))
    capture.redirect("remove", "--keep-closed")
    assert snapshot(host) == before


def test_what_instances_share_goes_with_the_last_of_them(host: Host) -> None:
    before = snapshot(host)
    one = CaptureHost(host, HostLayout("default"))
    two = CaptureHost(host, HostLayout("gateway-two"))
    one.apply(PLAN, STATE)
    only_one = snapshot(host)
    two.apply(replace(PLAN, inbound=(InboundPort(9090),), inbound_port=16006, outbound_port=16001))
    both = snapshot(host)
    assert "HOSTMESH_DEFAULT_OUT" in both["iptables-save"]
    assert "HOSTMESH_GATEWAY-TWO_OUT" in both["iptables-save"]
    one.redirect("remove")
    left = snapshot(host)
    assert "240.240.0.0/16 dev lo" in left["ip route show table all"]
    assert "::6/128" in left["ip address show"]
    assert "HOSTMESH_DEFAULT" not in left["iptables-save"]
    one.apply(PLAN, STATE)
    two.redirect("remove")
    assert snapshot(host) == only_one
    one.redirect("remove")
    assert snapshot(host) == before


def test_what_was_there_before_us_stays(host: Host) -> None:
    host.run(["ip", "-6", "address", "add", "::6/128", "dev", "lo"])
    before = snapshot(host)
    capture = CaptureHost(host)
    capture.apply(PLAN)
    capture.redirect("remove")
    assert snapshot(host) == before


def test_removal_needs_no_configuration(host: Host) -> None:
    capture, before = CaptureHost(host), snapshot(host)
    capture.apply(PLAN, STATE)
    for path in (capture.layout.capture_file, capture.layout.redirect_state_file):
        host.path(path).unlink()
    capture.redirect("remove")
    assert snapshot(host) == before


def test_an_older_set_of_chains_and_tables_is_cleaned_whatever_it_was(host: Host) -> None:
    before = snapshot(host)
    old = (
        "*mangle\n:HOSTMESH_DEFAULT_MARK - [0:0]\n-A PREROUTING -j HOSTMESH_DEFAULT_MARK\n"
        "-A HOSTMESH_DEFAULT_MARK -p tcp -j MARK --set-mark 7\nCOMMIT\n"
        "*nat\n:HOSTMESH_DEFAULT_OLD - [0:0]\n:HOSTMESH_DEFAULT_OUT - [0:0]\n"
        "-A OUTPUT -j HOSTMESH_DEFAULT_OUT\n-A OUTPUT -j HOSTMESH_DEFAULT_OUT\n"
        "-A HOSTMESH_DEFAULT_OUT -j HOSTMESH_DEFAULT_OLD\nCOMMIT\n"
    )
    host.run(["iptables-restore", "--noflush"], text=old)
    capture = CaptureHost(host)
    capture.apply(PLAN)
    text = snapshot(host)["iptables-save"]
    assert "HOSTMESH_DEFAULT_OLD" not in text
    assert "HOSTMESH_DEFAULT_MARK" not in text
    assert text.count("-A OUTPUT") == 2  # the nat table's, and the guard's
    capture.redirect("remove")
    # The tables that the old version made are not ours to take: iptables-save shows them empty.
    left = [line for line in snapshot(host)["iptables-save"].splitlines() if line[:1] == "-"]
    assert left == []
    assert before["ip address show"] == snapshot(host)["ip address show"]


def test_rules_in_the_other_backend_are_found_and_taken_out(host: Host) -> None:
    old = (
        "*nat\n:HOSTMESH_DEFAULT_OUT - [0:0]\n-A OUTPUT -p tcp -j HOSTMESH_DEFAULT_OUT\n"
        "-A HOSTMESH_DEFAULT_OUT -p tcp --dport 1 -j REDIRECT --to-ports 15001\nCOMMIT\n"
    )
    try:
        host.run(["iptables-legacy-restore", "--noflush"], text=old)
    except CommandFailed as error:
        pytest.skip(f"this kernel has no legacy iptables: {error}")
    capture = CaptureHost(host)
    capture.apply(PLAN)
    assert "HOSTMESH" not in host.run(["iptables-legacy-save"]).stdout
    assert "HOSTMESH_DEFAULT_OUT" in host.run(["iptables-save"]).stdout
    capture.redirect("remove")
    assert "HOSTMESH" not in host.run(["iptables-save"]).stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            "iptables -t nat -I OUTPUT 1 -p tcp -j ACCEPT", "rules of others stand before ours",
            id="a rule above our jump",
        ),
        pytest.param(
            "iptables -t nat -A HOSTMESH_DEFAULT_IN -p tcp -j ACCEPT", "not ours",
            id="a rule of somebody's in our chain",
        ),
        pytest.param("iptables -t nat -F", "missing", id="the table flushed"),
        pytest.param("ip6tables -t nat -F OUTPUT", "0 jumps instead of 1", id="the jump gone"),
        pytest.param("iptables -t filter -F", "filter INPUT: 0 jumps", id="the guard flushed"),
        pytest.param("ip route del 240.240.0.0/16", "missing", id="the route gone"),
        pytest.param("ip address del ::6/128 dev lo", "::6/128", id="the address gone"),
        pytest.param("ipset flush hostmesh-default-v4", "1 missing", id="the set emptied"),
        pytest.param(
            "ipset add hostmesh-default-v6 fd02::1,tcp:5", "1 too many", id="an address too many"
        ),
    ],
)  # fmt: skip
def test_drift_is_seen_and_repaired(host: Host, change: str, said: str) -> None:
    capture = CaptureHost(host)
    capture.apply(PLAN, STATE)
    wanted = snapshot(host)
    host.run(change.split())
    status = capture.redirect("status", check=False)
    assert said in status
    foreign = "-A OUTPUT -p tcp -j ACCEPT" in snapshot(host)["iptables-save"]
    capture.redirect("apply", "--assume-ready")
    repaired = snapshot(host)
    if foreign:  # it is somebody's, so it stays; ours stands above it again
        nat = repaired["iptables-save"].partition("*nat")[2].partition("COMMIT")[0]
        output = [line for line in nat.splitlines() if "-A OUTPUT" in line]
        assert "HOSTMESH_DEFAULT_OUT" in output[0]
        assert output[1] == "-A OUTPUT -p tcp -j ACCEPT"
    else:
        assert repaired == wanted


def test_a_policy_that_somebody_sets_meanwhile_stays(host: Host) -> None:
    capture = CaptureHost(host)
    capture.apply(PLAN, STATE)
    host.run(["iptables", "-P", "INPUT", "DROP"])
    capture.redirect("remove")
    left = snapshot(host)["iptables-save"]
    assert ":INPUT DROP " in left
    assert "HOSTMESH" not in left


def test_native_rules_in_the_filter_table_are_left_alone(host: Host) -> None:
    """iptables could put a guard there, and could then neither show it nor take it out."""
    native = (
        "table ip filter {\n chain INPUT {\n type filter hook input priority 0;\n"
        " ct state vmap { established : accept, invalid : drop }\n }\n}\n"
    )
    host.run(["nft", "-f", "-"], text=native)
    before = snapshot(host)
    capture = CaptureHost(host)
    said = capture.apply(PLAN, STATE)
    assert "the guard is not in for IPv4: somebody put native nft rules into" in said
    assert "G_OUT" not in snapshot(host)["nft list ruleset"].partition("table ip6")[0]
    assert "G_OUT" in snapshot(host)["ip6tables-save"]
    capture.redirect("remove")
    assert snapshot(host) == before


def test_bad_files_are_refused_and_nothing_changes(host: Host) -> None:
    capture = CaptureHost(host)
    capture.apply(PLAN, STATE)
    wanted = snapshot(host)
    good = PLAN.encode().decode()
    for text in (
        "{", "[]", good.replace('"version":1', '"version":2'), good.replace("61337", "0"),
        good.replace('"mesh"', '"all"'), good.replace('"enabled"', '"enabeld"'),
    ):  # fmt: skip
        host.write(capture.layout.capture_file, text)
        done = host.run(capture.command("apply"), check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"cannot read {capture.layout.capture_file}: ")
        assert "Traceback" not in done.stderr
    assert snapshot(host) == wanted


KILLS, KILLS_SOAK = 24, 220


def _kill_at(host: Host, words: list[str], seconds: float) -> bool:
    """Start a pass and kill it after `seconds`; False where it had ended already."""
    started = subprocess.Popen(
        host.argv(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    time.sleep(seconds)
    alive = started.poll() is None
    inside = host.run(["pgrep", "-f", "hostmesh_agent.main redirect"], check=False).stdout.split()
    for pid in inside:
        host.run(["kill", "-9", pid], check=False)
    if alive:
        os.killpg(started.pid, signal.SIGKILL)
    started.wait(10)
    return alive


def _walk_kills(host: Host, count: int) -> None:
    """Kill apply(A→B), apply(B→A) and remove at many moments; each time go on and compare."""
    capture = CaptureHost(host)
    a = replace(PLAN, inbound=tuple(InboundPort(port) for port in range(9000, 9020)))
    b = replace(PLAN, on_down_inbound=OnDown.CLOSED, exclude_outbound_ports=(5432,))
    clean = {}
    before = snapshot(host)
    for name, plan in (("a", a), ("b", b)):
        capture.apply(plan, STATE)
        clean[name] = snapshot(host)
        capture.redirect("remove")
    killed = 0
    for index, (step, plan) in zip(range(count), product(range(1000), (a, b)), strict=False):
        capture.write(plan, STATE)
        moment = 0.05 + 0.3 * ((step * 7) % 37) / 37
        verb = ["remove"] if index % 5 == 4 else ["apply", "--assume-ready"]
        killed += _kill_at(host, capture.command(*verb), moment)
        between = snapshot(host)
        _only_the_guard_drops(between)
        _no_jump_without_its_proxy_rule(between)
        began = time.monotonic()
        capture.redirect("apply", "--assume-ready")
        assert time.monotonic() - began < 2.0
        assert snapshot(host) == clean["a" if plan is a else "b"]
    capture.redirect("remove")
    assert snapshot(host) == before
    print(f"{killed} of {count} passes were killed before their end")
    assert killed >= count // 3


def _only_the_guard_drops(look: dict[str, str]) -> None:
    """It is asked about first packets alone, of an older connection's entry, and it is whole."""
    for name in ("iptables-save", "ip6tables-save"):
        lines = look[name].splitlines()
        dropping = [line.split()[1] for line in lines if line.endswith("-j DROP")]
        assert set(dropping) <= {"HOSTMESH_DEFAULT_G_IN", "HOSTMESH_DEFAULT_G_OUT"}
        assert not any(line.startswith(":") and " DROP " in line for line in lines)
        for line in lines:
            if line.endswith(("-j HOSTMESH_DEFAULT_G_IN", "-j HOSTMESH_DEFAULT_G_OUT")):
                assert "--tcp-flags FIN,SYN,RST,ACK SYN " in line
                assert "! --ctstate DNAT --ctstatus CONFIRMED " in line
        if "HOSTMESH_DEFAULT_G_OUT" in dropping:
            assert any("-A HOSTMESH_DEFAULT_OUT" in li and "--match-set" in li for li in lines)


def _no_jump_without_its_proxy_rule(look: dict[str, str]) -> None:
    """Between old and new nothing may loop: who captures also lets the proxy out."""
    for name in ("iptables-save", "ip6tables-save"):
        lines = look[name].splitlines()
        if any("-A OUTPUT" in line and "HOSTMESH_DEFAULT_OUT" in line for line in lines):
            assert any("--uid-owner 61337" in line and "RETURN" in line for line in lines)


def test_a_pass_that_is_killed_is_finished_by_the_next(host: Host) -> None:
    _walk_kills(host, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_pass_that_is_killed_is_finished_by_the_next_at_many_points(host: Host) -> None:
    _walk_kills(host, KILLS_SOAK)
