"""What is rendered while things happen: apps die, ports and states change."""

import json
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from hostmesh_core import type_urls
from hostmesh_core.model import MeshChange, ServiceState
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing import render_trio
from hostmesh_testing.render_trio import HTTP, URL, HeldConnection, Trio, reviews
from hostmesh_testing.waiting import wait_until


@pytest.fixture
def trio() -> Iterator[Trio]:
    yield from render_trio.trio()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_app_killed_behind_its_living_envoy_fails_no_request(trio: Trio, method: str) -> None:
    words = ["-X", method, *(["-d", "x"] if method == "POST" else [])]
    assert set(trio.statuses(20, *words)) == {"200"}
    trio.apps[0].signal(signal.SIGKILL)
    trio.apps[0].wait(5)
    assert trio.statuses(100, *words) == ["200"] * 100
    assert trio.near.stat("cluster.outbound|9080||reviews.default.mesh.internal.upstream_rq_retry")


def test_the_mark_of_an_undelivered_request_is_not_shown_to_apps(trio: Trio) -> None:
    for app in trio.apps:
        app.signal(signal.SIGKILL)
        app.wait(5)
    argv = ["curl", "-sS", "-i", "-m", "5", URL]
    answer = trio.client.run(argv, uid=1001).stdout
    assert answer.startswith("HTTP/1.1 503")
    assert "undelivered" not in answer


def test_another_port_leaves_the_others_connections_alone(trio: Trio) -> None:
    trio.change(MeshChange(reviews([]).host, None, reviews(trio.servers[:1])))
    trio.settle()
    far, probe = trio.far[0], HeldConnection(trio.client)
    assert probe.ask() == "200 same"
    more = (mesh.inbound_port(HTTP), mesh.inbound_port(9081, listen=(trio.servers[0].ipv4, HTTP)))
    far.ads.changed(trio.publication.set_inbound("one", mesh.inbound(*more)))
    wait_until(lambda: far.stat("listener_manager.listener_in_place_updated") == 1)
    assert [probe.ask() for _ in range(3)] == ["200 same"] * 3
    assert far.stat("listener_manager.total_listeners_draining") == 0
    argv = ["curl", "-sS", "-m", "5", f"http://{trio.servers[0].ipv4}:9081/"]
    answer = trio.servers[1].run(argv, uid=1001).stdout
    assert json.loads(answer)["server"] == "one"
    probe.close()


def test_a_service_is_meshed_host_by_host_under_load(trio: Trio) -> None:
    """plain, then mixed, then mesh: no request fails, and what is registered is never plaintext."""
    listed = [mesh.endpoint(each.ipv4, HTTP) for each in trio.servers]
    registered = [mesh.endpoint(each.ipv4, HTTP, service="reviews") for each in trio.servers]
    states = [
        (ServiceState.PLAIN, listed, {"one": False, "two": False}),
        (ServiceState.MIXED, [registered[0], listed[1]], {"one": True, "two": False}),
        (ServiceState.MIXED, registered, {"one": True, "two": True}),
        (ServiceState.MESH, registered, {"one": True, "two": True}),
        (ServiceState.MIXED, [registered[0], listed[1]], {"one": True, "two": False}),
    ]
    for state, endpoints, expected in states:
        service = mesh.service("reviews", *endpoints, state=state)
        trio.change(MeshChange(service.host, None, service))
        trio.settle()
        assert trio.near.warming() == 0
        got: dict[str, bool] = {}
        for _ in range(16):
            seen = trio.seen()
            got[seen["server"]] = bool(seen["client_certificate"])
        assert got == expected, state


def test_a_client_without_an_identity_is_told_so(trio: Trio) -> None:
    near = trio.near
    near.served.rendered = trio.publication.resources(mesh.NO_IDENTITY, "client")
    everything = {
        type_url: set(near.served.names(type_url))
        for type_url in (type_urls.CLUSTER, type_urls.ROUTE)
    }
    near.ads.changed(everything)
    trio.settle()
    argv = ["curl", "-sS", "-m", "5", "-w", "%{http_code}", URL]
    assert trio.client.run(argv, uid=1001).stdout == (
        "hostmesh: this process has no identity on this host; "
        "set outbound.default_identity or identities[]\n503"
    )


def test_a_client_that_connects_early_and_speaks_late_is_served(trio: Trio) -> None:
    code = (
        "import socket,time; s=socket.create_connection(('240.240.0.1',9080),5); time.sleep(2.5)\n"
        "s.sendall(b'GET / HTTP/1.1\\r\\nhost: reviews\\r\\n\\r\\n'); s.settimeout(5)\n"
        "print(s.recv(15).decode())"
    )
    assert trio.client.run([sys.executable, "-c", code], uid=1001).stdout == "HTTP/1.1 200 OK\n"


def test_a_host_that_vanishes_costs_nobody_a_request(trio: Trio) -> None:
    assert set(trio.statuses(20)) == {"200"}
    trio.servers[0].cut()
    begun = time.monotonic()
    assert trio.statuses(60) == ["200"] * 60
    assert time.monotonic() - begun < 5
    trio.servers[0].restore()
