"""One raw client without a mesh, one raw app: first direct, then with an Envoy where the app was.

Every byte is compared. What differs is stated, by its title, in `hostmesh_agent.logic.differences`.
"""

from collections.abc import Iterator

import pytest

from hostmesh_agent.logic import differences
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_testing.exchange_bodies import BODIES
from hostmesh_testing.exchange_connections import CONNECTIONS
from hostmesh_testing.exchange_heads import HEADERS, LINES
from hostmesh_testing.exchanges import OK, Exchange, Outcome, is_whole, play, without_additions
from hostmesh_testing.lab_mesh import LabMesh
from hostmesh_testing.wires import RawApp, Wire, connect

EXCHANGES = (*HEADERS, *LINES, *BODIES, *CONNECTIONS)
PORT = 8080
WEB = f"{{name: web, port: {PORT}, protocol: http, health: {{interval_seconds: 3600}}}}"
SHOWN_BELOW = {"source address"}
TITLES = {each.title for each in differences.HTTP}


def _serves(wire: Wire) -> None:
    if wire.until(is_whole):
        wire.send(OK)
        wire.rest()


class Before:
    """A host with a raw app, and a caller that never joins; what they said to each other."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        self.server = mesh.host("server")
        self.caller = mesh.host("caller")
        self.app = RawApp(self.server, PORT)
        self.direct = {each.name: self.play(each) for each in EXCHANGES}

    def dial(self) -> Wire:
        return connect(self.caller, self.server.ipv4, PORT)

    def play(self, exchange: Exchange) -> Outcome:
        return play(exchange, self.app, self.dial)

    def join(self) -> None:
        self.app.plays(_serves)
        self.agent = self.mesh.join(self.server, [WEB])
        self.mesh.wait_meshed("web", 1)


@pytest.fixture(scope="module")
def joined() -> Iterator[Before]:
    with Lab() as lab:
        before = Before(LabMesh(lab))
        before.join()
        yield before
        before.app.close()


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda each: each.name[:60])
def test_it_is_equal_or_as_stated(joined: Before, exchange: Exchange) -> None:
    before = joined.direct[exchange.name]
    seen = without_additions(joined.play(exchange), before)
    assert seen == before.but_for(exchange.differs)


def test_every_stated_difference_is_shown_and_every_shown_one_stated() -> None:
    shown = {each.differs.title for each in EXCHANGES if each.differs}
    assert shown | SHOWN_BELOW == TITLES


def test_the_app_sees_another_address(joined: Before) -> None:
    joined.play(Exchange("a plain request", b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"))
    peers = {wire.peer for wire in joined.app.wires if wire.got}
    assert peers == {"::ffff:127.0.0.6"}
