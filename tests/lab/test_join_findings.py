"""What `join` finds of real apps before it touches anything: `check --live` on a host with many."""

import json
import sys
from collections.abc import Iterator, Mapping

import pytest

from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import APP_UID, wait_for
from hostmesh_testing import host_snapshot
from hostmesh_testing.lab_mesh import agent_yaml, start_app, start_module

LAYOUT = HostLayout()
SERVES_TLS = """
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/app.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""
NGINX = """
daemon off; pid /run/nginx.pid; error_log stderr;
events {}
http { access_log off; include /run/nginx.d/*.conf; }
"""
NGINX_SITE = """
geo $inside { default 0; 10.77.0.0/24 1; }
server { listen 8088; location / { return 200; } location /in { allow 10.0.0.0/8; deny all; } }
"""
LISTENS = """
import socket, sys, time
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
"""
SERVICES = {
    "good": "port: 8080, protocol: http",
    "down": "port: 8081",
    "loopback": "port: 8082, protocol: http",
    "tls": "port: 8443, protocol: http",
    "tls-said": "port: 8443, protocol: https, service_port: 444, mesh_port: 18443",
    "mail": "port: 2525",
    "mail-left": "port: 2525, service_port: 25, mesh_port: 12525",
    "nginx": "port: 8088, protocol: http",
    "nginx-left": "port: 8088, protocol: http, service_port: 88, mesh_port: 18088",
    "redis": "port: 6379",
    "redis-password": "port: 6380",
    "mail-http": "port: 2525, protocol: http, service_port: 81, mesh_port: 12526",
    "postgres": "port: 5432",
    "postgres-local": "port: 5432, service_port: 5433, listen: '127.0.0.1:5432', mesh_port: 15432",
    "docker": "port: 8090",
}
EXPECTED = {
    "good": [],
    "down": ["warns not-listening"],
    "loopback": ["stops loopback-only"],
    "tls": ["stops speaks-tls"],
    "tls-said": [],
    "mail": ["stops speaks-first"],
    "mail-left": [],
    "nginx": ["stops judges-by-address"],
    "nginx-left": ["warns judges-by-address"],
    "redis": ["stops judges-by-address"],
    "redis-password": [],
    "mail-http": ["stops other-protocol"],
    "postgres": ["stops judges-by-address"],
    "postgres-local": ["stops judges-by-address"],
    "docker": ["stops docker-published"],
    "": ["stops port-taken"],
}
Found = Mapping[str, list[Mapping[str, str]]]


def start_all(host: Host) -> None:
    start_app(host, "http", "good", 8080)
    host.spawn("loopback", [sys.executable, "-m", "http.server", "8082", "--bind", "127.0.0.1"])
    openssl = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=app "
    host.run(
        [
            "sh",
            "-c",
            f"{openssl} -keyout /run/key -out /run/crt; cat /run/key /run/crt >/run/app.pem",
        ]
    )
    host.spawn("tls", [sys.executable, "-c", SERVES_TLS])
    start_module(host, "mail", ["hostmesh_testing.lab_apps.greeter", "2525"])
    host.write("/run/nginx.conf", NGINX)
    host.write("/run/nginx.d/site.conf", NGINX_SITE)
    host.spawn("nginx", ["nginx", "-c", "/run/nginx.conf"])
    redis = ["redis-server", "--bind", "0.0.0.0", "--save", "", "--dir", "/run", "--port"]
    host.spawn("redis", [*redis, "6379"])
    host.spawn("redis-password", [*redis, "6380", "--requirepass", "of the lab"])
    # It takes a database's place by its name, its folder and its file of rules.
    host.write(
        "/run/pg/pg_hba.conf",
        "local all all peer\nhost all all 10.77.0.0/24 scram-sha-256\n"
        "host all all 127.0.0.1/32 trust\n",
    )
    host.run(["ln", "-s", sys.executable, "/run/postgres"])
    host.spawn("postgres", ["/run/postgres", "-c", LISTENS, "5432", "-D", "/run/pg"])
    host.run(["iptables", "-t", "nat", "-N", "DOCKER"])
    dnat = ["-p", "tcp", "--dport", "8090", "-j", "DNAT", "--to-destination", "172.17.0.2:80"]
    host.run(["iptables", "-t", "nat", "-A", "DOCKER", *dnat])
    host.spawn("taken", [sys.executable, "-c", LISTENS, "15006"], uid=APP_UID)
    ports = ("8080", "8082", "8443", "2525", "8088", "6379", "6380", "5432", "15006")
    wait_for(
        "every app",
        lambda: all(f":{port} " in host.run(["ss", "-Hltn"]).stdout for port in ports),
        seconds=30,
    )


def check(host: Host) -> tuple[int, Found]:
    argv = [program("hostmesh-agent"), "check", "--live", "--agent-user", "1500", "-o", "json"]
    done = host.run(argv, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    found: dict[str, list[Mapping[str, str]]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["service"], []).append(each)
    return done.returncode, found


class Looked:
    """The host, and what one look at it found."""

    def __init__(self, host: Host) -> None:
        self.host = host
        start_all(host)
        entries = [f"{{name: {name}, {rest}}}" for name, rest in SERVICES.items()]
        host.write(LAYOUT.config_file, agent_yaml(entries))
        host_snapshot.settle(host)
        before = host_snapshot.take(host)
        self.status, self.found = check(host)
        self.changed = host_snapshot.differences(before, host_snapshot.take(host))


@pytest.fixture(scope="module")
def looked() -> Iterator[Looked]:
    with Lab() as lab:
        yield Looked(lab.host("one"))


def test_a_look_changes_nothing_and_says_that_a_join_would_stop(looked: Looked) -> None:
    assert (looked.status, looked.changed) == (2, {})


@pytest.mark.parametrize("service", EXPECTED)
def test_what_is_found_of_each(looked: Looked, service: str) -> None:
    found = [f"{each['severity']} {each['finding']}" for each in looked.found.get(service, [])]
    assert found == EXPECTED[service], looked.found.get(service)


@pytest.mark.parametrize(
    ("service", "words"),
    [
        pytest.param(
            "nginx", "/run/nginx.d/site.conf:2: geo $inside", id="nginx, in an included file"
        ),
        pytest.param(
            "postgres", "/run/pg/pg_hba.conf:2: host all all 10.77.0.0/24", id="PostgreSQL"
        ),
        pytest.param(
            "postgres-local", "/run/pg/pg_hba.conf:3: host all all 127.0.0.1/32 trust", id="trust"
        ),
        pytest.param("redis", "protected-mode yes", id="Redis"),
        pytest.param("docker", "DNAT to 172.17.0.2:80", id="Docker"),
        pytest.param("", "listens on 15006, which is ports.inbound here", id="a port of ours"),
    ],
)
def test_where_it_was_seen_is_named(looked: Looked, service: str, words: str) -> None:
    (finding,) = looked.found[service]
    assert words in finding["text"]


def test_a_firewall_that_capture_would_meet_is_foreseen(lab: Lab) -> None:
    host = lab.host("walled")
    start_app(host, "http", "web", 8080)
    host.write(LAYOUT.config_file, agent_yaml(["{name: web, port: 8080, protocol: http}"]))
    for tool in ("iptables", "ip6tables"):
        host.run([tool, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT"])
        host.run([tool, "-A", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "ACCEPT"])
        host.run([tool, "-P", "INPUT", "DROP"])
    status, found = check(host)
    assert status == 0
    (finding,) = found["web"]
    assert (finding["finding"], finding["severity"]) == ("firewall", "warns")
    assert "allow tcp port 15006" in finding["cure"]
