"""The lab has to be right before anything that it shows can be."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from hostmesh_ctl.demo.commands import CommandFailed, run
from hostmesh_ctl.demo.hosts import PREFIX, Host, Lab, sweep
from hostmesh_ctl.demo.processes import start_ticks
from hostmesh_testing.waiting import wait_until


def _fetch(host: Host, address: str) -> str:
    words = ["curl", "-sS", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}"]
    return host.run([*words, f"http://{address}:8000/"], check=False).stdout


def _answers(host: Host, address: str) -> bool:
    return _fetch(host, address) == "200"


def _web(host: Host) -> None:
    host.spawn("web", [sys.executable, "-m", "http.server", "8000", "--bind", "::"], uid=1001)
    wait_until(lambda: _fetch(host, host.ipv4) == "200")


def test_hosts_reach_each_other_on_both_families(lab: Lab) -> None:
    one, two = lab.host("one"), lab.host("two")
    _web(two)
    assert [_fetch(one, address) for address in (two.ipv4, f"[{two.ipv6}]")] == ["200", "200"]


def test_a_cut_host_is_silent_until_it_is_restored(lab: Lab) -> None:
    one, two = lab.host("one"), lab.host("two")
    _web(two)
    two.cut()
    # 000 after a second of nothing: not refused, and the host itself still sees its link up.
    assert [_fetch(one, address) for address in (two.ipv4, f"[{two.ipv6}]")] == ["000", "000"]
    assert "LOWER_UP" in two.run(["ip", "link", "show", "eth0"]).stdout
    two.restore()
    for address in (two.ipv4, f"[{two.ipv6}]"):
        wait_until(partial(_answers, one, address))


def test_a_host_has_files_names_and_processes_of_its_own(lab: Lab) -> None:
    one, two = lab.host("one"), lab.host("two")
    for place in (
        "/etc/hostmesh/x",
        "/var/lib/hostmesh/x",
        "/run/hostmesh/x",
        "/dev/shm/x",
        "/root/x",
    ):
        one.write(place, "one")
        assert not two.path(place).exists(), place
        assert not Path(place).exists(), place
    one.add_name("cp1.example.net", "10.77.0.9")
    assert "10.77.0.9" in one.run(["getent", "hosts", "cp1.example.net"]).stdout
    assert two.run(["getent", "hosts", "cp1.example.net"], check=False).returncode != 0
    two.spawn("sleep", ["sleep", "1000"])
    assert "sleep 1000" not in one.run(["ps", "ax"]).stdout
    assert two.run(["hostname"]).stdout.strip() == "two"


def test_etc_hosts_can_be_replaced_by_a_rename(lab: Lab) -> None:
    host = lab.host("one")
    host.run(["sh", "-c", "echo 10.9.9.9 new >/etc/h && mv /etc/h /etc/hosts"])
    assert host.run(["getent", "hosts", "new"]).stdout.startswith("10.9.9.9")


def test_our_programs_run_as_any_user_wherever_they_are_installed(lab: Lab) -> None:
    host = lab.host("one")
    code = "import os, hostmesh_core, hostmesh_ctl; print(os.getuid())"
    assert host.run([sys.executable, "-c", code], uid=4321).stdout == "4321\n"


def test_nothing_of_the_callers_environment_reaches_a_host(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "secret")
    assert "PLANTED" not in lab.host("one").run(["env"]).stdout


def test_an_orphan_is_reaped_at_once(lab: Lab) -> None:
    host = lab.host("one")
    host.run(["sh", "-c", "setsid sh -c 'sleep 0.1' >/dev/null 2>&1 &"])
    time.sleep(0.4)
    assert "<defunct>" not in host.run(["ps", "ax"]).stdout


def test_a_background_process_is_signalled_and_heard(lab: Lab) -> None:
    host = lab.host("one")
    running = host.spawn(
        "trap", ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; sleep 99& wait"]
    )
    wait_until(lambda: "up" in running.said())
    assert (running.stop(), running.said()) == (3, "up\nbye\n")


def test_what_fails_inside_says_so(lab: Lab) -> None:
    with pytest.raises(CommandFailed, match="ended with 1"):
        lab.host("one").run(["false"])


SLEEP = f"sleep {7_000_000 + os.getpid()}"


def _machine() -> dict[str, object]:
    """What a lab must not change: namespaces, links, mounts."""
    return {
        "netns": run(["ip", "netns"]).stdout,
        "links": re.sub(r"\d+: ", "", run(["ip", "-br", "link"]).stdout),
        "mounts": Path("/proc/self/mounts").read_text(),
    }


def _left_of(pid: int) -> list[str]:
    """The folders and processes of the labs of one owner; other labs may run beside these tests."""
    mine = f"{PREFIX}{pid}-"
    lines = run(["ps", "-eo", "pid,args", "-ww"]).stdout.splitlines()
    found = [line for line in lines if mine in line or line.endswith(SLEEP)]
    return found + [path.name for path in Path(tempfile.gettempdir()).glob(f"{mine}*")]


def test_the_end_of_the_lab_leaves_nothing() -> None:
    before = _machine()
    with Lab() as lab:
        host = lab.host("one")
        host.run(["sh", "-c", f"setsid {SLEEP} >/dev/null 2>&1 &"])
        wait_until(lambda: SLEEP in host.run(["ps", "ax"]).stdout)
        assert len(_left_of(os.getpid())) >= 4  # the search can tell
        assert _machine() == before
    assert _machine() == before
    assert _left_of(os.getpid()) == []


OWNER = """
import sys, time
from hostmesh_ctl.demo.hosts import Lab
with Lab() as lab:
    host = lab.host("one")
    host.run(["sh", "-c", f"setsid {sys.argv[2]} >/dev/null 2>&1 &"])
    print("up", flush=True)
    if sys.argv[1] == "keep":
        lab.leave_running()
    else:
        time.sleep(60)
"""


def _owner(how: str) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, how, SLEEP], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    return owner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_owner_leaves_nothing(number: signal.Signals) -> None:
    before = _machine()
    with _owner("wait") as owner:
        owner.send_signal(number)
        assert owner.wait(10) != 0
    assert _machine() == before
    assert _left_of(owner.pid) == []


def test_a_killed_owner_leaves_a_folder_at_most_and_sweep_takes_it() -> None:
    before = _machine()
    with _owner("wait") as owner:
        owner.kill()
    wait_until(lambda: len(_left_of(owner.pid)) <= 1, what="the end of its hosts")
    sweep()
    assert _machine() == before
    assert _left_of(owner.pid) == []


def test_a_kept_lab_lives_until_it_is_swept() -> None:
    before = _machine()
    with _owner("keep") as owner:
        assert owner.wait(10) == 0
    sweep()  # an ordinary sweep spares it
    lines = [line for line in _left_of(owner.pid) if "demo.holder" in line]
    holders = [int(line.split()[0]) for line in lines]
    assert len(holders) >= 2
    assert sweep(kept=True)
    wait_until(lambda: not any(start_ticks(pid) for pid in holders))
    wait_until(lambda: _left_of(owner.pid) == [], what="the end of all of it")
    assert _machine() == before
