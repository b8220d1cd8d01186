"""`join` as a person types it, and `leave`: one command each way, on hosts that serve."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import APP_UID, Agent, wait_for
from hostmesh_testing import host_snapshot
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, call, start_app, start_module

LAYOUT = HostLayout()
TOKEN_FILE = "/root/join.token"
USERS = ["--agent-user", "1500", "--envoy-user", "1337"]
WEB = "{name: web, port: 8080, protocol: http}"


class Joining:
    """A control plane, and hosts on which `join` is typed."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh

    def host(self, name: str, *entries: str, extra: str = "") -> Host:
        host = self.mesh.host(name)
        self.mesh.agents[name] = Agent(host, agent_yaml(entries, extra))
        words = [w for each in entries for w in ("--service", each.split(":")[1].split(",")[0])]
        token = self.mesh.control_plane.token(*[word.strip() for word in words])
        host.write(TOKEN_FILE, token + "\n", mode=0o600)
        host_snapshot.settle(host)
        return host

    def uses_left(self) -> list[int]:
        text = self.mesh.control_plane.command("token", "list", "--output", "json")
        return [int(row["uses_left"]) for row in json.loads(text)]


def join(host: Host, *words: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
    users = [] if uid else USERS
    argv = [program("hostmesh-agent"), "join", "--token-file", TOKEN_FILE, *users, *words]
    return host.run(argv, check=False, timeout=150, uid=uid)


def leave(host: Host, *, uid: int = 0) -> subprocess.CompletedProcess[str]:
    return host.run([program("hostmesh-agent"), "leave"], check=False, timeout=150, uid=uid)


@pytest.fixture(scope="module")
def joining() -> Iterator[Joining]:
    with Lab() as lab:
        yield Joining(LabMesh(lab))


def test_one_command_joins_and_one_leaves_nothing(joining: Joining) -> None:
    host = joining.host("web", WEB)
    start_app(host, "http", "web", 8080)
    before = host_snapshot.take(host)
    argv = [program("hostmesh-agent"), "join", "--token-file", TOKEN_FILE, *USERS, "--watch", "8"]
    running = host.spawn("join", argv)
    wait_for("the watch", lambda: "watching who calls" in running.said(), seconds=60)
    for _ in range(3):
        assert call(joining.mesh.cp, "web", 8080, address=host.ipv4).status == 200
    assert running.wait(60) == 0, running.said()
    lines = running.said().splitlines()
    text = "\n".join(lines)
    assert any(line.startswith("joined   host ") and "as default/web" in line for line in lines)
    assert f"web      {host.ipv4}:8080 http  PERMISSIVE  app healthy (tcp)" in text
    assert "s: 3 without mesh" in text, text
    assert "rules, 2 routes, 1 block in /etc/hosts" in text
    assert "undo     hostmesh-agent leave" in text
    assert not host.path(TOKEN_FILE).exists()
    assert host.path(LAYOUT.log_file).stat().st_mode & 0o777 == 0o640
    again = join(host, "--watch", "0", "--output", "json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert (answer["waiting"], answer["status"]["services"][0]["inbound"]) == ([], "permissive")
    left = leave(host)
    assert left.returncode == 0, left.stderr
    assert "deregistered" in left.stdout
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}
    assert leave(host).stdout == "this host has not joined; nothing to leave\n"


def test_a_finding_stops_before_anything_and_its_cure_joins(joining: Joining) -> None:
    host = joining.host("loopback", "{name: loopback, port: 8080, protocol: http}")
    script = (
        "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080, bind='127.0.0.1')"
    )
    host.spawn("app", ["python3", "-c", script], uid=APP_UID)
    wait_for("the app", lambda: ":8080" in host.run(["ss", "-Hltn"]).stdout)
    before, uses = host_snapshot.take(host), joining.uses_left()
    stopped = join(host)
    assert stopped.returncode == 2
    assert "cannot join without breaking callers; nothing was changed" in stopped.stderr
    assert "`listen: '127.0.0.1:8080'`" in stopped.stderr
    assert "--accept loopback-only:loopback" in stopped.stderr
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}
    assert joining.uses_left() == uses
    entry = "{name: loopback, port: 8080, protocol: http, listen: '127.0.0.1:8080'}"
    host.write(LAYOUT.config_file, agent_yaml([entry]))
    joined = join(host, "--watch", "0")
    assert joined.returncode == 0, joined.stderr
    assert leave(host).returncode == 0


def test_an_accepted_finding_joins_and_is_printed(joining: Joining) -> None:
    host = joining.host("mail", "{name: mail, port: 2525, protocol: tcp}")
    start_module(host, "app", ["hostmesh_testing.lab_apps.greeter", "2525"])
    stopped = join(host, "--watch", "0")
    assert stopped.returncode == 2
    assert "--accept speaks-first:mail" in stopped.stderr
    joined = join(host, "--watch", "0", "--accept", "speaks-first:mail")
    assert joined.returncode == 0, joined.stderr
    assert "accepted speaks-first: mail on port 2525 speaks first" in joined.stdout
    joining.mesh.wait_meshed("mail", 1)
    assert leave(host).returncode == 0


def test_what_is_waited_for_is_printed_and_exit_status_1(joining: Joining) -> None:
    host = joining.host("later", "{name: later, port: 8080, protocol: http}")
    joined = join(host, "--watch", "0")
    assert joined.returncode == 1, joined.stderr
    assert "waiting  later: " in joined.stdout
    assert "nothing listens there; start the app" in joined.stdout
    start_app(host, "http", "later", 8080)
    joining.mesh.wait_meshed("later", 1)
    assert join(host, "--watch", "0").returncode == 0
    assert leave(host).returncode == 0


def test_what_the_grant_does_not_cover_is_named_with_the_command(joining: Joining) -> None:
    host = joining.host("granted", "{name: granted, port: 8080, protocol: http}")
    start_app(host, "http", "granted", 8080)
    other = "{name: other, port: 8080, protocol: http, service_port: 81, mesh_port: 18080}"
    entries = ["{name: granted, port: 8080, protocol: http}", other]
    host.write(LAYOUT.config_file, agent_yaml(entries))
    joined = join(host, "--watch", "0")
    assert joined.returncode == 1, joined.stderr
    assert "waiting  other: " in joined.stdout
    assert "hostmesh host grant" in joined.stdout
    joining.mesh.wait_meshed("granted", 1)
    assert leave(host).returncode == 0


def test_each_port_that_cannot_be_reached_is_named_apart(joining: Joining) -> None:
    host = joining.host("cut", "{name: cut, port: 8080}")
    start_app(host, "echo", "cut", 8080)
    before, uses = host_snapshot.take(host), joining.uses_left()
    cp = joining.mesh.cp
    drop = ["-p", "tcp", "--dport", "15013", "-s", f"{host.ipv4}/32", "-j", "DROP"]
    drop6 = ["-p", "tcp", "--dport", "15013", "-s", f"{host.ipv6}/128", "-j", "DROP"]
    host.write(LAYOUT.config_file, agent_yaml(["{name: cut, port: 8080}"]).replace("15012", "9"))
    cp.run(["iptables", "-I", "INPUT", *drop])
    cp.run(["ip6tables", "-I", "INPUT", *drop6])
    try:
        ended = join(host)
    finally:
        cp.run(["iptables", "-D", "INPUT", *drop])
        cp.run(["ip6tables", "-D", "INPUT", *drop6])
    assert ended.returncode == 1
    assert "cp1:15013 for enrolment: no answer (firewall?)" in ended.stderr
    assert "cp1:9 for xDS and the host stream: refused" in ended.stderr
    assert "the token is unused" in ended.stderr
    assert joining.uses_left() == uses
    host.write(LAYOUT.config_file, agent_yaml(["{name: cut, port: 8080}"]))
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}


def test_an_ordinary_user_joins_leaves_and_joins_nothing_that_is_root_s(joining: Joining) -> None:
    own = "capture: {enabled: false}\ndns: 'off'\n"
    host = joining.host(
        "user", "{name: user, port: 8080, protocol: http, mesh_port: 18080}", extra=own
    )
    start_app(host, "http", "user", 8080)
    for folder in ("/var/lib/hostmesh", "/run/hostmesh"):
        host.run(["install", "-d", "-o", str(APP_UID), "-g", str(APP_UID), folder])
    token = f"/tmp/{host.folder.parent.name}.token"  # hosts share /tmp, and no snapshot sees it
    host.run(["mv", TOKEN_FILE, token])
    host.run(["chown", str(APP_UID), token])
    before = host_snapshot.take(host)
    argv = [program("hostmesh-agent"), "join", "--token-file", token, "--watch", "0"]
    joined = host.run(argv, check=False, timeout=120, uid=APP_UID)
    assert joined.returncode == 0, joined.stderr
    assert "no rule, no route, no name" in joined.stdout
    assert leave(host, uid=APP_UID).returncode == 0
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}


def test_a_token_file_that_stays_is_a_warning(joining: Joining) -> None:
    host = joining.host("readonly", "{name: readonly, port: 8080}")
    start_app(host, "echo", "readonly", 8080)
    host.run(["mkdir", "/run/token"])
    host.run(["mv", TOKEN_FILE, "/run/token/it"])
    host.run(["mount", "--bind", "-o", "ro", "/run/token", "/run/token"])
    argv = [program("hostmesh-agent"), "join", "--token-file", "/run/token/it", "--watch", "0"]
    joined = host.run([*argv, *USERS], check=False, timeout=120)
    assert joined.returncode == 0, joined.stderr
    assert "cannot remove /run/token/it: Read-only file system" in joined.stderr
    assert "Traceback" not in joined.stderr
    assert leave(host).returncode == 0


def test_a_join_again_gives_a_host_its_lost_run_all_back(joining: Joining) -> None:
    host = joining.host("unkept", "{name: unkept, port: 8080, protocol: http}")
    start_app(host, "http", "unkept", 8080)
    before = host_snapshot.take(host)
    assert join(host, "--watch", "0").returncode == 0
    agent = joining.mesh.agents["unkept"]
    agent.kill(agent.pid("hostmesh_agent.main", "run", "--all"))
    status = host.run([program("hostmesh-agent"), "status"]).stdout
    assert "warning  `run --all` has ended" in status
    runs, envoys = agent.agent_pid(), agent.envoy_pids()
    again = join(host, "--watch", "0")
    assert again.returncode == 0, again.stderr
    assert "starting `run --all` again" in again.stderr
    assert (agent.agent_pid(), agent.envoy_pids()) == (runs, envoys)
    agent.kill(runs)
    wait_for("another agent", lambda: agent.agent_pid() not in (0, runs), seconds=30)
    host.write("/etc/hostmesh/other.yaml", host.path(LAYOUT.config_file).read_text())
    wait_for("its answer", lambda: _answers(host), seconds=30)
    other = join(host, "--watch", "0", "--config", "/etc/hostmesh/other.yaml")
    assert other.returncode == 2
    assert f"this host's agent runs with {LAYOUT.config_file}" in other.stderr
    host.run(["rm", "/etc/hostmesh/other.yaml"])
    assert leave(host).returncode == 0
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}


def test_after_a_reboot_the_same_join_brings_the_host_back(joining: Joining) -> None:
    """All processes, rules and /run are gone; the state, /etc/hosts and no token are there."""
    host = joining.host("rebooted", "{name: rebooted, port: 8080, protocol: http}")
    start_app(host, "http", "rebooted", 8080)
    kernel = "for t in iptables ip6tables; do $t-save > /root/$t; done"
    host.run(["sh", "-c", kernel])
    joined = join(host, "--watch", "0")
    assert "reboot   run this join again" in joined.stdout, joined.stderr
    agent = joining.mesh.agents["rebooted"]
    parent = agent.pid("hostmesh_agent.main", "run", "--all")
    for pid in (parent, agent.agent_pid(), agent.pid("redirect"), agent.pid("hostmesh_agent.main")):
        agent.kill(pid)
    for pid in agent.envoy_pids():
        agent.kill(pid)
    host.run(["sh", "-c", kernel.replace("save >", "restore <") + "; rm -rf /run/hostmesh"])
    assert "mesh.internal" in host.path("/etc/hosts").read_text()
    again = join(host, "--watch", "0")
    assert again.returncode == 0, again.stderr
    assert "starting the agent" in again.stderr
    assert call(joining.mesh.cp, "rebooted", 8080, address=host.ipv4).status == 200
    assert leave(host).returncode == 0


def _answers(host: Host) -> bool:
    """Whether the agent does, and is in the mesh."""
    return host.run([program("hostmesh-agent"), "status"], check=False).returncode == 0


def test_a_killed_host_is_left_too(joining: Joining) -> None:
    """Parent and agent are killed; Envoy and the rules go on serving: leave finds them."""
    host = joining.host("killed", "{name: killed, port: 8080, protocol: http}")
    start_app(host, "http", "killed", 8080)
    before = host_snapshot.take(host)
    assert join(host, "--watch", "0").returncode == 0
    agent = joining.mesh.agents["killed"]
    agent.kill(agent.pid("hostmesh_agent.main", "run", "--all"))
    agent.kill(agent.agent_pid())
    assert "HOSTMESH" in host.run(["iptables-save"]).stdout
    left = leave(host)
    assert left.returncode == 0, left.stderr
    assert "deregistered" in left.stdout
    with pytest.raises(BadInput, match="cannot find service killed"):
        joining.mesh.control_plane.endpoints("killed")
    assert host_snapshot.differences(before, host_snapshot.take(host)) == {}
