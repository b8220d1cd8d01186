"""Away for a while: the agent, the control plane, both. Traffic must not notice."""

import signal
import time
from collections.abc import Iterator

import pytest

from hostmesh_ctl.demo import processes
from hostmesh_ctl.demo.account import Killed
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, call, start_app
from hostmesh_testing.loaded import Loaded, told

PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
ANSWER_SECONDS = 5.0
APPLIED_SECONDS = 2.0


class Meshed:
    """A client and two servers of web."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        self.apps = []
        for name in ("web1", "web2"):
            host = mesh.host(name)
            app = App(host, f"app-{name}", PORT)
            app.start()
            self.apps.append(app)
            mesh.join(host, [WEB])
        self.client = mesh.join(mesh.host("client"))
        mesh.wait_meshed("web", 2)

    def load(self) -> Loaded:
        return Loaded(self.client.host, "web", PORT, self.apps)


@pytest.fixture(scope="module")
def meshed() -> Iterator[Meshed]:
    with Lab() as lab:
        yield Meshed(LabMesh(lab))


def _next_agent(agent: Agent, killed: int) -> None:
    wait_for("the next agent", lambda: agent.agent_pid() not in {0, killed})
    wait_for("its answer", agent.status)


def test_an_app_killed_behind_its_living_envoy_fails_only_what_was_inside_it(
    meshed: Meshed,
) -> None:
    load = meshed.load()
    app, kills = meshed.apps[0], []
    for _ in range(8):
        kills.append(Killed(server=app.name, at=time.monotonic()))
        app.process.signal(signal.SIGKILL)
        time.sleep(0.5)
        app.start()
        wait_for("its answers", lambda: _answers(load, app))
    made = load.account(kills)
    assert told(made.failed) == []
    assert made.longest_wait < 2.0
    # A GET inside the killed app is repeated on the other one; a POST is not.
    assert all(record.method == "POST" for record in made.in_flight)


def _answers(load: Loaded, app: App) -> bool:
    recent = load.records(since=time.monotonic() - 1.0)
    return any(record.server == app.name for record in recent)


@pytest.mark.parametrize("whose", ["client", "web1"])
def test_an_agent_killed_under_load_is_not_noticed_and_the_next_one_goes_on(
    meshed: Meshed, whose: str
) -> None:
    agent = meshed.mesh.agents[whose]
    load = meshed.load()
    envoys, pid = agent.envoy_pids(), agent.agent_pid()
    assert envoys
    assert pid
    agent.kill(pid)
    _next_agent(agent, pid)
    agent.wait_ready()
    late = f"late-{whose}"
    host = meshed.mesh.host(late)
    start_app(host, "http", late, 9081)
    meshed.mesh.join(host, [f"{{name: {late}, port: 9081, protocol: http}}"])
    meshed.mesh.wait_meshed(late, 1)
    if whose == "client":
        cluster = f"{late}.default.mesh.internal"
        took = wait_for("it in the same Envoy", lambda: agent.upstreams(cluster, 9081))
        assert took < APPLIED_SECONDS
    assert agent.envoy_pids() == envoys
    made = load.account()
    assert told(made.failed) == []
    assert made.succeeded > 100


def test_a_control_plane_away_is_not_noticed_and_restarts_come_back_from_what_is_stored(
    meshed: Meshed,
) -> None:
    meshed.mesh.control_plane.stop()
    load = meshed.load()
    time.sleep(2.0)
    assert told(load.account().failed) == []
    client = meshed.client
    client.process.stop(seconds=70.0)
    assert client.envoy_pids() == []
    began = time.monotonic()
    client.start()
    wait_for("an answer", lambda: call(client.host, "web", PORT).caller, seconds=15)
    took = time.monotonic() - began
    print(f"answered {took:.2f} s after the agent's start, without a control plane")
    assert took < ANSWER_SECONDS
    meshed.mesh.control_plane.start()
    client.wait_ready()
    meshed.mesh.wait_meshed("web", 2)


def test_a_frozen_control_plane_expires_nobody(meshed: Meshed) -> None:
    control_plane = meshed.mesh.control_plane
    load = meshed.load()
    control_plane.process.signal(signal.SIGSTOP)
    time.sleep(20.0)
    control_plane.process.signal(signal.SIGCONT)
    end = time.monotonic() + 8.0
    while time.monotonic() < end:
        rows = control_plane.endpoints("web").values()
        assert [row["meshed"] for row in rows] == [True, True]
        assert {row["health"] for row in rows} == {"healthy"}
        time.sleep(0.2)
    assert told(load.account().failed) == []


def test_an_envoy_that_crashes_is_back_and_its_agent_never_went(meshed: Meshed) -> None:
    client = meshed.client
    agent = client.agent_pid()
    began = time.monotonic()
    for pid in client.envoy_pids():
        processes.send(pid, signal.SIGKILL)
    wait_for("an answer", lambda: call(client.host, "web", PORT).caller, seconds=10)
    took = time.monotonic() - began
    print(f"answered {took:.2f} s after SIGKILL of Envoy")
    assert took < 2.0
    assert client.agent_pid() == agent


def test_a_hot_restart_loses_no_request(meshed: Meshed) -> None:
    load = meshed.load()
    before = meshed.client.envoy_pids()
    meshed.client.command("restart-envoy")
    wait_for("a new Envoy", lambda: set(meshed.client.envoy_pids()) - set(before))
    time.sleep(2.0)
    made = load.account()
    assert told(made.failed) == []


def test_leave_takes_everything_away_in_an_order_that_nobody_notices(meshed: Meshed) -> None:
    agent = meshed.mesh.agents["web1"]
    load = meshed.load()
    agent.command("leave")
    rows = meshed.mesh.control_plane.endpoints("web")
    assert list(rows) == [f"{meshed.mesh.agents['web2'].host.ipv4}:{PORT}"]
    time.sleep(1.0)
    made = load.account()
    assert told(made.failed) == []
    assert agent.envoy_pids() == []
    rules = agent.host.run(["sh", "-c", "iptables-save; ip6tables-save; ip route show table all"])
    assert "15001" not in rules.stdout
    assert "15006" not in rules.stdout
    assert "240.240" not in rules.stdout
    assert "web.default.mesh.internal" not in agent.host.path("/etc/hosts").read_text()
