"""Envoy counts who calls without the mesh: whole, by address, at the start, and within a bound."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from hostmesh_controlplane.logic.render import callers
from hostmesh_core import names
from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host
from hostmesh_testing import render_trio
from hostmesh_testing.render_lab import Sidecar
from hostmesh_testing.render_trio import HTTP, TCP, Trio
from hostmesh_testing.waiting import wait_until

MOST = 3


@pytest.fixture
def trio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trio]:
    monkeypatch.setattr(callers, "MAX_ADDRESSES", MOST)
    yield from render_trio.trio()


def counted(sidecar: Sidecar) -> dict[str, int]:
    """The counters of callers, without what their names share."""
    prefix = names.CALLERS_STATS + "."
    found = json.loads(sidecar.admin(f"/stats?filter=^{prefix}&format=json&type=Counters"))
    return {each["name"].removeprefix(prefix): each["value"] for each in found["stats"]}


def ask(host: Host, address: str, *words: str) -> str:
    url = f"http://{address}:{HTTP}/"
    words = ("curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *words, url)
    return host.run(list(words), uid=1001).stdout


def connect(host: Host, address: str, port: int) -> socket.socket:
    return inside.connect(host.holder.pid, address, port)


def test_callers_are_counted_whole_by_address_and_at_once(trio: Trio) -> None:
    sidecar = trio.far[0]
    me, far = trio.client.ipv4, trio.servers[0].ipv4
    forged = ("-H", "X-Forwarded-For: 192.0.2.1", "-H", "Forwarded: for=192.0.2.1")
    assert [ask(trio.client, far, *forged) for _ in range(14)] == ["200"] * 14
    ask(trio.servers[1], far)
    assert counted(sidecar) == {
        "plaintext.port.9080": 15,
        f"plaintext_from.port.9080.caller.{me}": 14,
        f"plaintext_from.port.9080.caller.{trio.servers[1].ipv4}": 1,
    }
    with closing(connect(trio.client, far, HTTP)) as poll, closing(connect(trio.client, far, TCP)):
        # Neither is answered, neither ends: each is there all the same.
        poll.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        wait_until(lambda: counted(sidecar).get(f"plaintext_from.port.{TCP}.caller.{me}") == 1)
        wait_until(lambda: counted(sidecar)["plaintext.port.9080"] == 16)
    trio.apps[0].stop()
    assert ask(trio.client, far) == "503"
    assert counted(sidecar) == {
        "plaintext.port.5432": 1,
        f"plaintext_from.port.5432.caller.{me}": 1,
        "plaintext.port.9080": 17,
        f"plaintext_from.port.9080.caller.{me}": 16,
        f"plaintext_from.port.9080.caller.{trio.servers[1].ipv4}": 1,
    }


def test_mutual_tls_is_counted_apart(trio: Trio) -> None:
    assert trio.statuses(8) == ["200"] * 8
    per_server = [counted(sidecar) for sidecar in trio.far]
    assert sum(each.get("mutual_tls.port.9080", 0) for each in per_server) == 8
    assert not any("plaintext" in name for each in per_server for name in each)


def test_a_flood_of_addresses_is_bounded_and_still_counted(trio: Trio) -> None:
    client, sidecar = trio.client, trio.far[0]
    more = [f"10.77.0.{number}" for number in range(201, 209)]
    for address in more:
        client.run(["ip", "addr", "add", f"{address}/24", "dev", "eth0"])
        ask(client, trio.servers[0].ipv4, "--interface", address)
    found = counted(sidecar)
    assert found.pop("plaintext.port.9080") == len(more)
    assert set(found) == {f"plaintext_from.port.9080.caller.{each}" for each in more[:MOST]}
