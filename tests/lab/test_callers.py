"""Who calls without the mesh, on real hosts: counted exactly, kept, told, shut out by strict."""

import contextlib
import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from hostmesh_ctl.demo import inside, processes
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import LAYOUT, Agent, wait_for
from hostmesh_testing.lab_mesh import LabMesh, call, start_app, virtual_address

HTTP, TCP, FIRST = 9080, 5432, 3306
SEEN_SECONDS = 15.0
FORGED = "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\n"
CALLS = 14
SERVICES = ("web", "db", "greet")
BOOK = LAYOUT.callers_file


class Callers:
    """A server of web and db, a client in the mesh, and one beside it that is not."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        host = mesh.host("server")
        start_app(host, "http", "web", HTTP)
        start_app(host, "echo", "db", TCP)
        start_app(host, "greet", "greet", FIRST)
        first = f"port: {FIRST}, protocol: tcp, server_first: true, inbound: strict"
        entries = [
            f"{{name: web, port: {HTTP}, protocol: http}}",
            f"{{name: db, port: {TCP}, protocol: tcp}}",
            f"{{name: greet, {first}}}",
        ]
        token = ["--service-account", "server"]
        token += [word for name in SERVICES for word in ("--service", name)]
        self.server = mesh.join(host, entries, token=token)
        self.shop = mesh.join(mesh.host("shop"))
        self.plain = mesh.lab.host("plain")
        for name in SERVICES:
            mesh.wait_meshed(name, 1)
        wait_for("an answer", lambda: call(self.shop.host, "web", HTTP).caller)
        self.asked = 1

    def ask(self, count: int, *, headers: str = "") -> None:
        """Call web without the mesh, so often."""
        for _ in range(count):
            answer = call(self.plain, "web", HTTP, address=self.server.host.ipv4, headers=headers)
            assert (answer.status, answer.caller) == (200, "")

    def ask_by_mesh(self, count: int) -> None:
        for _ in range(count):
            assert call(self.shop.host, "web", HTTP).caller
        self.asked += count

    def db(self) -> socket.socket:
        return inside.connect(self.plain.holder.pid, self.server.host.ipv4, TCP)

    def db_by_mesh(self) -> socket.socket:
        return self.by_mesh("db", TCP)

    def by_mesh(self, name: str, port: int) -> socket.socket:
        host = self.shop.host
        return inside.connect(host.holder.pid, virtual_address(host, name, 4), port)

    def counted(self, service: str) -> Mapping[str, Any]:
        """What the server's agent says of a service's callers."""
        services = self.server.status().get("services")
        assert isinstance(services, list)
        found = next(one["callers"] for one in services if one["name"] == service)
        return found or {}

    def wait_counted(self, service: str, plaintext: int) -> Mapping[str, Any]:
        def there() -> bool:
            return bool(self.counted(service).get("plaintext", -1) >= plaintext)

        wait_for(f"{plaintext} plaintext calls of {service}", there, seconds=SEEN_SECONDS)
        return self.counted(service)

    def shown(self, service: str) -> Mapping[str, Any]:
        """`hostmesh service show`."""
        words = ["service", "show", service, "--output", "json"]
        found: Mapping[str, Any] = json.loads(self.mesh.control_plane.command(*words))
        return found

    def wait_shown(self, service: str, requests: int) -> Mapping[str, Any]:
        """Wait until the control plane knows of so many requests of the plain host."""

        def there() -> bool:
            rows = self.shown(service)["callers"]
            return any(
                (row["address"], row["requests"]) == (self.plain.ipv4, requests) for row in rows
            )

        wait_for(f"{requests} requests in service show", there, seconds=SEEN_SECONDS, every=0.3)
        return self.shown(service)

    def set_mode(self, *words: str) -> tuple[int, str]:
        """`hostmesh service …` on the control plane; exit status and everything it printed."""
        argv = [program("hostmesh"), "service", *words]
        done = self.mesh.cp.run(argv, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def callers() -> Iterator[Callers]:
    with Lab() as lab:
        yield Callers(LabMesh(lab))


def answers(host: Host, address: str) -> bool:
    """Whether web answers a caller without the mesh."""
    try:
        return call(host, "web", HTTP, address=address).status == 200
    except inside.NoAnswer:
        return False


def echoes(connection: socket.socket) -> bool:
    connection.sendall(b"hello")  # of less Envoy cannot tell that it is no TLS
    return connection.recv(5) == b"hello"


def test_callers_are_counted_exactly_and_nobody_can_say_to_be_another(callers: Callers) -> None:
    before = callers.counted("web")
    assert before["plaintext"] == 0, "neither proof nor health check is a caller"
    callers.ask(CALLS, headers=FORGED)
    callers.ask_by_mesh(8)
    wait_for("the last one", lambda: callers.counted("web")["mutual_tls"] >= callers.asked)
    found = callers.wait_counted("web", CALLS)
    assert found["plaintext"] == CALLS
    assert found["mutual_tls"] == callers.asked
    (caller,) = found["addresses"]
    assert (caller["address"], caller["requests"]) == (callers.plain.ipv4, CALLS)
    assert found["since"] == before["since"] <= caller["first_seen"] <= caller["last_seen"]
    screen = callers.server.command("status")
    assert f"{CALLS} without mesh ({callers.plain.ipv4}), {callers.asked} by mTLS" in screen
    assert callers.counted("db")["plaintext"] == callers.counted("db")["mutual_tls"] == 0


def test_what_is_held_open_is_counted_while_it_is_open(callers: Callers) -> None:
    before = callers.counted("web")["plaintext"]
    address = callers.server.host.ipv4
    with (
        closing(callers.db()) as connection,
        closing(inside.connect(callers.plain.holder.pid, address, HTTP)) as poll,
    ):
        # A silent long poll: the app says nothing for as long as this test looks.
        poll.sendall(b"GET /?delay=60 HTTP/1.1\r\nhost: web\r\n\r\n")
        assert callers.wait_counted("db", 1)["plaintext"] == 1
        assert callers.wait_counted("web", before + 1)["plaintext"] == before + 1
        assert echoes(connection)


def test_a_server_that_speaks_first_has_its_callers_counted_too(callers: Callers) -> None:
    assert callers.counted("greet")["mutual_tls"] == 0, "the proof is no caller here either"
    with closing(callers.by_mesh("greet", FIRST)) as connection:
        assert b"greet" in connection.recv(64)
        wait_for("its count", lambda: callers.counted("greet")["mutual_tls"] == 1)
    assert callers.counted("greet")["plaintext"] == 0


def test_the_apps_own_tls_is_not_the_meshs(callers: Callers) -> None:
    before = callers.counted("db")["plaintext"]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="db.example").do_handshake()
    hello = outgoing.read()
    with closing(callers.db()) as connection:
        connection.sendall(hello)
        assert connection.recv(len(hello), socket.MSG_WAITALL) == hello
    assert callers.wait_counted("db", before + 1)["plaintext"] == before + 1


def test_four_bytes_of_a_caller_wait_for_a_fifth_but_not_for_ever(callers: Callers) -> None:
    with closing(callers.db()) as connection:
        connection.settimeout(9.0)
        began = time.monotonic()
        connection.sendall(b"ping")
        assert connection.recv(4) == b"ping"
        assert time.monotonic() - began > 4.0


def test_the_operator_sees_them_with_the_next_command(callers: Callers) -> None:
    requests = callers.counted("web")["plaintext"]
    shown = callers.wait_shown("web", requests)
    (row,) = shown["callers"]
    assert (row["seen_at"], row["caller"]) == ("server", "")
    assert shown["counted_since"] == callers.counted("web")["since"]
    assert callers.plain.ipv4 in callers.mesh.control_plane.command("service", "show", "web")
    report = json.loads(callers.mesh.control_plane.command("mtls", "report", "-o", "json"))
    rows = {row["service"].split(".")[0]: row for row in report}
    assert rows["web"]["plaintext_callers"] == 1
    assert rows["web"]["next"].startswith("join its callers: hostmesh service show web.")


def test_a_killed_agent_and_a_killed_envoy_forget_nobody(callers: Callers) -> None:
    server = callers.server
    before = callers.counted("web")
    kept = f'"plaintext":{before["plaintext"]}'
    wait_for("the book on disk", lambda: kept in server.host.path(BOOK).read_text())
    assert server.host.path(BOOK).stat().st_mode & 0o777 == 0o600
    killed = server.agent_pid()
    server.kill(killed)
    callers.ask(3)
    wait_for("the next agent", lambda: server.agent_pid() not in {0, killed})
    wait_for("its answer", server.status)
    found = callers.wait_counted("web", before["plaintext"] + 3)
    assert found["plaintext"] == before["plaintext"] + 3
    assert found["since"] == before["since"]
    (envoy,) = server.envoy_pids()
    server.kill(envoy)
    wait_for("the next Envoy", lambda: server.envoy_pids() not in ([], [envoy]))
    server.wait_ready()
    callers.ask(2)
    found = callers.wait_counted("web", before["plaintext"] + 5)
    assert found["plaintext"] == before["plaintext"] + 5
    assert found["since"] == before["since"]
    (caller,) = found["addresses"]
    assert caller["requests"] == before["plaintext"] + 5
    assert caller["first_seen"] == before["addresses"][0]["first_seen"]


def test_a_hot_restart_goes_on_counting(callers: Callers) -> None:
    before = callers.counted("web")
    callers.server.command("restart-envoy")
    callers.ask(4)
    found = callers.wait_counted("web", before["plaintext"] + 4)
    # What came in the last seconds before it may count twice, nothing is lost.
    assert found["plaintext"] >= before["plaintext"] + 4
    assert found["since"] == before["since"]


def draining(agent: Agent) -> int:
    return agent.stats("total_filter_chains_draining")[
        "listener_manager.total_filter_chains_draining"
    ]


def test_strict_shuts_out_who_is_not_in_the_mesh_and_breaks_nothing_else(callers: Callers) -> None:
    address = callers.server.host.ipv4
    wait_for("no chain that drains", lambda: draining(callers.server) == 0, seconds=60)
    callers.wait_shown("web", callers.counted("web")["addresses"][0]["requests"])
    with closing(callers.db_by_mesh()) as held:
        assert echoes(held)
        for service, plain_chains in (("web", 1), ("db", 3)):
            status, said = callers.set_mode("strict", service)
            assert status == 1
            assert callers.plain.ipv4 in said
            assert f"cannot make {service}.default.mesh.internal strict: 1 caller came" in said
            status, said = callers.set_mode("strict", service, "--force")
            assert (status, f"{service}.default.mesh.internal is now strict" in said) == (0, True)
            # Only plaintext chains go: a chain that is replaced would drain its connections.
            wait_for(
                "the plaintext chains to go",
                lambda goal=plain_chains: draining(callers.server) == goal,  # type: ignore[misc]
            )
        wait_for("its refusal", lambda: not answers(callers.plain, address))
        assert refused(callers.plain, address)
        callers.ask_by_mesh(5)
        assert echoes(held)
        with closing(callers.db_by_mesh()) as another:
            assert echoes(another)


def refused(host: Host, address: str) -> bool:
    """Whether db takes nothing from a caller without the mesh."""
    with closing(inside.connect(host.holder.pid, address, TCP)) as connection:
        try:
            connection.sendall(b"ping")
            return connection.recv(4) == b""
        except OSError:
            return True


def test_a_restarted_control_plane_knows_mode_and_callers_again(callers: Callers) -> None:
    known = callers.shown("web")
    assert known["callers"]
    control_plane = callers.mesh.control_plane
    control_plane.process.signal(signal.SIGKILL)
    wait_for("its end", lambda: not control_plane.process.alive)
    control_plane.start()
    wait_for("the callers", lambda: callers.shown("web")["callers"], seconds=30, every=0.3)
    again = callers.shown("web")
    assert again["inbound"] == "strict"
    assert again["counted_since"] == known["counted_since"]
    assert [(r["address"], r["requests"]) for r in again["callers"]] == [
        (r["address"], r["requests"]) for r in known["callers"]
    ]
    assert not answers(callers.plain, callers.server.host.ipv4)


def test_strict_waits_until_the_hosts_have_told_a_restarted_control_plane(callers: Callers) -> None:
    server, control_plane = callers.server, callers.mesh.control_plane
    pid = server.agent_pid()
    processes.send(pid, signal.SIGSTOP)
    try:
        control_plane.process.signal(signal.SIGKILL)
        wait_for("its end", lambda: not control_plane.process.alive)
        control_plane.start()
        status, said = callers.set_mode("strict", "greet")
        assert status == 1
        assert f"who calls {server.host.ipv4}:{FIRST} on server (not connected) has not" in said
    finally:
        processes.send(pid, signal.SIGCONT)
    wait_for("its word", lambda: callers.set_mode("strict", "greet")[0] == 0, seconds=60)
    assert callers.set_mode("permissive", "greet")[0] == 0


def test_permissive_is_the_way_back_and_all_decides_one_by_one(callers: Callers) -> None:
    status, said = callers.set_mode("permissive", "--all")
    assert status == 0
    assert said.count("permissive") == len(SERVICES)
    assert "agent.yaml of server says inbound: strict, and that counts there" in said
    wait_for("an answer", lambda: answers(callers.plain, callers.server.host.ipv4))
    with closing(callers.db()) as connection:
        assert echoes(connection)
    status, said = callers.set_mode("strict", "--all")
    assert status == 1
    assert said.count("refused") == 2
    audit = [
        line for line in callers.mesh.control_plane.process.said().splitlines() if "strict" in line
    ]
    assert sum("POST /v1/services/" in line for line in audit) >= 2


def test_both_address_families_are_callers(callers: Callers) -> None:
    def requests() -> Mapping[str, int]:
        found = callers.counted("web").get("addresses", [])
        return {each["address"]: each["requests"] for each in found}

    assert callers.plain.ipv6 not in requests()
    assert call(callers.plain, "web", HTTP, address=callers.server.host.ipv6).status == 200
    # Calls by IPv4 of earlier tests may still be counted meanwhile.
    wait_for("the call by IPv6", lambda: callers.plain.ipv6 in requests(), seconds=SEEN_SECONDS)
    assert requests()[callers.plain.ipv6] == 1


def test_leaving_takes_the_book_along(callers: Callers) -> None:
    book = callers.server.host.path(BOOK)
    assert book.exists()
    callers.server.command("leave")
    assert not book.exists()
