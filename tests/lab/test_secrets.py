"""No secret where somebody could read it; nothing of the environment changes what a host does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import MORE_ENVIRONMENT, Host, Lab
from hostmesh_ctl.demo.mesh import JOIN_FILE, Agent, wait_for
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh, call, start_app

PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
CONSUL_TOKEN_FILE = "/etc/hostmesh/consul.token"
WITH_TOKEN = WITH_CONSUL.replace("8500'}", f"8500', token_file: {CONSUL_TOKEN_FILE}}}")
READABLE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
DEAD_PROXY = "http://127.0.0.1:1"
PROXIES = ("https_proxy", "http_proxy", "HTTPS_PROXY", "grpc_proxy", "all_proxy")


def _processes(host: Host) -> Iterator[Path]:
    own = Path(f"/proc/{host.holder.pid}/ns/pid").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns/pid").readlink() == own:
                yield folder
        except OSError:
            continue


def _visible(host: Host) -> dict[str, bytes]:
    """Give what others could see of a host: command lines, environments, logs, loose files."""
    seen = {}
    for folder in _processes(host):
        for name in ("cmdline", "environ"):
            try:
                seen[f"{folder.name} {name}"] = (folder / name).read_bytes()
            except OSError:
                continue
    for log in host.folder.glob("*.log"):
        seen[log.name] = log.read_bytes()
    for root in ("/run/hostmesh", "/run/hostmesh-controlplane", "/etc/hostmesh"):
        for path in host.path(root).rglob("*"):
            if path.is_file():
                seen[str(path)] = path.read_bytes()
    return seen


@pytest.fixture
def mesh() -> Iterator[LabMesh]:
    with Lab() as lab:
        yield LabMesh(lab)


def test_token_and_keys_are_nowhere_to_be_read(mesh: LabMesh) -> None:
    host = mesh.host("server")
    start_app(host, "http", "web", PORT)
    token = mesh.control_plane.token("--service", "web")
    secret = token.split(".")[2]
    agent = Agent(host, f"version: 1\ncontrol_planes: [cp1:15012]\nservices: [{WEB}]\n")
    agent.join(token)
    agent.start()
    agent.wait_ready()
    for where in (host, mesh.cp):
        visible = _visible(where)
        assert len(visible) > 5
        assert [name for name, text in visible.items() if secret.encode() in text] == []
        assert [name for name, text in visible.items() if READABLE.search(text)] == []
    assert not host.path(JOIN_FILE).exists()
    store = mesh.cp.path("/var/lib/hostmesh-controlplane")
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert stored
    assert [path.name for path in stored if secret.encode() in path.read_bytes()] == []
    assert secret not in agent.admin("/config_dump")
    assert "PRIVATE KEY" not in agent.admin("/config_dump")


def test_the_search_would_find_a_secret(mesh: LabMesh) -> None:
    host = mesh.host("server")
    host.spawn("leak", ["sleep", "1000"], env={"LEAK": "planted-secret"})
    wait_for("the leak", lambda: any(b"planted-secret" in t for t in _visible(host).values()))


def test_keys_are_for_the_agent_alone(mesh: LabMesh) -> None:
    host = mesh.host("server")
    start_app(host, "http", "web", PORT)
    mesh.join(host, [WEB])
    files = [p for p in host.path("/var/lib/hostmesh").rglob("*") if p.is_file()]
    keys = [path for path in files if READABLE.search(path.read_bytes())]
    assert keys
    assert {oct(path.stat().st_mode & 0o777) for path in keys} == {"0o600"}
    assert {path.stat().st_uid for path in keys} == {1500}


def test_a_dead_proxy_in_the_environment_changes_nothing(
    mesh: LabMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.setitem(MORE_ENVIRONMENT, name, DEAD_PROXY)
    host, caller = mesh.host("server"), mesh.host("client")
    assert DEAD_PROXY in host.run(["env"]).stdout
    start_app(host, "http", "web", PORT)
    mesh.join(host, [WEB])
    mesh.join(caller)
    mesh.wait_meshed("web", 1)
    answer = call(caller, "web", PORT)
    assert answer.caller == "spiffe://mesh.internal/ns/default/sa/client"


def test_the_consul_token_stays_in_its_file(lab: Lab, consul_bin: Path) -> None:
    mesh = LabMesh(lab, config=WITH_TOKEN, start=False)
    consul = ConsulServer(mesh.cp, consul_bin, acl=True)
    consul.start()
    consul.bootstrap_acl()
    accessor, secret = consul.make_token()
    mesh.cp.write(CONSUL_TOKEN_FILE, secret + "\n", mode=0o600)
    consul.register(Instance(service="web", address="10.77.0.99", port=PORT))
    mesh.control_plane.start()
    wait_for("Consul's endpoint", lambda: mesh.control_plane.endpoints("web"))
    consul.delete_token(accessor)  # what is logged about a refused token must not hold it either
    wait_for(
        "a stale source", lambda: "stale" in str(mesh.control_plane.rows("sources")), seconds=30
    )
    visible = _visible(mesh.cp)
    for path in mesh.cp.path("/var/lib/hostmesh-controlplane").rglob("*"):
        if path.is_file():
            visible[str(path)] = path.read_bytes()
    holding = [name for name, text in visible.items() if secret.encode() in text]
    assert [name for name in holding if not name.endswith(CONSUL_TOKEN_FILE)] == []
    assert len(holding) == 1  # the search did find it where it belongs
    assert secret not in str(mesh.control_plane.rows("sources"))
