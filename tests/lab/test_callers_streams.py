"""What a caller without a mesh may do for long or with much: TCP, silence, a gigabyte, a dead app.

And callers with a mesh: what is kept for the one is kept through two Envoys for the other.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_testing.exchange_bodies import BODIES
from hostmesh_testing.exchange_connections import CONNECTIONS
from hostmesh_testing.exchange_heads import HEADERS
from hostmesh_testing.exchanges import (
    OK,
    Exchange,
    Outcome,
    get,
    is_whole,
    play,
    without_additions,
)
from hostmesh_testing.lab_mesh import LabMesh, virtual_address
from hostmesh_testing.streams import (
    Both,
    Passage,
    checksum,
    client_hello,
    drain,
    pass_through,
    pour,
)
from hostmesh_testing.wires import RawApp, Wire, connect

HELLO_SECONDS = 5.0
"""How long Envoy waits inbound for a caller's first bytes before it lets the app speak."""
WEB, TCP, POLL, QUIET, OPEN = 8080, 7000, 8081, 7001, 7002
SERVICES = {
    "web": (WEB, "http"),
    "raw": (TCP, "tcp"),
    "poll": (POLL, "http"),
    "quiet": (QUIET, "tcp"),
    "open": (OPEN, "tcp, server_first: true, inbound: disable"),
}
POLL_SECONDS = 20.0
"""Longer than the 15 s of Envoy's default for a route; no timeout is rendered (unit tests)."""
SILENT_SECONDS = 60.0
GIGABYTE = 1 << 30
ENVOY_MAY_GROW = 64 << 20
CERTIFICATE = re.compile(rb"(?i)x-forwarded-client-cert: [^\r]*\r\n")
THROUGH_BOTH = (
    "a plain request",
    "the case and order of names",
    "what other proxies wrote",
    "100 KiB of headers",
    "an answer with 200 headers",
    "Expect and 100",
    "early hints",
    "trailers",
    "HEAD",
    "websocket",
    "an upgrade to tcp",
)


def _ends_at_once(wire: Wire) -> None:
    wire.send(b"all I say")
    wire.half_close()
    wire.rest()


def _ends_and_listens(wire: Wire) -> None:
    wire.send(b"all I say")
    time.sleep(0.2)
    wire.half_close()
    wire.rest()


def _hears_all_and_answers(wire: Wire) -> None:
    wire.rest()
    wire.send(b"you said " + wire.got)


def _says_and_ends(wire: Wire) -> None:
    wire.send(b"all I say")
    wire.half_close()
    wire.rest()


def _hears_all_and_goes_on(wire: Wire) -> None:
    _waits(wire)
    wire.send(b"and I go on")
    wire.half_close()


def _talks(data: bytes) -> Passage:
    def client(wire: Wire) -> None:
        wire.send(data)
        wire.count(len(data))
        wire.half_close()
        wire.rest()

    def app(wire: Wire) -> None:
        wire.count(len(data))
        wire.send(wire.got)
        wire.rest()

    return Passage(f"{len(data)} bytes there and back", client, app)


def _waits(wire: Wire) -> None:
    wire.rest(2 * HELLO_SECONDS)


def _is_late(wire: Wire) -> None:
    time.sleep(1.5)
    _ends_and_listens(wire)


def _says_and_resets(wire: Wire) -> None:
    wire.send(b"hello")
    wire.count(2)
    wire.reset()


def _acknowledges(wire: Wire) -> None:
    wire.count(5)
    wire.send(b"ok")
    wire.rest()


def _is_reset(wire: Wire) -> None:
    wire.send(b"hello")
    wire.rest()


def _hears_and_resets(wire: Wire) -> None:
    wire.count(5)
    wire.reset()


AT_ONCE = Passage("a caller that sends and ends at once", _ends_at_once, _hears_all_and_answers)
PASSAGES = (
    Passage("a caller that ends its side first", _ends_and_listens, _hears_all_and_answers),
    Passage("an app that ends its side first", _hears_all_and_goes_on, _says_and_ends),
    Passage("an app that speaks first", _waits, lambda wire: wire.send(b"220 hello\r\n")),
    Passage("a caller that speaks late", _is_late, _hears_all_and_answers),
    Passage("a caller that resets", _says_and_resets, _acknowledges),
    Passage("an app that resets", _is_reset, _hears_and_resets),
    _talks(get("X-ODD-cAsE: 1", path="/a/../b#x")),
    _talks(client_hello()),
    _talks(bytes(range(256)) * 65536),
)


class Host:
    """A host with four raw apps that joins, a client that joins, and a caller that does not."""

    def __init__(self, mesh: LabMesh) -> None:
        self.server, client = mesh.host("server"), mesh.host("client")
        self.caller = mesh.host("caller")
        self.apps = {name: RawApp(self.server, port) for name, (port, _) in SERVICES.items()}
        self.direct = {each.name: self.pass_through(each) for each in (*PASSAGES, AT_ONCE)}
        self.exchanged = {each.name: self.play(each) for each in self.exchanges()}
        health = "health: {interval_seconds: 3600}"
        entries = [
            f"{{name: {name}, port: {port}, protocol: {protocol}, {health}}}"
            for name, (port, protocol) in SERVICES.items()
        ]
        self.apps["web"].plays(_serves)
        self.apps["poll"].plays(_answers_late)
        for name in ("raw", "open"):
            self.apps[name].plays(Wire.rest)
        self.apps["quiet"].plays(_echoes_twice)
        self.client = mesh.join(client)
        token = ["--service-account", "server"]
        token += [word for name in SERVICES for word in ("--service", name)]
        self.agent = mesh.join(self.server, entries, token=token)
        for name in ("web", "raw", "poll", "quiet"):
            mesh.wait_meshed(name, 1)
        self.begun = time.monotonic()
        self.poll, self.quiet = self.dial("poll"), self.dial("quiet")
        self.poll.send(get())
        self.quiet.send(b"hello")

    def dial(self, name: str) -> Wire:
        return connect(self.caller, self.server.ipv4, SERVICES[name][0])

    def dial_by_mesh(self) -> Wire:
        host = self.client.host
        return connect(host, virtual_address(host, "web", 4), WEB)

    def pass_through(self, passage: Passage, name: str = "raw") -> Both:
        return pass_through(passage, self.apps[name], lambda: self.dial(name))

    def play(self, exchange: Exchange) -> Outcome:
        return play(exchange, self.apps["web"], lambda: self.dial("web"))

    @staticmethod
    def exchanges() -> list[Exchange]:
        every = {each.name: each for each in (*HEADERS, *BODIES, *CONNECTIONS)}
        return [every[name] for name in THROUGH_BOTH]

    def memory(self) -> int:
        """Give the most memory that Envoy ever held, in bytes."""
        (pid,) = self.agent.envoy_pids()
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _serves(wire: Wire) -> None:
    if wire.until(is_whole):
        wire.send(OK)
        wire.rest()


def _answers_late(wire: Wire) -> None:
    # The proof of the own inbound is not the poll.
    if b"Host: web" in wire.until(is_whole):
        time.sleep(POLL_SECONDS)
    if wire.got:
        wire.send(OK)


def _echoes_twice(wire: Wire) -> None:
    wire.socket.settimeout(SILENT_SECONDS * 3)
    for word in (b"hello", b"hellostill there"):
        if wire.count(len(word)) == word:
            wire.send(word)


@pytest.fixture(scope="module")
def joined() -> Iterator[Host]:
    with Lab() as lab:
        host = Host(LabMesh(lab))
        yield host
        for wire in (host.poll, host.quiet):
            wire.close()
        for app in host.apps.values():
            app.close()


@pytest.mark.parametrize("passage", PASSAGES, ids=lambda each: each.name)
def test_tcp_is_passed_on_as_it_is(joined: Host, passage: Passage) -> None:
    assert joined.pass_through(passage) == joined.direct[passage.name]


def test_sent_and_ended_at_once_can_be_lost_where_envoy_inspects(joined: Host) -> None:
    joined.apps["raw"].plays(AT_ONCE.app)
    wire = joined.dial("raw")
    AT_ONCE.client(wire)
    assert wire.got in {b"", joined.direct[AT_ONCE.name].client}
    wire.close()
    assert joined.pass_through(AT_ONCE, "open") == joined.direct[AT_ONCE.name]


@pytest.mark.parametrize("exchange", Host.exchanges(), ids=lambda each: each.name)
def test_two_envoys_keep_what_one_keeps(joined: Host, exchange: Exchange) -> None:
    before = joined.exchanged[exchange.name]
    seen = play(exchange, joined.apps["web"], joined.dial_by_mesh)
    assert CERTIFICATE.search(seen.app)
    plain = Outcome(CERTIFICATE.sub(b"", seen.app), seen.client, seen.end)
    assert without_additions(plain, before) == before.but_for(exchange.differs)


def test_a_gigabyte_each_way_is_streamed(joined: Host) -> None:
    heard: list[int] = []

    def app(wire: Wire) -> None:
        begun = wire.head().partition(b"\r\n\r\n")[2]
        heard.append(drain(wire, GIGABYTE, begun))
        wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
        pour(wire, GIGABYTE)
        wire.rest()

    joined.apps["web"].plays(app)
    held = joined.memory()
    wire = joined.dial("web")
    wire.send(f"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
    pour(wire, GIGABYTE)
    head, _, begun = wire.head().partition(b"\r\n\r\n")
    assert f"Content-Length: {GIGABYTE}".encode() in head
    assert [*heard, drain(wire, GIGABYTE, begun)] == [checksum(GIGABYTE)] * 2
    assert joined.memory() - held < ENVOY_MAY_GROW
    wire.close()


def test_a_silent_long_poll_is_answered(joined: Host) -> None:
    joined.poll.socket.settimeout(POLL_SECONDS * 3)
    joined.poll.until(lambda got: got.endswith(b"ok"))
    assert joined.poll.got.startswith(b"HTTP/1.1 200 OK\r\nDate: D\r\n")
    assert time.monotonic() - joined.begun > POLL_SECONDS


def test_a_connection_that_is_silent_for_a_minute_stays(joined: Host) -> None:
    time.sleep(max(0.0, SILENT_SECONDS + 1 - (time.monotonic() - joined.begun)))
    joined.quiet.send(b"still there")
    assert joined.quiet.count(21) == b"hellohellostill there"


def test_an_app_that_is_down(joined: Host) -> None:
    """Last: HTTP is answered by Envoy, TCP accepted and closed; both were refused before."""
    for name in ("web", "raw"):
        joined.apps[name].close()
    web, raw = joined.dial("web"), joined.dial("raw")
    web.send(get())
    assert web.head().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    raw.send(b"hello")
    raw.rest()
    assert (raw.got, raw.end) in {(b"", "closed"), (b"", "reset")}
    web.close()
    raw.close()
