import pytest

from hostmesh_agent.logic import screens

JOINED = {
    "host_id": "7f3a",
    "identity": "default/web",
    "clock_seconds": 0.21,
    "control_plane": "cp1:15012",
    "services": ["web"],
    "identity_dir": "/var/lib/hm/identity",
}
STATUS = {
    "host_id": "7f3a",
    "identity": "default/web",
    "control_plane": "cp1:15012 connected",
    "services": [
        {
            "name": "web",
            "address": "10.1.0.4:8080",
            "protocol": "http",
            "inbound": "permissive",
            "health": "healthy (tcp, 1 ms)",
            "details": ["service web: mixed, 1 of 5 in the mesh"],
        }
    ],
    "envoy": "epoch 0, pid 7, serving",
    "capture": "6 rules, 2 routes, 1 block in /etc/hosts",
    "generation": "applied, 3 s old",
    "certificates": "renewed in 40 h",
    "waiting": [],
    "warnings": ["redirector away"],
    "next": "hostmesh service show web",
}


def test_join_says_what_changed_and_what_comes_next() -> None:
    assert screens.joined(JOINED).splitlines() == [
        "joined   host 7f3a as default/web, clock +0.2 s, control plane cp1:15012",
        "grant    may register web",
        "changed  the identity in /var/lib/hm/identity; no rule, no name, no port yet",
        "undo     hostmesh-agent leave",
        "next     hostmesh-agent run --all",
    ]


def test_a_pure_client_is_called_one() -> None:
    assert "pure client" in screens.joined(JOINED | {"services": []})


def test_status_in_one_screen() -> None:
    assert screens.status(STATUS).splitlines() == [
        "host     7f3a as default/web, control plane cp1:15012 connected",
        "service  web 10.1.0.4:8080 http permissive  app healthy (tcp, 1 ms)",
        "         service web: mixed, 1 of 5 in the mesh",
        "envoy    epoch 0, pid 7, serving",
        "capture  6 rules, 2 routes, 1 block in /etc/hosts",
        "config   applied, 3 s old",
        "certs    renewed in 40 h",
        "warning  redirector away",
        "undo     hostmesh-agent leave",
        "next     hostmesh service show web",
    ]


def test_what_agent_yaml_leaves_out_leaves_no_hole() -> None:
    service = {
        "name": "web",
        "address": "10.1.0.4:8080",
        "protocol": "http",
        "inbound": "",
        "health": "healthy (tcp)",
    }
    shown = screens.status(STATUS | {"services": [service]})
    assert "service  web 10.1.0.4:8080 http  app healthy (tcp)" in shown.splitlines()


@pytest.mark.parametrize(
    ("waiting", "services", "said"),
    [
        pytest.param(["no Envoy"], ["web"], "status", id="something is missing: look again"),
        pytest.param([], ["web"], "service show web", id="a server: look at the service"),
        pytest.param([], [], "call a service", id="a client: call something"),
    ],
)
def test_next(waiting: list[str], services: list[str], said: str) -> None:
    assert said in screens.next_command(waiting, services)


@pytest.mark.parametrize(
    ("recent", "said"),
    [
        pytest.param(
            {"seconds": 60.0, "plaintext": 14, "mutual_tls": 0, "addresses": ("10.1.0.9",)},
            "callers in 60 s: 14 without mesh (10.1.0.9), 0 by mTLS",
            id="one caller",
        ),
        pytest.param(
            {"seconds": 4.6, "plaintext": 9, "mutual_tls": 2, "addresses": ["a", "b", "c", "d"]},
            "callers in 5 s: 9 without mesh (a, b, c, …), 2 by mTLS",
            id="more than a line holds",
        ),
        pytest.param(
            {"seconds": 60, "plaintext": 0, "mutual_tls": 7, "addresses": ()},
            "callers in 60 s: 0 without mesh, 7 by mTLS",
            id="nobody without mesh",
        ),
    ],
)
def test_callers(recent: dict[str, object], said: str) -> None:
    assert screens.callers(recent) == said


def test_an_instance_beside_the_default_one_is_named() -> None:
    assert "instance gw" in screens.status(STATUS | {"instance": "gw"}).splitlines()
    assert "instance" not in screens.status(STATUS | {"instance": "default"})
