"""A Consul agent as far as the catalog edge can see it: blocking queries, indexes, lost ACLs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SERVERS = 3


@dataclass(slots=True)
class FakeConsul:
    """State that tests set, and the requests that came."""

    services: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    index: int = 100
    status: int = 200
    """Other than 200: every answer is this, with `text`."""
    text: str = ""
    acl_lost: bool = False
    """As 1.8.7 shows it: empty lists, the same index, status 200."""
    headers: dict[str, str] = field(default_factory=dict)
    """Added to every answer."""
    requests: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    """Path, query and headers of every request."""
    address: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def set(self, service: str, instances: list[dict[str, Any]] | None) -> None:
        """Change a service: the index moves and whoever waits is woken."""
        if instances is None:
            self.services.pop(service, None)
        else:
            self.services[service] = instances
        await self.move(self.index + 1)

    async def move(self, index: int) -> None:
        """Set the index and wake whoever waits."""
        async with self.changed:
            self.index = index
            self.changed.notify_all()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a query, after its wait where it blocks."""
        self.requests.append((request.path, dict(request.query), dict(request.headers)))
        if self.status != 200:
            return web.Response(status=self.status, text=self.text)
        await self._block(dict(request.query))
        if self.status != 200:
            return web.Response(status=self.status, text=self.text)
        headers = {
            "X-Consul-Index": str(self.index),
            "X-Consul-KnownLeader": "true",
            "X-Consul-LastContact": "3",
        }
        return web.json_response(self._value(request.path), headers=headers | self.headers)

    async def _block(self, query: dict[str, str]) -> None:
        index = int(query.get("index", "0"))
        if not index or index != self.index:
            return
        wait = int(query.get("wait", "300000ms").removesuffix("ms")) / 1000
        try:
            async with asyncio.timeout(wait), self.changed:
                await self.changed.wait_for(lambda: self.index != index or self.status != 200)
        except TimeoutError:
            pass

    def _value(self, path: str) -> object:
        name = path.rpartition("/")[2]
        if path == "/v1/catalog/services":
            return {} if self.acl_lost else {"consul": [], **{name: [] for name in self.services}}
        if self.acl_lost:
            return []
        if name == "consul":
            return [instance(f"server{n}", "127.0.0.1", 8300) for n in range(SERVERS)]
        return self.services.get(name, [])

    def asked(self, service: str) -> list[dict[str, str]]:
        """Give the queries for a service's instances."""
        path = f"/v1/health/service/{service}"
        return [query for where, query, _ in self.requests if where == path]


def instance(
    service_id: str, address: str, port: int = 9080, *, service: str = "reviews"
) -> dict[str, Any]:
    """Give an instance in Consul's shape, healthy."""
    return {
        "Node": {"Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1", "Meta": {}},
        "Service": {
            "ID": service_id,
            "Service": service,
            "Tags": [],
            "Address": address,
            "Port": port,
            "Meta": {},
            "Weights": {"Passing": 1, "Warning": 1},
        },
        "Checks": [],
    }


def instances(numbers: range, *, port: int = 9080) -> list[dict[str, Any]]:
    """Give instances 10.0.0.<number>."""
    return [instance(f"r{n}", f"10.0.0.{n}", port) for n in numbers]


@asynccontextmanager
async def serving(fake: FakeConsul, *, port: int = 0) -> AsyncIterator[FakeConsul]:
    """Serve on loopback; `port` to come back where one was before."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    fake.address = f"http://127.0.0.1:{bound}"
    try:
        yield fake
    finally:
        await runner.cleanup()
