"""`run --all` on a host of its own: folders, users, who may open what, takeover, the end."""

import json
import signal
import sys
from pathlib import Path

import pytest

from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import Agent
from hostmesh_ctl.demo.processes import inside, send, words_of
from hostmesh_testing import host_snapshot
from hostmesh_testing.lab_mesh import LabMesh, start_app
from hostmesh_testing.waiting import wait_until

AGENT, ENVOY, STRANGER = 64001, 64002, 64003
LAYOUT = HostLayout()
CONFIG = "control_planes: [127.0.0.1:15012]\nservices:\n  - {name: web, port: 8080}\n"
USERS = ["--agent-user", str(AGENT), "--envoy-user", str(ENVOY)]

TAKEN_ALONG = {"iptables", "ip6tables", "routes", "hosts", "processes"}
"""Of what a joined host differs in: what ends with `run --all`."""

_OPEN = """
import errno, os, socket, sys
for path in sys.argv[1:]:
    try:
        if path.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as s: s.connect(path)
        else:
            os.close(os.open(path, os.O_RDONLY))
        print("open")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


class RunAll:
    """A host on which `run --all` runs; the agent itself has not joined and only tries."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.agent = Agent(host, CONFIG)

    def start(self) -> None:
        argv = [program("hostmesh-agent"), "run", "--all", *USERS]
        self.parent = self.host.spawn("parent", argv)

    def pid(self, *words: str) -> int:
        pids = inside(self.host.holder.pid, ["hostmesh_agent.main", *words])
        return next((pid for pid in pids if "--all" not in words_of(pid)), 0)

    def parent_pid(self) -> int:
        return next(iter(inside(self.host.holder.pid, ["run", "--all"])), 0)

    def await_up(self) -> None:
        runner = self.host.path(LAYOUT.runner_socket)
        wait_until(lambda: runner.exists() and self.pid("redirect"), seconds=20, what="run --all")

    def order(self, **order: object) -> list[dict[str, object]]:
        """Give the runner one order as the agent's user; give what it says within half a second."""
        text = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode()+b'\\n'); s.settimeout(.5)\n"
            "try:\n while d:=s.recv(4096): sys.stdout.write(d.decode())\n"
            "except TimeoutError: pass"
        )
        words = [sys.executable, "-c", text, LAYOUT.runner_socket, json.dumps({"v": 1, **order})]
        said = self.host.run(words, uid=AGENT).stdout
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def host(lab: Lab) -> RunAll:
    made = RunAll(lab.host("one"))
    made.start()
    made.await_up()
    return made


def field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return line.partition(":")[2].strip()


def start_envoy(host: RunAll) -> int:
    admin = {"address": {"pipe": {"path": LAYOUT.admin_socket, "mode": 0o660}}}
    script = "import os,sys; os.umask(0o027); open(sys.argv[1],'w').write(sys.argv[2])"
    words = [sys.executable, "-c", script, LAYOUT.bootstrap_file(0), json.dumps({"admin": admin})]
    host.host.run(words, uid=AGENT)
    (spawned,) = host.order(do="start", epoch=0, config="bootstrap-0.json", concurrency=1)
    assert "spawned" in spawned, spawned
    wait_until(host.host.path(LAYOUT.admin_socket).exists, what="Envoy's admin")
    (envoy,) = host.agent.envoy_pids()
    return envoy


def test_each_process_is_its_own_user_without_privileges(host: RunAll) -> None:
    runner, redirector = host.pid("envoy"), host.pid("redirect")
    envoy = start_envoy(host)
    for pid in (runner, envoy):
        assert field(pid, "Uid").split() == [str(ENVOY)] * 4
        assert field(pid, "Gid").split() == [str(ENVOY)] * 4
        assert field(pid, "Groups") == ""
        assert field(pid, "NoNewPrivs") == "1"
        assert int(field(pid, "CapEff"), 16) == 0
    assert field(redirector, "Uid").split() == ["0"] * 4
    wait_until(lambda: host.pid("run"), what="the agent, which tries again and again")


def test_only_its_own_users_open_what_they_are_for(host: RunAll) -> None:
    start_envoy(host)
    host.host.write(f"{LAYOUT.identity_dir}/key", "secret", mode=0o600)
    host.host.run(["chown", f"{AGENT}:{AGENT}", f"{LAYOUT.identity_dir}/key"])
    paths = [
        f"{LAYOUT.identity_dir}/key",
        LAYOUT.bootstrap_file(0),
        LAYOUT.admin_socket,
        LAYOUT.runner_socket,
        f"{LAYOUT.hot_restart_dir}/base-id",
        LAYOUT.runner_file,
    ]
    opened = {
        uid: host.host.run([sys.executable, "-c", _OPEN, *paths], uid=uid).stdout.split()
        for uid in (AGENT, ENVOY, STRANGER)
    }
    assert opened[AGENT] == ["open", "open", "open", "open", "EACCES", "open"]
    assert opened[ENVOY] == ["EACCES", "open", "open", "open", "open", "open"]
    assert opened[STRANGER] == ["EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "open"]


def test_envoy_itself_gives_the_runner_no_orders(host: RunAll) -> None:
    """It can open the socket, for it is its own user's; the runner asks who is there."""
    text = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        'print("connected"); s.sendall(b\'{"v":1,"do":"status"}\\n\'); print(s.recv(100))'
    )
    said = {
        uid: host.host.run(
            [sys.executable, "-c", text, LAYOUT.runner_socket], uid=uid, check=False
        ).stdout
        for uid in (AGENT, ENVOY)
    }
    assert "envoys" in said[AGENT]  # the very same question
    assert said[ENVOY].startswith("connected")
    assert "envoys" not in said[ENVOY]


def test_a_killed_parent_leaves_the_rest_serving_and_the_next_takes_over(host: RunAll) -> None:
    envoy = start_envoy(host)
    runner, redirector = host.pid("envoy"), host.pid("redirect")
    send(host.parent_pid(), signal.SIGKILL)
    wait_until(lambda: not host.parent_pid())
    assert host.agent.envoy_pids() == [envoy]
    host.start()
    wait_until(lambda: "found runner pid=" in host.parent.said(), what="the takeover")
    assert (host.pid("envoy"), host.pid("redirect")) == (runner, redirector)
    assert host.agent.envoy_pids() == [envoy]
    send(redirector, signal.SIGKILL)
    wait_until(lambda: host.pid("redirect") not in (0, redirector), what="a new redirector")
    assert host.pid("envoy") == runner


def test_the_end_takes_everything_along(lab: Lab) -> None:
    mesh = LabMesh(lab)
    host = mesh.host("one")
    start_app(host, "http", "one", 8080)
    host_snapshot.settle(host)
    before = host_snapshot.take(host)
    agent = mesh.join(host, ["{name: one, port: 8080, protocol: http}"])
    mesh.wait_meshed("one", 1)
    assert set(host_snapshot.differences(before, host_snapshot.take(host))) > TAKEN_ALONG
    agent.process.signal(signal.SIGTERM)
    assert agent.process.wait(60) == 0
    assert not inside(host.holder.pid, ["hostmesh_agent.main"])
    assert not agent.envoy_pids()
    assert not host.path(LAYOUT.runner_socket).exists()
    left = host_snapshot.differences(before, host_snapshot.take(host))
    assert set(left) == {"files", "contents"}, left  # its identity, and agent.yaml


def test_a_second_one_on_the_same_host_is_refused(host: RunAll) -> None:
    argv = [program("hostmesh-agent"), "run", "--all", *USERS]
    again = host.host.run(argv, check=False)
    assert again.returncode == 1
    assert "cannot start: another run --all of this instance runs already" in again.stderr
    assert host.pid("envoy")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param("control_plane: [a:1]\n", 'did you mean "control_planes"?', id="unknown key"),
        pytest.param("{", "cannot use /etc/hostmesh/agent.yaml:1", id="no YAML"),
    ],
)
def test_bad_input_starts_nothing(lab: Lab, config: str, words: str) -> None:
    host = lab.host("one")
    host.write("/etc/hostmesh/agent.yaml", config)
    ended = host.run([program("hostmesh-agent"), "run", "--all", *USERS], check=False)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not inside(host.holder.pid, ["hostmesh_agent.main"])


def test_without_the_accounts_it_names_the_options(lab: Lab) -> None:
    host = lab.host("one")
    host.write("/etc/hostmesh/agent.yaml", CONFIG)
    ended = host.run([program("hostmesh-agent"), "run", "--all"], check=False)
    assert ended.returncode == 2
    assert "cannot find user hostmesh" in ended.stderr
    assert "--agent-user" in ended.stderr


def test_an_ordinary_user_is_told_what_is_weaker_and_captures_nothing(lab: Lab) -> None:
    host = lab.host("one")
    host.write("/etc/hostmesh/agent.yaml", CONFIG)
    argv = [program("hostmesh-agent"), "run", "--all"]
    refused = host.run(argv, uid=STRANGER, check=False)
    assert refused.returncode == 2
    assert "cannot make /var/lib/hostmesh" in refused.stderr
    for folder in ("/var/lib/hostmesh", "/run/hostmesh"):
        host.run(["install", "-d", "-o", str(STRANGER), "-g", str(STRANGER), folder])
    refused = host.run(argv, uid=STRANGER, check=False)
    assert refused.returncode == 2
    assert "capture needs root" in refused.stderr
    explicit = CONFIG.replace("port: 8080", "port: 8080, mesh_port: 18080")
    host.write("/etc/hostmesh/agent.yaml", explicit + "capture: {enabled: false}\ndns: 'off'\n")
    parent = host.spawn("parent", argv, uid=STRANGER)
    wait_until(host.path(LAYOUT.runner_socket).exists, seconds=20, what="the runner")
    assert "weaker in three ways" in parent.said()
    assert not inside(host.holder.pid, ["hostmesh_agent.main", "redirect"])
    (runner,) = inside(host.holder.pid, ["hostmesh_agent.main", "envoy"])
    assert field(runner, "Uid").split() == [str(STRANGER)] * 4
