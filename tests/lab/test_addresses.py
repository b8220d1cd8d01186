"""Hosts of several addresses: data and management, NAT before the control plane, a change."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh, call, start_app
from hostmesh_testing.lab_networks import Network, masquerade, route

WEB = "{name: web, port: 9080, protocol: http}"
HOST_NAME = "web.default.mesh.internal"


def refusal(agent: Agent) -> str:
    """Wait until the agent says what it is refused, with the command that allows it."""
    found: list[str] = []

    def told() -> bool:
        waiting = agent.status().get("waiting")
        texts = waiting if isinstance(waiting, list) else []
        found[:] = [str(text) for text in texts if "hostmesh host grant" in str(text)]
        return bool(found)

    wait_for("a refusal", told)
    return found[0]


def command_in(text: str) -> list[str]:
    words = text[text.index("hostmesh host grant") :].split(";")[0].split()
    return words[1:]


def endpoints(agent: Agent) -> list[str]:
    """Give what a peer's Envoy would send requests of the service to."""
    try:
        return sorted(agent.upstreams(HOST_NAME, 9080))
    except inside.NoAnswer:
        return []


@contextmanager
def watched(agent: Agent) -> Iterator[list[list[str]]]:
    """Look at a peer's endpoints all the time; gives each look that differed from the last."""
    seen: list[list[str]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            now = endpoints(agent)
            if not seen or seen[-1] != now:
                seen.append(now)
            time.sleep(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


class Managed:
    """A host whose control plane is reached by another interface than its callers reach it by."""

    def __init__(self, lab: Lab, consul_bin: Path) -> None:
        self.mesh = LabMesh(lab, config=WITH_CONSUL, start=False)
        consul = ConsulServer(self.mesh.cp, consul_bin)
        consul.start()
        self.mesh.control_plane.start()
        management = Network(lab, 78)
        plane = management.attach(self.mesh.cp)
        self.server = lab.host("server")
        self.management = management.attach(self.server)
        self.server.add_name("cp1", plane)
        start_app(self.server, "http", "web", 9080)
        meta = {"protocol": "http"}
        self.listed = Instance(service="web", address=self.server.ipv4, port=9080, meta=meta)
        consul.register(self.listed)
        self.client = self.mesh.join(self.mesh.host("client"))


def test_a_data_address_that_the_grant_covers_is_registered(lab: Lab, consul_bin: Path) -> None:
    world = Managed(lab, consul_bin)
    token = ["--service", "web", "--cidr", "10.77.0.0/24"]
    with watched(world.client) as seen:
        agent = world.mesh.join(world.server, [WEB], token=token)
        world.mesh.wait_meshed("web", 1)
        answer = call(world.client.host, "web", 9080)
    assert (answer.said["server"], answer.caller[-7:]) == ("web", "/client")
    assert {tuple(look) for look in seen} <= {(), (f"{world.server.ipv4}:9080",)}
    assert world.management not in str(agent.status()["services"])


def test_a_data_address_that_nobody_granted_is_refused_and_nothing_breaks_meanwhile(
    lab: Lab, consul_bin: Path
) -> None:
    world = Managed(lab, consul_bin)
    plain = f"{world.server.ipv4}:9080"
    wait_for("the catalog's endpoint", lambda: endpoints(world.client) == [plain])
    agent = world.mesh.join(world.server, [WEB], token=["--service", "web"], wait=False)
    said = refusal(agent)
    assert f"the control plane sees {world.management}" in said
    assert f"--add-cidr {world.server.ipv4}/32" in said
    wait_for("Envoy and the rules", lambda: "applied" in str(agent.status()["capture"]))
    for _ in range(20):
        assert call(world.client.host, "web", 9080).said["server"] == "web", "as before the join"
    stranger = world.mesh.cp
    assert call(stranger, "web", 9080, address=world.server.ipv4).said["peer"].endswith(".77.0.1")
    world.mesh.control_plane.command(*command_in(said))
    agent.wait_ready()
    world.mesh.wait_meshed("web", 1)
    assert endpoints(world.client) == [plain]
    assert call(world.client.host, "web", 9080).caller.endswith("/client")


class Hidden:
    """A host behind a router that masquerades; its callers have a route to it."""

    def __init__(self, lab: Lab) -> None:
        self.mesh = LabMesh(lab)
        self.router = lab.host("router")
        inner = Network(lab, 79)
        gate = inner.attach(self.router)
        self.server = lab.host("server")
        self.address = inner.attach(self.server, alone=True)
        self.server.run(["ip", "route", "add", "default", "via", gate])
        masquerade(self.router, behind="10.79.0.0/24")
        self.server.add_name("cp1", self.mesh.cp.ipv4)
        start_app(self.server, "http", "web", 9080)
        client = self.mesh.host("client")
        route(client, "10.79.0.0/24", self.router.ipv4)
        self.client = self.mesh.join(client)


def test_nat_before_the_control_plane_is_seen_and_never_registers_the_router(lab: Lab) -> None:
    world = Hidden(lab)
    with watched(world.client) as seen:
        agent = world.mesh.join(world.server, [WEB], wait=False)
        said = refusal(agent)
        assert f"sees {world.router.ipv4}, which no interface of this host has" in said
        assert "there is NAT between them" in said
        world.mesh.control_plane.command(*command_in(said))
        agent.wait_ready()
        world.mesh.wait_meshed("web", 1)
        wait_for("the endpoint", lambda: endpoints(world.client) == [f"{world.address}:9080"])
        assert call(world.client.host, "web", 9080).said["server"] == "web"
    assert not any(world.router.ipv4 in str(look) for look in seen)


def test_a_router_that_forwards_to_the_host_is_registered_where_that_is_stated(lab: Lab) -> None:
    """The host cannot dial itself by the router's address: it proves itself by its own."""
    world = Hidden(lab)
    place = f"{world.router.ipv4}:9080"
    forward = ["-d", world.router.ipv4, "-p", "tcp", "--dport", "9080", "-j", "DNAT"]
    forward += ["--to-destination", f"{world.address}:9080"]
    world.router.run(["iptables", "-t", "nat", "-A", "PREROUTING", *forward])
    stated = f"{{name: web, port: 9080, protocol: http, address: {world.router.ipv4}}}"
    world.mesh.join(world.server, [stated])
    world.mesh.wait_meshed("web", 1)
    wait_for("the endpoint", lambda: endpoints(world.client) == [place])
    wait_for("an answer", lambda: call(world.client.host, "web", 9080).status == 200)
    assert call(world.client.host, "web", 9080).caller.endswith("/client")


def move(host: Host, address: str, *, device: str = "eth0") -> None:
    """Give a host another IPv4 address; the old one is gone at once, and with it its streams."""
    host.run(["ip", "address", "delete", f"{host.ipv4}/24", "dev", device])
    host.run(["ip", "address", "add", f"{address}/24", "dev", device])
    host.run(["ip", "route", "replace", "default", "via", "10.77.0.254"])


@pytest.mark.parametrize("catalogued", [False, True], ids=["registered", "listed by Consul"])
def test_an_address_that_changes_is_followed_and_never_two(
    lab: Lab, consul_bin: Path, *, catalogued: bool
) -> None:
    mesh = LabMesh(lab, config=WITH_CONSUL, start=False)
    consul = ConsulServer(mesh.cp, consul_bin)
    consul.start()
    mesh.control_plane.start()
    server = mesh.host("server")
    start_app(server, "http", "web", 9080)
    old, new = f"{server.ipv4}:9080", "10.77.0.99:9080"
    if catalogued:
        meta = {"protocol": "http"}
        consul.register(Instance(service="web", address=server.ipv4, port=9080, meta=meta))
    agent = mesh.join(server, [WEB])
    mesh.wait_meshed("web", 1)
    client = mesh.join(mesh.host("client"))
    wait_for("the endpoint", lambda: endpoints(client) == [old])
    with watched(client) as seen:
        moved = time.monotonic()
        move(server, "10.77.0.99")
        wait_for("the new endpoint", lambda: endpoints(client) == [new], seconds=30)
        took = time.monotonic() - moved
        wait_for("an answer", lambda: call(client.host, "web", 9080).said["server"] == "web")
        time.sleep(2.0)
        wait_for("a registered service", lambda: not agent.status()["waiting"])
    print(f"followed after {took:.1f} s: {seen}")
    assert took < 20.0
    assert [look for look in seen if len(look) > 1] == []
    assert seen[-1] == [new]
    rows = mesh.control_plane.endpoints("web")
    assert [key for key, row in rows.items() if row["meshed"]] == [new]
    assert call(client.host, "web", 9080).caller.endswith("/client")
