"""agent.yaml changes under load: a service comes, a port moves, one leaves; nobody notices."""

import json
import re
import signal
import time

from hostmesh_core.errors import BadInput
from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab, program
from hostmesh_ctl.demo.mesh import APP_UID, Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, call
from hostmesh_testing.loaded import Loaded, told

RATE = 200.0
WEB = "{{name: web, port: {port}, service_port: 80, protocol: http}}"
API = "{name: api, port: 9071, protocol: http}"
FILE = "/etc/hostmesh/agent.yaml"
TOKEN = ["--service-account", "web", "--service", "web", "--service", "api"]


class Reloading:
    """A host with two apps of one service on two ports, and a meshed client that loads it."""

    def __init__(self, lab: Lab, *, token: list[str] | None = None) -> None:
        self.mesh = LabMesh(lab)
        self.host = self.mesh.host("server")
        self.old = App(self.host, "web-8080", 8080)
        self.new = App(self.host, "web-9090", 9090)
        self.api = App(self.host, "api", 9071)
        for app in (self.old, self.new, self.api):
            app.start()
        self.agent = self.mesh.join(self.host, [WEB.format(port=8080)], token=token or TOKEN)
        self.mesh.wait_meshed("web", 1)
        self.client = self.mesh.join(self.mesh.host("client"))

    def load(self, service: str = "web", port: int = 80) -> Loaded:
        apps = [self.old, self.new, self.api]
        return Loaded(self.client.host, service, port, apps, rate=RATE)

    def write(self, *entries: str) -> None:
        self.host.write(FILE, agent_yaml(entries))

    def reload(self, *entries: str) -> dict[str, object]:
        self.write(*entries)
        return changed(self.agent, "reload")

    def endpoints(self, service: str) -> list[str]:
        try:
            found = self.mesh.control_plane.endpoints(service)
        except BadInput:
            return []  # nobody lists or registers it any more
        return sorted(key for key, row in found.items() if row["meshed"])


def changed(agent: Agent, *words: str, uid: int = 0) -> dict[str, object]:
    argv = [program("hostmesh-agent"), *words, "--output", "json"]
    done = agent.host.run(argv, uid=uid, check=False, timeout=200)
    assert "Traceback" not in done.stderr, done.stderr
    try:
        answer: dict[str, object] = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(done.stderr) from None
    assert done.returncode == (0 if answer["whole"] else 1), done
    return answer


def answered_by(world: Reloading, service: str, port: int) -> str:
    """Call by the mesh name, once the client has it; give who answered."""
    host = world.client.host
    wait_for(f"an answer of {service}", lambda: call(host, service, port).status == 200)
    return str(call(host, service, port).said["server"])


def captured(agent: Agent) -> list[int]:
    """Give which of the apps' ports the kernel leads into Envoy."""
    rules = agent.host.run(["iptables-save", "-t", "nat"]).stdout
    return [port for port in (8080, 9071, 9090) if re.search(rf"\b{port}\b", rules)]


def test_a_service_comes_and_a_port_moves_under_load_without_a_failed_request(lab: Lab) -> None:
    world = Reloading(lab)
    load = world.load()
    time.sleep(1.0)
    added = world.reload(WEB.format(port=8080), API)
    assert added["changes"] == ["api: added on port 9071"]
    assert added["whole"], added
    world.mesh.wait_meshed("api", 1)
    assert captured(world.agent) == [8080, 9071]
    assert answered_by(world, "api", 9071) == "api"
    began = time.monotonic()
    moved = world.reload(WEB.format(port=9090), API)
    ended = time.monotonic()
    assert moved["changes"] == ["web: port 8080 -> 9090"]
    assert moved["whole"], moved
    assert moved["every_peer_applied"]
    assert world.endpoints("web") == [f"{world.host.ipv4}:9090"]
    assert captured(world.agent) == [9071, 9090]
    time.sleep(1.0)
    records = load.records()
    assert {r.server for r in records if r.start < began} == {"web-8080"}
    assert {r.server for r in records if r.start > ended} == {"web-9090"}
    made = load.account()
    assert told(made.failed) == []
    assert made.sent > RATE * 2
    assert not world.agent.status()["waiting"]


def test_the_detector_trips_where_a_port_moves_without_a_reload(lab: Lab) -> None:
    """The control: everything is started again with the edited file, old before new."""
    world = Reloading(lab)
    load = world.load()
    world.write(WEB.format(port=9090))
    world.agent.process.stop(seconds=60)
    world.agent.start()
    world.agent.wait_ready()
    assert answered_by(world, "web", 80) == "web-9090"
    assert len(load.account().failed) > 20


def test_an_agent_that_crashes_beside_a_half_edited_file_comes_back_as_it_was(lab: Lab) -> None:
    world = Reloading(lab)
    load = world.load()
    world.host.write(FILE, agent_yaml([WEB.format(port=9090), "{name: ap"]))
    pid = world.agent.agent_pid()
    world.agent.kill(pid)
    wait_for("the next agent", lambda: world.agent.agent_pid() not in (0, pid))
    world.agent.wait_ready()
    assert any("was edited since: hostmesh-agent reload" in str(t) for t in waiting(world.agent))
    assert world.endpoints("web") == [f"{world.host.ipv4}:8080"]
    assert world.reload(WEB.format(port=9090))["whole"]
    world.agent.kill(world.agent.agent_pid())
    time.sleep(3.0)
    world.agent.wait_ready()
    assert world.endpoints("web") == [f"{world.host.ipv4}:9090"]
    assert told(load.account().failed) == []


def waiting(agent: Agent) -> list[object]:
    status = agent.status()
    found = [*listed(status.get("waiting")), *listed(status.get("warnings"))]
    assert found, status
    return found


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def refused(agent: Agent, text: str) -> str:
    """Reload with a file that is to be refused with nothing changed; give the error."""
    capture = agent.host.path("/var/lib/hostmesh/default/capture.json")
    before = capture.read_bytes(), addresses(agent)
    agent.host.write(FILE, text)
    done = agent.host.run([program("hostmesh-agent"), "reload"], check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert (capture.read_bytes(), addresses(agent)) == before
    return done.stderr


def addresses(agent: Agent) -> list[object]:
    services = listed(agent.status()["services"])
    return [(each["address"], each["registered"]) for each in services if isinstance(each, dict)]


def test_a_bad_file_changes_nothing_and_says_what_is_meant(lab: Lab) -> None:
    world = Reloading(lab)
    web = WEB.format(port=9090)
    said = refused(world.agent, agent_yaml([web.replace("protocol", "protocoll")]))
    assert f"{FILE}:4" in said
    assert 'did you mean "protocol"?' in said
    said = refused(world.agent, agent_yaml([web], "ports: {status: 15999}\n"))
    assert "cannot change ports: while the agent runs" in said
    said = refused(world.agent, agent_yaml([web], "envoy: {concurrency: 3}\n"))
    assert "cannot change envoy.concurrency while the agent runs" in said
    said = refused(world.agent, agent_yaml([web], "instance: other\n"))
    assert "instance" in said
    assert world.endpoints("web") == [f"{world.host.ipv4}:8080"]


def test_what_the_grant_does_not_cover_is_refused_by_name_and_the_rest_goes_on(lab: Lab) -> None:
    world = Reloading(lab, token=["--service", "web"])
    load = world.load()
    came = world.reload(WEB.format(port=9090), API)
    assert not came["whole"]
    (reason,) = listed(came["refused"])
    assert "api:9071 refused: the grant" in str(reason)
    command = str(reason).partition("allow it with: ")[2]
    assert command.startswith("hostmesh host grant ")
    assert captured(world.agent) == [9090], "callers of a refused port find its app"
    assert call(world.mesh.cp, "api", 9071, address=world.host.ipv4).said["server"] == "api"
    assert world.endpoints("web") == [f"{world.host.ipv4}:9090"], "the others go on"
    assert any(str(reason) in str(text) for text in waiting(world.agent))
    world.mesh.control_plane.command(*command.split()[1:])
    world.mesh.wait_meshed("api", 1)
    assert captured(world.agent) == [9071, 9090]
    assert answered_by(world, "api", 9071) == "api"
    assert changed(world.agent, "reload")["whole"]
    assert told(load.account().failed) == []


def test_a_port_whose_app_is_not_there_yet_moves_when_it_is(lab: Lab) -> None:
    world = Reloading(lab)
    load = world.load()
    world.new.process.stop()
    came = world.reload(WEB.format(port=9090))
    assert not came["whole"]
    assert "nothing listens" in str(came["unproven"])
    assert "web stays on port 8080" in str(came["kept"])
    assert world.endpoints("web") == [f"{world.host.ipv4}:8080"]
    assert captured(world.agent) == [8080, 9090]
    assert any("has not ended" in str(text) for text in waiting(world.agent))
    world.new.start()
    assert changed(world.agent, "reload")["whole"]
    assert world.endpoints("web") == [f"{world.host.ipv4}:9090"]
    assert captured(world.agent) == [9090]
    assert told(load.account().failed) == []


def test_a_reload_that_is_killed_anywhere_and_run_again_ends_in_the_new_configuration(
    lab: Lab,
) -> None:
    world = Reloading(lab)
    load = world.load()
    port, killed = 8080, 0
    for number in range(8):
        port = 9090 if port == 8080 else 8080
        world.write(WEB.format(port=port))
        running = world.host.spawn("reload", [program("hostmesh-agent"), "reload"])
        time.sleep(0.35 + 0.15 * number)
        killed += running.alive
        running.signal(signal.SIGKILL)
        running.wait(5)
        again = changed(world.agent, "reload")
        assert again["whole"], (number, again)
        assert world.endpoints("web") == [f"{world.host.ipv4}:{port}"]
        assert captured(world.agent) == [port]
    assert killed >= 5
    assert told(load.account().failed) == []


def test_a_restart_of_everything_takes_a_killed_reload_to_its_end(lab: Lab) -> None:
    world = Reloading(lab)
    world.write(WEB.format(port=9090))
    running = world.host.spawn("reload", [program("hostmesh-agent"), "reload"])
    time.sleep(0.7)
    running.signal(signal.SIGKILL)
    running.wait(5)
    world.agent.process.stop(seconds=60)
    world.agent.start()
    world.agent.wait_ready()
    want = [f"{world.host.ipv4}:9090"]
    wait_for("the new port", lambda: world.endpoints("web") == want)
    assert captured(world.agent) == [9090]
    assert answered_by(world, "web", 80) == "web-9090"


def test_one_service_leaves_stays_out_over_restarts_and_comes_back(lab: Lab) -> None:
    world = Reloading(lab)
    assert world.reload(WEB.format(port=8080), API)["whole"]
    world.mesh.wait_meshed("api", 1)
    load = world.load("api", 9071)
    world.write(WEB.format(port=9090), API)  # an edit that nobody has asked for yet
    gone = changed(world.agent, "leave", "--service", "web")
    assert (gone["changes"], gone["left"]) == (["web: removed from port 8080"], ["web"])
    assert world.endpoints("web") == []
    assert captured(world.agent) == [9071]
    world.write(WEB.format(port=8080), API)
    world.agent.kill(world.agent.agent_pid())
    wait_for("the next agent", lambda: world.agent.status().get("connected"))
    world.agent.wait_ready()
    assert world.agent.status()["left"] == ["web"]
    assert "hostmesh-agent resume web" in world.agent.command("status")
    assert world.endpoints("web") == []
    back = changed(world.agent, "resume", "web")
    assert (back["whole"], back["left"]) == (True, [])
    world.mesh.wait_meshed("web", 1)
    assert answered_by(world, "web", 80) == "web-8080"
    assert told(load.account().failed) == []
    changed(world.agent, "leave", "--service", "web")
    world.reload(API)
    assert not world.host.path("/var/lib/hostmesh/default/left.json").exists()


def test_a_narrowed_grant_takes_one_service_out_and_a_wider_one_brings_it_back(lab: Lab) -> None:
    world = Reloading(lab, token=["--service", "web", "--service", "api"])
    assert world.reload(WEB.format(port=8080), API)["whole"]
    world.mesh.wait_meshed("api", 1)
    load = world.load("api", 9071)
    plane = world.mesh.control_plane
    assert upstreams(world, "web", 80) == [f"{world.host.ipv4}:8080"]
    plane.command("host", "grant", "server", "--remove-service", "web")
    took = wait_for("web to be out", lambda: upstreams(world, "web", 80) == [], seconds=5)
    assert took <= 5.0
    wait_for("the rule of web to go", lambda: captured(world.agent) == [9071], seconds=5)
    assert call(world.mesh.cp, "web", 8080, address=world.host.ipv4).said["server"] == "web-8080"
    (reason,) = [str(text) for text in waiting(world.agent) if "web" in str(text)]
    assert "refused: the grant" in reason
    command = reason.partition("allow it with: ")[2]
    plane.command(*command.split()[1:])
    world.mesh.wait_meshed("web", 1)
    world.agent.wait_ready()
    assert answered_by(world, "web", 80) == "web-8080"
    assert told(load.account().failed) == []


def upstreams(world: Reloading, service: str, port: int) -> list[str]:
    try:
        return sorted(world.client.upstreams(f"{service}.default.mesh.internal", port))
    except inside.NoAnswer:
        return ["(no answer)"]


def test_sighup_of_the_parent_reloads(lab: Lab) -> None:
    world = Reloading(lab)
    world.write(WEB.format(port=9090))
    world.agent.process.signal(signal.SIGHUP)
    want = [f"{world.host.ipv4}:9090"]
    wait_for("the move", lambda: world.endpoints("web") == want and captured(world.agent) == [9090])
    wait_for("its word", lambda: "port 8080 -> 9090" in world.agent.process.said())


MINE = "{{name: mine, port: {port}, service_port: 80, protocol: http, mesh_port: {mesh_port}}}"
EXPLICIT = "capture: {enabled: false}\ndns: 'off'\n"


def test_the_one_user_of_explicit_mode_reloads_too(lab: Lab) -> None:
    """No root, no rule: a port and its mesh_port move together under load, then mesh_port alone."""
    mesh = LabMesh(lab)
    host = mesh.host("user")
    apps = [App(host, f"mine-{port}", port) for port in (8080, 8081)]
    for app in apps:
        app.start()
    agent = Agent(host, agent_yaml([MINE.format(port=8080, mesh_port=18080)], EXPLICIT))
    for folder in ("/var/lib/hostmesh", "/run/hostmesh", "/run/mine"):
        host.run(["install", "-d", "-o", str(APP_UID), "-g", str(APP_UID), folder])
    host.write("/run/mine/join.token", mesh.control_plane.token("--service", "mine") + "\n")
    host.run(["chown", str(APP_UID), "/run/mine/join.token"])
    words = ["join", "--enrol-only", "--token-file", "/run/mine/join.token"]
    host.run([program("hostmesh-agent"), *words], uid=APP_UID)
    host.spawn("agent", [program("hostmesh-agent"), "run", "--all"], uid=APP_UID)
    mesh.wait_meshed("mine", 1)
    client = mesh.join(mesh.host("client"))
    load = Loaded(client.host, "mine", 80, apps, rate=RATE)
    host.write(FILE, agent_yaml([MINE.format(port=8081, mesh_port=18081)], EXPLICIT))
    moved = changed(agent, "reload", uid=APP_UID)
    assert (moved["whole"], moved["changes"]) == (True, ["mine: port 8080 -> 8081"])
    assert list(mesh.control_plane.endpoints("mine")) == [f"{host.ipv4}:18081"]
    time.sleep(0.5)
    made = load.account()
    assert told(made.failed) == []
    assert set(made.by_server) == {"mine-8080", "mine-8081"}
    host.write(FILE, agent_yaml([MINE.format(port=8081, mesh_port=18082)], EXPLICIT))
    assert changed(agent, "reload", uid=APP_UID)["whole"]
    assert list(mesh.control_plane.endpoints("mine")) == [f"{host.ipv4}:18082"]
    wait_for("an answer of mine", lambda: call(client.host, "mine", 80).status == 200)
    assert "HOSTMESH" not in host.run(["iptables-save"]).stdout.upper()
