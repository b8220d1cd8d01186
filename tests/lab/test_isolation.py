"""What an unprivileged user of a host, and Envoy's own user, can do to the mesh: tried, one by one.

What is tried is found on the running host: every AF_UNIX name, every TCP listener, every file and
folder, every segment of shared memory, every process of ours. What this file has no expectation for
fails, and so does whatever is open and not listed here with its reason.
"""

import json
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest

from hostmesh_ctl.demo import inside, processes
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import AGENT_UID, APP_UID, ENVOY_UID, LAYOUT, NotInTime, wait_for
from hostmesh_testing import isolation
from hostmesh_testing.isolation import Tried
from hostmesh_testing.lab_apps.intruder import OPEN
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, call, start_app

LISTENS = """
import errno, socket, sys
with socket.socket() as wanted:
    wanted.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    wanted.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        wanted.bind(("127.0.0.1", int(sys.argv[1])))
        wanted.listen()
        print("open")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
ANOTHER_UID = 1002
REFUSED = {"EACCES", "EPERM"}
Reasons = Mapping[str, str]

SOCKETS = (
    r"/run/hostmesh/default/(admin/(admin|runner)|envoy/xds|control/agent)\.sock",
    r"/run/hostmesh/default/hot-restart/s_(udp_)?(child|parent)_0",
    r"/run/hostmesh-controlplane/api\.sock",
)
PORTS: Reasons = {
    r"15001|151\d\d": "outbound capture: dialled directly it is its own destination: closed",
    "15006": "inbound capture: dialled directly it has no chain: closed",
    "15020": "loopback: the agent's figures and status; takes no order, holds no secret",
    "15021": "all addresses: whether Envoy serves, a status code",
    "15090": "loopback: Envoy's figures",
    str(PORT): "the app itself, which local processes reach without Envoy",
    "15012": "the control plane: mutual TLS, nothing without a host's certificate",
    "15013": "enrolment: TLS; gives the roots to anybody, and a certificate for a token",
    "15014": "loopback: the control plane's figures",
}
FILES = (
    r"/(etc|var/lib|run)/hostmesh(-controlplane)?",
    r"/etc/hostmesh/(agent|controlplane)\.yaml|/etc/hostmesh/catalog",
    r"/dev/shm(/envoy_shared_memory_0|/hostmesh_base_id_0)?",
    r"/run/hostmesh/(redirect\.lock|default(/(admin|control|envoy|capture|hot-restart|parent))?)",
    r"/run/hostmesh/default/envoy/bootstrap-0\.json",
    r"/run/hostmesh/default/(capture/(state|names)|redirector(/report)?)(\.json)?",
    r"/run/hostmesh/default/(hot-restart/(base-id|runner\.lock)|parent/(lock|\w+\.json)|control/running\.json)",
    r"/var/lib/hostmesh/(redirect-shared\.json|\.made-(log|run|state)|default)",
    r"/var/lib/hostmesh/default/(capture|made|mesh|runner|redirect-applied|callers)\.json",
    r"/var/lib/hostmesh/default/(identity|xds)(/[\w./-]+)?",
    r"/var/lib/hostmesh-controlplane/(ca(/(root|intermediate)\.pem)?|store\.db(-shm|-wal|\.lock)?)",
)
PROCESSES = (r"/proc/\d+/\w+", r"\d+")
KNOWN = {
    "connect": SOCKETS,
    "datagram": SOCKETS,
    "tcp": tuple(rf"(127\.0\.0\.1|::1) ({port})" for port in PORTS),
    "read": (*FILES, *PROCESSES),
    "write": FILES,
}
ANYBODY: Reasons = {
    r"tcp .*": "the reason stands with the port",
    r"read /(etc|run|var/lib)/hostmesh(/default)?": "names of folders and files",
    r"read /etc/hostmesh/(agent\.yaml|controlplane\.yaml|catalog)": "written by people, no secret",
    r"read /run/hostmesh/default/(capture|redirector)(/\w+\.json)?": "addresses and names",
    r"read /var/lib/hostmesh/default/(capture|made|mesh|runner)\.json": "ports, uids, domain",
    r"(read|write) /dev/shm": "every user's",
}
ENVOYS: Reasons = {
    **ANYBODY,
    r"connect /run/hostmesh/default/admin/admin\.sock": "Envoy's own admin",
    r"connect /run/hostmesh/default/admin/runner\.sock": "its own; it asks who calls",
    r"connect /run/hostmesh/default/envoy/xds\.sock": "what Envoy is told, certificates too",
    r"connect /run/hostmesh/default/hot-restart/.*": "Envoy's own",
    r"(read|write) /run/hostmesh/default/(admin|hot-restart(/.*)?)": "Envoy's own folders",
    r"read /run/hostmesh/default/envoy(/bootstrap-0\.json)?": "what Envoy starts from",
    r"(read|write) /dev/shm/(envoy_shared_memory|hostmesh_base_id)_0": "Envoy's own",
}
OF_ENVOYS_USER = {"runner", "envoy"}
"""Processes that its user may read, signal and trace, for they are its own."""


class Isolated:
    """A joined host and its control plane."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        self.host = mesh.host("server")
        start_app(self.host, "http", "web", PORT)
        self.agent = mesh.join(self.host, [WEB])
        mesh.wait_meshed("web", 1)

    def owned(self, host: Host, names_: set[str]) -> set[str]:
        return {str(each.pid) for each in isolation.running(host) if each.name in names_}


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    with Lab() as lab:
        yield Isolated(LabMesh(lab))


def _table(who: str, tried: Sequence[Tried], allowed: Reasons) -> None:
    print(f"\n{who}: {len(tried)} attempts")
    for each in tried:
        reason = next((why for rule, why in allowed.items() if _is(rule, each)), "")
        shown = f"  ({reason})" if each.got == OPEN and reason else ""
        print(f"  {each.kind:<16} {each.target:<60} {each.got}{shown}")


def _is(rule: str, tried: Tried) -> bool:
    return re.fullmatch(rule, f"{tried.kind} {tried.target}") is not None


def _wrong(tried: Sequence[Tried], allowed: Reasons, own: set[str]) -> list[str]:
    """Give what has no expectation, and what got something else than is expected."""
    wrong = []
    for each in tried:
        known = KNOWN.get(each.kind, PROCESSES)
        if not any(re.fullmatch(pattern, each.target) for pattern in known):
            wrong.append(f"no expectation for: {each}")
        elif any(_is(rule, each) for rule in allowed):
            continue
        elif each.got not in REFUSED and _pid_of(each) not in own:
            wrong.append(f"must be refused: {each}")
    return wrong


def _pid_of(tried: Tried) -> str:
    found = re.fullmatch(r"(?:/proc/)?(\d+)(?:/\w+)?", tried.target)
    return found[1] if found else ""


def _try(host: Host, uid: int) -> list[Tried]:
    wanted = isolation.attempts(host, uid)
    tried = isolation.try_all(host, uid, wanted)
    assert [(each.kind, each.target) for each in tried] == wanted
    return tried


def test_an_unprivileged_user_can_do_nothing_to_a_joined_host(isolated: Isolated) -> None:
    tried = _try(isolated.host, APP_UID)
    _table("uid 1001 on a joined host", tried, ANYBODY)
    assert _wrong(tried, ANYBODY, set()) == []
    assert {each.kind for each in tried} >= {*KNOWN, *isolation.ON_PROCESSES}
    assert {each.name for each in isolation.running(isolated.host)} == {
        "parent", "agent", "runner", "redirector", "envoy",
    }  # fmt: skip
    assert isolation.segments(isolated.host) == []


def test_an_unprivileged_user_can_do_nothing_to_a_control_plane(isolated: Isolated) -> None:
    tried = _try(isolated.mesh.cp, APP_UID)
    _table("uid 1001 on a control plane's host", tried, ANYBODY)
    assert _wrong(tried, ANYBODY, set()) == []


def test_envoys_own_user_reaches_no_key_and_no_other_process(isolated: Isolated) -> None:
    own = isolated.owned(isolated.host, OF_ENVOYS_USER)
    assert len(own) == 2
    tried = _try(isolated.host, ENVOY_UID)
    _table("Envoy's own user on a joined host", tried, ENVOYS)
    assert _wrong(tried, ENVOYS, own) == []
    identity = [each for each in tried if each.target.startswith(LAYOUT.identity_dir)]
    assert len(identity) > 10
    assert {each.got for each in identity} == {"EACCES"}


@pytest.mark.parametrize("uid", [APP_UID, ENVOY_UID])
def test_a_capture_port_that_is_dialled_directly_is_no_way_past_anything(
    isolated: Isolated, uid: int
) -> None:
    host = isolated.host
    ports = [15001, 15006, *range(15101, 15165)]
    where = ["127.0.0.1", "::1", host.ipv4, host.ipv6]
    wanted = [("http", f"{address} {port}") for address in where for port in ports]
    tried = isolation.try_all(host, uid, wanted)
    got = {each.got for each in tried}
    print(f"uid {uid}: {len(tried)} direct calls of capture ports: {got}")
    assert len(tried) == len(wanted)
    assert got <= {"closed", "ECONNRESET", "ECONNREFUSED"}


def test_no_port_of_envoys_can_be_had_while_envoy_is_away(isolated: Isolated) -> None:
    """Rules may lead there still, and readiness is believed: nobody else may listen there."""
    agent = isolated.agent
    paused = agent.agent_pid()
    processes.send(paused, signal.SIGSTOP)  # so that nobody starts the next one
    try:
        for pid in agent.envoy_pids():
            agent.kill(pid)
        wait_for("Envoy's end", lambda: not agent.envoy_pids())
        got = {port: _listen(isolated.host, port) for port in (15001, 15006, 15021, 15090, 15999)}
    finally:
        processes.send(paused, signal.SIGCONT)
    agent.wait_ready()
    assert got == dict.fromkeys((15001, 15006, 15021, 15090), "EADDRINUSE") | {15999: OPEN}


def _listen(host: Host, port: int) -> str:
    """Listen as an ordinary user, by every means that there is; give what the kernel said."""
    argv = [sys.executable, "-c", LISTENS, str(port)]
    return host.run(argv, uid=APP_UID, check=False).stdout.strip()


def test_what_is_open_on_loopback_holds_no_secret(isolated: Isolated) -> None:
    pid = isolated.host.holder.pid
    for port, paths in ((15020, ("/metrics", "/status")), (15090, ("/stats/prometheus",))):
        for path in paths:
            status, body = inside.ask(pid, path, port=port)
            assert status == 200
            assert b"PRIVATE KEY" not in body
            assert b"BEGIN CERT" not in body
    for method in ("POST", "PUT", "DELETE"):
        status, _ = inside.ask(pid, "/status", port=15020, method=method)
        assert status in {404, 405, 501}


def test_the_environment_of_no_process_and_no_command_line_holds_a_secret(
    isolated: Isolated,
) -> None:
    seen = 0
    for host in (isolated.host, isolated.mesh.cp):
        for process in isolation.running(host):
            for name in ("environ", "cmdline"):
                text = host.run(["cat", f"/proc/{process.pid}/{name}"]).stdout
                seen += len(text)
                assert "PRIVATE" not in text
                assert not re.search(r"hm[a-z]*\.[\w-]+\.[\w-]{20,}", text)
    assert seen > 500


def _own_envoy(host: Host, uid: int) -> str:
    """Run the real Envoy as `uid` on a bootstrap that asks for everything; give what it got."""
    binary = json.loads(host.path(LAYOUT.runner_file).read_text())["binary"]
    folder = f"/run/intruder-{uid}"
    host.run(["install", "-d", "-o", str(uid), "-m", "700", folder])
    host.write(f"{folder}/bootstrap.json", json.dumps(_bootstrap(19000 + uid)))
    words = [binary, "--config-path", f"{folder}/bootstrap.json", "--base-id", str(uid)]
    words += ["--socket-path", f"{folder}/s", "--socket-mode", "600", "--concurrency", "1"]
    running = host.spawn(f"intruder-{uid}", words, uid=uid)
    pid = host.holder.pid
    try:
        wait_for("it asked", lambda: running.alive and _asked(pid, 19000 + uid))
        return inside.ask(pid, "/config_dump?include_eds", port=19000 + uid)[1].decode()
    except NotInTime as error:
        raise NotInTime(f"{error}; it said {running.said()[-1500:]}") from error
    finally:
        running.stop()


def _asked(pid: int, port: int) -> bool:
    path = "/stats?filter=cluster.relay.(upstream_cx_connect_fail|upstream_rq_active)"
    text = inside.ask(pid, path, port=port)[1].decode()
    counts = [int(line.rpartition(" ")[2]) for line in text.splitlines()]
    dump = inside.ask(pid, "/config_dump", port=port)[1]
    return counts[0] > 2 or b"dynamic_active_secrets" in dump


def _bootstrap(admin: int) -> object:
    ads = {"ads": {}, "resource_api_version": "V3"}
    relay = {
        "name": "relay",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _at("relay", {"pipe": {"path": LAYOUT.xds_socket}}),
    }
    stream = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "relay"}}],
    }
    return {
        "node": {"id": "intruder", "cluster": "intruder"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "dynamic_resources": {"ads_config": stream, "cds_config": ads},
        "static_resources": {"clusters": [relay]},
    }


def _at(name: str, address: object) -> object:
    endpoint = {"endpoint": {"address": address}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def test_an_envoy_of_another_user_is_given_no_secret(isolated: Isolated) -> None:
    assert "dynamic_active_secrets" not in _own_envoy(isolated.host, APP_UID)


def test_the_same_envoy_gets_it_as_envoys_own_user(isolated: Isolated) -> None:
    """The attempt is a real one; what it gets is what Envoy's user holds in memory anyway."""
    assert "dynamic_active_secrets" in _own_envoy(isolated.host, ENVOY_UID)
    assert call(isolated.host, "web", PORT).status == 200


EXPLICIT = "capture: {enabled: false}\ndns: 'off'\n"


def test_with_one_user_for_everything_the_others_still_get_nothing(isolated: Isolated) -> None:
    """What is weaker: that very user reads the keys, which runs Envoy too."""
    host = isolated.mesh.host("user")
    start_app(host, "http", "mine", 8080)
    mine = "{name: mine, port: 8080, protocol: http, mesh_port: 18080}"
    host.write("/etc/hostmesh/agent.yaml", agent_yaml([mine], EXPLICIT))
    for folder in ("/var/lib/hostmesh", "/run/hostmesh"):
        host.run(["install", "-d", "-o", str(AGENT_UID), "-g", str(AGENT_UID), folder])
    token = isolated.mesh.control_plane.token("--service", "mine")
    host.write("/run/join.token", token + "\n", mode=0o600)
    host.run(["chown", str(AGENT_UID), "/run/join.token"])
    words = ["join", "--enrol-only", "--token-file", "/run/join.token"]
    host.run([program("hostmesh-agent"), *words], uid=AGENT_UID)
    host.spawn("agent", [program("hostmesh-agent"), "run", "--all"], uid=AGENT_UID)
    isolated.mesh.wait_meshed("mine", 1)
    tried = _try(host, ANOTHER_UID)
    allowed = {**ANYBODY, "tcp .* (8080|18080)": "the app, and its port in the mesh"}
    bad = [each for each in tried if each.got not in REFUSED]
    left = [each for each in bad if not any(_is(rule, each) for rule in allowed)]
    _table("uid 1002 on a host that one ordinary user runs", bad, allowed)
    assert left == []
    keys = [each for each in isolation.files(host) if each.endswith("key.pem")]
    assert keys
    weaker = isolation.try_all(host, AGENT_UID, [("read", key) for key in keys])
    assert {each.got for each in weaker} == {OPEN}
