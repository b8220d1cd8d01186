"""An operator's way in stays open, whatever is applied and removed meanwhile (rules 10 and 12)."""

import subprocess
import time
from dataclasses import replace

from hostmesh_core.capture_plan import InboundPort, OnDown
from hostmesh_core.redirect_files import RedirectState, Wanted
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_testing.capture_host import PLAN, CaptureHost
from hostmesh_testing.capture_ssh import Logins, Sshd, Typing
from hostmesh_testing.waiting import wait_until

PORTS = (22, 2222)
ROUNDS = 8


def test_a_session_types_and_new_logins_succeed_through_applies_and_removes(lab: Lab) -> None:
    server, admin = lab.host("server"), lab.host("admin")
    key = Sshd(server, *PORTS).key(lab.folder)
    capture = CaptureHost(server)
    # Before the first rule: from then on nothing has tracked these connections.
    typing = [
        Typing(admin, key, server.ipv4, 2222),
        Typing(admin, key, server.ipv6, 22),
    ]
    logins = Logins(admin, key, [(a, p) for a in (server.ipv4, server.ipv6) for p in PORTS])
    try:
        wait_until(lambda: all(session.lines for session in typing))
        # Everything that a careless configuration could say: ssh declared, closed, all endpoints.
        wild = replace(
            PLAN,
            inbound=tuple(InboundPort(port) for port in (22, 2222, 8080)),
            on_down_inbound=OnDown.CLOSED,
            on_down_outbound=OnDown.CLOSED,
        )
        places = {(host.ipv4, port) for host in (server, admin) for port in PORTS}
        state = RedirectState(sequence=1, wanted=Wanted.CAPTURED, endpoints=frozenset(places))
        for turn in range(ROUNDS):
            said = capture.apply(wild if turn % 2 else PLAN, state)
            assert turn % 2 == 0 or "port 2222 is declared and not captured: ssh uses it" in said
            time.sleep(0.3)
            capture.redirect("apply", "--early")
            if turn % 3 == 2:
                capture.redirect("remove")
        wait_until(lambda: logins.done >= 2 * ROUNDS, seconds=30)
        assert all(session.alive for session in typing)
        assert logins.failed == []
        assert capture.report() is not None
    finally:
        logins.close()
        for session in typing:
            session.close()


def test_a_connection_from_before_capture_is_not_cut_on_a_declared_port(lab: Lab) -> None:
    server, client = lab.host("server"), lab.host("client")
    capture = CaptureHost(server)
    script = (
        "import socket\ns = socket.create_server(('::', 8080), family=socket.AF_INET6, "
        "dualstack_ipv6=True)\nc, _ = s.accept()\nwhile True:\n c.sendall(c.recv(100))"
    )
    server.spawn("echo", ["python3", "-c", script])
    wait_until(lambda: capture.listening(8080))
    talk = (
        "import socket, sys\n"
        f"c = socket.create_connection(('{server.ipv4}', 8080))\nc.settimeout(5)\n"
        "for line in sys.stdin:\n c.sendall(b'x'); print(c.recv(1).decode(), flush=True)"
    )
    argv = client.argv(["python3", "-c", talk])

    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as talking:
        assert talking.stdin is not None
        assert talking.stdout is not None

        def says() -> str:
            assert talking.stdin is not None
            assert talking.stdout is not None
            talking.stdin.write("\n")
            talking.stdin.flush()
            return talking.stdout.readline().strip()

        try:
            assert says() == "x"
            capture.apply(PLAN)  # nobody listens on 15006: a captured packet would be reset
            assert [says() for _ in range(5)] == ["x"] * 5
            capture.redirect("remove")
            assert says() == "x"
        finally:
            talking.kill()


def test_ssh_ports_are_found_in_configuration_units_and_sockets(lab: Lab) -> None:
    host = lab.host("server")
    capture = CaptureHost(host)
    Sshd(host, 2222, 2022)
    host.write("/etc/systemd/system/ssh.socket.d/port.conf", "[Socket]\nListenStream=2322\n")
    # Its configuration has changed since it was started: the socket says where it really is.
    host.write("/etc/ssh/sshd_config", "HostKey /etc/lab-ssh/host_key\nPort 2422\n")
    capture.apply(PLAN)
    report = capture.report()
    assert report is not None
    assert set(report.never_ports) >= {22, 2222, 2022, 2322, 2422}
