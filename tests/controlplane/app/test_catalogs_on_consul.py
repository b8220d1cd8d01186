"""The catalog on a real Consul server with ACLs: what 1.8.7 does when a token loses its rights."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostmesh_controlplane.app.catalogs import Catalogs
from hostmesh_controlplane.config import ConsulSource
from hostmesh_controlplane.edges.clock import SystemClock
from hostmesh_controlplane.logic.catalog import CatalogService, SourceChanged, SourceEvent
from hostmesh_ctl.demo import consul_binary
from hostmesh_testing.catalogs import REVIEWS
from hostmesh_testing.memory_store import MemoryStore
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

HOLD_SECONDS = 3.0
READ = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return numbers


class Consul:
    """One server with ACLs that deny by default, on loopback and ports of its own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        http, lan, server = free_ports(3)
        self.address = f"http://127.0.0.1:{http}"
        self._config = {
            "bind_addr": "127.0.0.1",
            "data_dir": str(folder / "data"),
            "ports": {"http": http, "serf_lan": lan, "server": server, "dns": -1, "serf_wan": -1},
            "acl": {"enabled": True, "default_policy": "deny", "enable_token_persistence": True}
            | {"token_ttl": "1s", "policy_ttl": "1s"},
            "server": True,
            "performance": {"raft_multiplier": 1},
            "bootstrap_expect": 1,
            "node_name": "t1",
            "log_level": "warn",
        }
        self.management = ""
        self.token_file = folder / "token"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self._folder / "consul.json"
        config.write_text(json.dumps(self._config))
        with (self._folder / "consul.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "agent", f"-config-file={config}"],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def bootstrap(self) -> None:
        """Become the owner of the ACLs, give the agent and the catalog a token each."""
        answers: list[object] = []

        def owned() -> bool:
            try:
                answers.append(self.call("PUT", "/v1/acl/bootstrap"))
            except OSError:
                return False
            return True

        wait_until(owned, seconds=30, what="a Consul that has a leader")
        self.management = _field(answers[0], "SecretID")
        node = {"Name": "node", "Rules": 'node_prefix "" { policy = "write" }'}
        self.call("PUT", "/v1/acl/policy", node)
        agent = self.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "node"}]})
        self.call("PUT", "/v1/agent/token/agent", {"Token": _field(agent, "SecretID")})
        self.policy = _field(
            self.call("PUT", "/v1/acl/policy", {"Name": "read", "Rules": READ}), "ID"
        )
        token = self.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "read"}]})
        self.accessor = _field(token, "AccessorID")
        self.token_file.write_text(_field(token, "SecretID"))
        wait_until(lambda: self.call("GET", "/v1/health/service/consul"), what="the sentinel")

    def set_rights(self, rules: str) -> None:
        body = {"ID": self.policy, "Name": "read", "Rules": rules}
        self.call("PUT", f"/v1/acl/policy/{self.policy}", body)

    def register(self, number: int, *, service: str = "reviews", port: int = 9080) -> None:
        body = {"ID": f"{service}{number}", "Name": service, "Port": port}
        address = {"Address": f"10.0.0.{number}", "Meta": {"protocol": "http"}}
        self.call("PUT", "/v1/agent/service/register", body | address)

    def deregister(self, number: int, *, service: str = "reviews") -> None:
        self.call("PUT", f"/v1/agent/service/deregister/{service}{number}")

    def call(self, method: str, path: str, body: object = None) -> object:
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Consul-Token": self.management} if self.management else {},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


def _field(value: object, key: str) -> str:
    assert isinstance(value, dict)
    return str(value[key])


CHOICES = [text for text in os.environ.get("CONSUL_BINS", "").split(":") if text] or ["found"]


@pytest.fixture(params=CHOICES)
def consul(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consul]:
    """A server of every Consul in CONSUL_BINS, or of the one found; none is a failure."""
    found = request.param == "found"
    binary = consul_binary.find(os.environ, print) if found else Path(request.param)
    server = Consul(binary, tmp_path)
    server.start()
    try:
        server.bootstrap()
        yield server
    finally:
        server.kill()


@dataclass
class Watched:
    """What the catalog passed on."""

    services: dict[str, CatalogService | None] = field(default_factory=dict)
    least: int = 1000
    """The fewest endpoints of reviews that were passed on at once."""

    def take(self, event: SourceEvent) -> None:
        if isinstance(event, SourceChanged):
            self.services[event.host] = event.service
            if event.host == REVIEWS:
                self.least = min(self.least, self.count())

    def count(self) -> int:
        listing = self.services.get(REVIEWS)
        return len(listing.endpoints) if listing else 0


Story = Callable[["Telling"], None]


@dataclass
class Telling:
    """The story's side: it runs in a thread beside the catalog's loop."""

    watched: Watched
    catalogs: Catalogs
    consul: Consul

    def wait(self, what: str, condition: Callable[[], object], *, seconds: float = 20) -> float:
        start = time.monotonic()
        wait_until(condition, seconds=seconds, what=what)
        return time.monotonic() - start

    def count(self, number: int, *, seconds: float = 20) -> float:
        what = f"{number} endpoints"
        return self.wait(what, lambda: self.watched.count() == number, seconds=seconds)

    def healthy(self) -> bool:
        return self.catalogs.statuses()[0].healthy

    def detail(self) -> str:
        return self.catalogs.statuses()[0].detail


def play(consul: Consul, story: Story, *, store: MemoryStore | None = None) -> Watched:
    async def run() -> Watched:
        watched = Watched()
        source = ConsulSource(
            name="dc1",
            address=consul.address,
            token_file=str(consul.token_file),
            settle_seconds=0.5,
            hold_seconds=HOLD_SECONDS,
        )
        catalogs = Catalogs(
            [source],
            mesh_domain="mesh.internal",
            store=store or MemoryStore(),
            clock=SystemClock(),
            on_event=watched.take,
        )
        await catalogs.load()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(catalogs.run())
            await asyncio.to_thread(story, Telling(watched, catalogs, consul))
            task.cancel()
        return watched

    return asyncio.run(run())


def test_changes_arrive_at_once(consul: Consul) -> None:
    def story(tell: Telling) -> None:
        tell.wait("the first answer", tell.healthy)
        consul.register(1)
        tell.count(1)
        time.sleep(1)
        consul.register(2)
        assert tell.count(2) < 1.0
        check = {"Name": "disk", "ServiceID": "reviews2", "TTL": "1h", "Status": "warning"}
        consul.call("PUT", "/v1/agent/check/register", check)
        tell.wait("a degraded one", lambda: "degraded" in str(tell.watched.services[REVIEWS]))
        consul.deregister(1)
        assert tell.count(1) < 1.0

    play(consul, story)


def test_rights_taken_away_and_given_back(consul: Consul) -> None:
    def story(tell: Telling) -> None:
        for number in range(1, 4):
            consul.register(number)
        tell.count(3)
        consul.set_rights('key_prefix "" { policy = "read" }')
        consul.register(9, service="other")  # wakes whatever waits
        consul.register(1, port=9081)  # moves the index of reviews itself
        tell.wait("a word about it", lambda: not tell.healthy())
        assert "cannot read the catalog any more" in tell.detail()
        tell.watched.least = 1000
        time.sleep(3)
        assert tell.watched.count() == 3
        consul.set_rights(READ)
        tell.wait("a healthy source", tell.healthy)
        tell.wait("the new port", lambda: "9081" in str(tell.watched.services[REVIEWS]))
        assert tell.catalogs.statuses()[0].held == 0
        consul.deregister(1)
        tell.count(2)

    watched = play(consul, story)
    assert watched.least == 2


def test_a_deleted_token_is_a_source_that_is_away(consul: Consul) -> None:
    def story(tell: Telling) -> None:
        for number in range(1, 4):
            consul.register(number)
        tell.count(3)
        consul.call("DELETE", f"/v1/acl/token/{consul.accessor}")
        tell.wait("a word about it", lambda: "403" in tell.detail())
        assert tell.watched.count() == 3
        token = consul.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "read"}]})
        consul.token_file.write_text(_field(token, "SecretID"))
        tell.wait("a healthy source", tell.healthy)
        consul.register(4)
        tell.count(4)

    assert play(consul, story).least >= 1


def test_stopped_killed_and_back(consul: Consul) -> None:
    def story(tell: Telling) -> None:
        for number in range(1, 4):
            consul.register(number)
        tell.count(3)
        tell.watched.least = 1000
        consul.signal(signal.SIGSTOP)
        time.sleep(2)
        consul.signal(signal.SIGCONT)
        consul.kill()
        tell.wait("a word about it", lambda: not tell.healthy())
        assert "no connection" in tell.detail()
        consul.start()
        tell.wait("a healthy source", tell.healthy, seconds=60)
        consul.register(4)
        tell.count(4)

    assert play(consul, story).least >= 3


def test_a_restart_while_the_token_reads_nothing(consul: Consul) -> None:
    store = MemoryStore()

    def first(tell: Telling) -> None:
        for number in range(1, 4):
            consul.register(number)
        tell.count(3)
        tell.wait("a healthy source", tell.healthy)

    def second(tell: Telling) -> None:
        assert tell.watched.count() == 3
        tell.wait("a word about it", lambda: "cannot read the catalog any more" in tell.detail())
        time.sleep(1.5)
        consul.set_rights(READ)
        tell.wait("a healthy source", tell.healthy)
        tell.wait("nothing held", lambda: tell.catalogs.statuses()[0].held == 0)

    play(consul, first, store=store)
    consul.set_rights("")
    assert play(consul, second, store=store).least == 3


def test_a_mass_deregistration_is_held_and_accepted(consul: Consul) -> None:
    def story(tell: Telling) -> None:
        for number in range(1, 19):
            consul.register(number)
        tell.count(18)
        time.sleep(HOLD_SECONDS + 0.5)  # what was added just now would be netted with the loss
        for number in range(1, 13):
            consul.deregister(number)
        tell.wait("the hold", lambda: tell.catalogs.statuses()[0].held == 12)
        assert tell.watched.count() == 18

    play(consul, story)
