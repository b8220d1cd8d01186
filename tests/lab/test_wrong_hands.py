"""Strangers beside a join and a leave, an agent's user that has been taken over, and Ctrl-C.

What a host's ordinary users or a hole in the agent can do must not become root's doing, nor keep
root from leaving.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo import processes
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import AGENT_UID, Agent, wait_for
from hostmesh_testing import host_snapshot
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, start_app

LAYOUT = HostLayout()
TOKEN_FILE = "/root/join.token"
USERS = ["--agent-user", "1500", "--envoy-user", "1337"]
STRANGER = 1600
SLEEPS = "import time; time.sleep(600)"
LOCKS = """
import fcntl, os, time
while True:
    try:
        fcntl.flock(os.open("/var/lib/hostmesh/default", os.O_RDONLY), fcntl.LOCK_EX)
        time.sleep(600)
    except OSError:
        time.sleep(0.05)
"""
TALKS = """
import os, socket, sys, time
path = sys.argv[1]
os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(50)
print("serving", flush=True)
held = []
while True:
    connection, _ = server.accept()
    held.append(connection)
    connection.sendall(b'{"progress": "\\\\u001b[2Jwait"}\\n[]\\n')
"""
FILLS = """
import os, sys
folders = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
print("filling", flush=True)
number = 0
while True:
    number += 1
    for folder in folders:
        try:
            os.close(os.open(f"f{number % 50}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
            os.mkdir(f"d{number % 50}", dir_fd=folder)
        except OSError:
            pass
"""
DAMAGES = "import sys; path = sys.argv[1]; open(path, 'w').write('{\"host_id\": 5}')"


@pytest.fixture(scope="module")
def mesh() -> Iterator[LabMesh]:
    with Lab() as lab:
        yield LabMesh(lab)


def _host(mesh: LabMesh, name: str) -> Host:
    host = mesh.host(name)
    entry = f"{{name: {name}, port: 8080, protocol: http}}"
    mesh.agents[name] = Agent(host, agent_yaml([entry]))
    token = mesh.control_plane.token("--service", name)
    host.write(TOKEN_FILE, token + "\n", mode=0o600)
    start_app(host, "http", name, 8080)
    host_snapshot.settle(host)
    return host


def _words(*words: str) -> list[str]:
    join = ["--token-file", TOKEN_FILE, "--watch", "0", *USERS] if words == ("join",) else []
    return [program("hostmesh-agent"), *words, *join]


def _run(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    done = host.run(_words(*words), check=False, timeout=150)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def _leaves_nothing(host: Host, before: host_snapshot.Snapshot) -> None:
    after = host_snapshot.take(host)
    assert host_snapshot.differences(before, after) == {}


def test_strangers_neither_pass_for_ours_nor_stand_in_the_way(mesh: LabMesh) -> None:
    host = _host(mesh, "strangers")
    planted = "/tmp/planted/hostmesh_agent"
    host.write(f"{planted}/__init__.py", "")
    host.write(f"{planted}/main.py", "open('/root/ran', 'w')\n")
    argv = [sys.executable, "-c", SLEEPS, "hostmesh_agent.main"]
    strangers = [
        host.spawn("parent", [*argv, "run", "--all"], uid=STRANGER),
        host.spawn("one-shot", [*argv, "redirect", "show"], uid=STRANGER),
        host.spawn("runner", [*argv, "envoy"], uid=STRANGER),
        host.spawn("locks", [sys.executable, "-c", LOCKS], uid=STRANGER),
    ]
    before = host_snapshot.take(host)
    joined = _run(host, "join")
    assert joined.returncode == 0, joined.stderr
    folder_lock = "/var/lib/hostmesh/default"
    wait_for("the stranger's lock", lambda: _is_locked(host, folder_lock))
    argv = ["sh", "-c", f"cd /tmp/planted && exec {program('hostmesh-agent')} leave"]
    left = host.run(argv, check=False, timeout=150)
    assert left.returncode == 0, left.stderr
    assert "deregistered" in left.stdout
    assert all(each.alive for each in strangers)
    assert not host.path("/root/ran").exists()
    _leaves_nothing(host, before)


def _is_locked(host: Host, folder: str) -> bool:
    script = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 6)"
    return host.run([sys.executable, "-c", script, folder], check=False).returncode != 0


def test_an_agent_s_user_that_was_taken_over_cannot_keep_root_from_leaving(mesh: LabMesh) -> None:
    host = _host(mesh, "taken")
    before = host_snapshot.take(host)
    assert _run(host, "join").returncode == 0
    agent = mesh.agents["taken"]
    agent.kill(agent.pid("hostmesh_agent.main", "run", "--all"))
    agent.kill(agent.agent_pid())
    pipe = f"{LAYOUT.identity_dir}/host.json"
    host.run(["sh", "-c", f"rm {pipe} && mkfifo {pipe}"], uid=AGENT_UID)
    talking = host.spawn(
        "talks", [sys.executable, "-c", TALKS, LAYOUT.control_socket], uid=AGENT_UID
    )
    wait_for("the talker", lambda: "serving" in talking.said())
    for words in (["status"], ["reload"], ["leave", "--service", "taken"], ["drain"]):
        done = _run(host, *words)
        assert (done.returncode, "\x1b" in done.stderr) == (1, False), done.stderr
        assert "?[2Jwait" in done.stderr
    host.run(["rm", pipe])
    host.run([sys.executable, "-c", DAMAGES, pipe], uid=AGENT_UID)
    folders = [LAYOUT.control_dir, LAYOUT.identity_dir, LAYOUT.xds_dir]
    filling = host.spawn("fills", [sys.executable, "-c", FILLS, *folders], uid=AGENT_UID)
    wait_for("the filler", lambda: "filling" in filling.said())
    left = _run(host, "leave")
    assert left.returncode == 0, left.stderr
    talking.stop()
    filling.stop()
    _leaves_nothing(host, before)


@pytest.mark.parametrize("after", ["enrolling", "starting the agent", "waiting for"])
def test_a_join_that_is_interrupted_says_no_more_than_that(mesh: LabMesh, after: str) -> None:
    name = f"int-{after.split()[0]}"
    host = _host(mesh, name)
    before = host_snapshot.take(host)
    said = _interrupted(host, "join", after=after)
    assert said.rstrip().endswith("Aborted!")
    again = _run(host, "join")
    assert again.returncode == 0, again.stderr
    said = _interrupted(host, "leave", after="")
    left = _run(host, "leave")
    assert left.returncode == 0, left.stderr
    _leaves_nothing(host, before)


def _interrupted(host: Host, verb: str, *, after: str) -> str:
    """Press Ctrl-C once it says `after`: its whole session gets the signal."""
    running = host.spawn(f"{verb}-{time.monotonic_ns()}", _words(verb))
    wait_for(f"{verb} to say {after}", lambda: after in running.said() and bool(running.said()))
    for pid in processes.inside(host.holder.pid, ["hostmesh-agent", verb]):
        os.kill(pid, signal.SIGINT)
    running.wait(60)
    assert "Traceback" not in running.said(), running.said()
    return running.said()
