import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from hostmesh_controlplane.app.authority import Authority, Enrolled
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.operator import Operator
from hostmesh_controlplane.app.proxies import Proxies
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.edges.operator_api import Call, Caller, Route
from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import (
    CatalogEndpoint,
    CatalogService,
    SourceChanged,
    SourceStatus,
)
from hostmesh_controlplane.logic.tokens import TokenRequest
from hostmesh_controlplane.logic.unite import Rules
from hostmesh_controlplane.logic.vips import VipRanges
from hostmesh_core import type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health, InboundMode, Port, Protocol, RegisteredInstance
from hostmesh_testing import forge
from hostmesh_testing.fixed import CountingEntropy, FixedClock
from hostmesh_testing.memory_store import MemoryStore
from hostmesh_testing.proxy_streams import FakePush, Viewed
from hostmesh_testing.render_mesh import SCOPE
from hostmesh_testing.xds import World, ask, cluster

RULES = Rules("mesh.internal", "mesh.internal", (("files", "static"),))
REVIEWS = "reviews.default.mesh.internal"
ROOT = Caller(uid=0, pid=1, user="root")


class FakeCatalogs:
    """One source that holds three endpoints."""

    def __init__(self) -> None:
        self.status = SourceStatus("files", "static", healthy=True, synced=True, held=3)
        self.accepted: list[str] = []

    def statuses(self) -> list[SourceStatus]:
        return [self.status]

    def accept(self, source: str) -> int:
        if source != "files":
            raise BadInput(f"cannot find source {source}")
        self.accepted.append(source)
        return 3


class FakeHosts:
    """Whose stream is up, and from where."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.silent: tuple[str, ...] = ()

    def connected(self, host_id: str) -> str:
        return self.addresses.get(host_id, "")

    def held(self) -> tuple[str, ...]:
        return self.silent

    def end_held(self) -> tuple[str, ...]:
        ended, self.silent = self.silent, ()
        return ended


class Desk:
    """The operator with everything behind it, as a control plane has it."""

    def __init__(self, folder: Path) -> None:
        store, clock, entropy = MemoryStore(), FixedClock(), CountingEntropy()
        config = ControlPlaneConfig(state_dir=str(folder))
        self.world = World(cluster("web"))
        self.proxies = Proxies(Viewed(self.world))
        self.mesh = Mesh(RULES, VipRanges(), store, on_changes=lambda _: None)
        self.authority = Authority(config, store, clock=clock, entropy=entropy)
        self.catalogs, self.hosts = FakeCatalogs(), FakeHosts()
        operator = Operator(
            mesh=self.mesh,
            authority=self.authority,
            proxies=self.proxies,
            catalogs=self.catalogs,
            hosts=self.hosts,
            mesh_wide=InboundMode.PERMISSIVE,
        )
        self.routes: dict[str, Route] = {f"{r.method} {r.path}": r for r in operator.routes()}

    async def call(
        self, route: str, body: Mapping[str, object] | None = None, **path: str
    ) -> object:
        """Call as the socket's edge would; `host` of a read is a query."""
        query = {"host": path.pop("of")} if "of" in path else {}
        return await self.routes[route].handler(Call(path, query, body or {}, ROOT))

    async def rows(self, route: str, **path: str) -> list[dict[str, object]]:
        rows = await self.call(route, None, **path)
        assert isinstance(rows, list)
        return rows

    async def list(self, *addresses: str, require_mesh: bool = False) -> None:
        """Let the catalog list the service at these addresses."""
        service = CatalogService(
            REVIEWS,
            "default",
            ports=(Port(9080, Protocol.HTTP),),
            short_name="reviews",
            endpoints=tuple(CatalogEndpoint(EndpointKey.of(a, 9080)) for a in addresses),
            require_mesh=require_mesh,
            origin="reviews.yaml:1",
        )
        event = SourceChanged("files", REVIEWS, service)
        await self.mesh.apply(lambda state: merge.source_changed(state, event))

    async def register(self, host_id: str, *addresses: str) -> None:
        """Let a host register the service at these addresses."""
        instances = tuple(
            RegisteredInstance(
                host_id=host_id,
                service=REVIEWS,
                namespace="default",
                port=Port(9080, Protocol.HTTP),
                keys=(EndpointKey.of(address, 9080),),
                workload_port=9080,
                identity=SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/reviews"),
                health=Health.HEALTHY,
            )
            for address in addresses
        )
        await self.mesh.apply(lambda state: merge.register(state, host_id, instances))

    async def enrol(self, name: str) -> str:
        request = TokenRequest.parse({"service": ["reviews"]})
        token, _ = await self.authority.create_token(request)
        csr = forge.pem(forge.request(forge.key(name)))
        enrolled = await self.authority.enrol(token, csr, "10.0.0.9", name)
        assert isinstance(enrolled, Enrolled), enrolled
        return enrolled.host_id


def _run(folder: Path, play: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = Desk(folder)
        await desk.authority.start()
        await desk.mesh.start()
        async with asyncio.TaskGroup() as tasks:
            merging = tasks.create_task(desk.mesh.run())
            await play(desk)
            merging.cancel()

    asyncio.run(main())


def test_a_service_and_its_endpoints_as_rows(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        (row,) = await desk.rows("GET /v1/services")
        assert (row["host"], row["state"], row["inbound"]) == (REVIEWS, "mixed", "permissive")
        assert (row["meshed"], row["endpoints"], row["ports"]) == (1, 2, ["9080/http"])
        rows = await desk.rows("GET /v1/endpoints/{name}", name="reviews")
        shown = {r["endpoint"]: (r["source"], r["meshed_text"], r["host_id"]) for r in rows}
        assert shown == {
            "10.0.0.1:9080": ("files+registered", "yes", "7f3a"),
            "10.0.0.2:9080": ("files", "no", ""),
        }
        detail = await desk.call("GET /v1/services/{name}", name=REVIEWS)
        assert isinstance(detail, dict)
        assert detail["next"].startswith("join the other 1")

    _run(tmp_path, play)


def test_the_mesh_is_required_by_force_or_once_everybody_is_in_it(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        require = "POST /v1/services/{name}/require-mesh"
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        with pytest.raises(Refused, match=r"10\.0\.0\.2:9080 \(files\); join them, or withhold"):
            await desk.call(require, name="reviews")
        assert desk.mesh.find("reviews").state.value == "mixed"
        done = await desk.call(require, {"force": True}, name="reviews")
        assert done == {
            "done": f"{REVIEWS} is in state mesh; 1 endpoint(s) withheld",
            "host": REVIEWS,
        }
        rows = await desk.rows("GET /v1/endpoints/{name}", name="reviews")
        assert {r["endpoint"]: r["meshed_text"] for r in rows} == {
            "10.0.0.1:9080": "yes",
            "10.0.0.2:9080": "withheld",
        }
        allow = "POST /v1/services/{name}/allow-unmeshed"
        done = await desk.call(allow, {"cidr": ["10.0.0.2/32"]}, name="reviews")
        assert isinstance(done, dict)
        assert done["done"] == f"{REVIEWS} is in state mixed; 1 endpoint(s) admitted"
        assert desk.mesh.state.record(REVIEWS).unmeshed_cidrs == ("10.0.0.2/32",)

    _run(tmp_path, play)


def test_a_static_document_s_demand_is_not_taken_back_by_a_command(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", require_mesh=True)
        with pytest.raises(Refused, match=r"reviews\.yaml:1 says hostmesh\.io/require-mesh"):
            await desk.call("POST /v1/services/{name}/allow-unmeshed", name="reviews")

    _run(tmp_path, play)


def test_sources_say_what_they_hold_and_are_accepted_by_name(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1")
        (row,) = await desk.rows("GET /v1/sources")
        assert (row["status"], row["services"], row["endpoints"]) == ("holding 3", 1, 1)
        desk.catalogs.status = SourceStatus("files", "static", healthy=False, detail="stale")
        (row,) = await desk.rows("GET /v1/sources")
        assert (row["status"], row["detail"]) == ("stale", "stale")
        done = await desk.call("POST /v1/sources/{name}/accept", name="files")
        assert done == {"done": "source files is believed again: 3 held endpoint(s) released"}
        with pytest.raises(BadInput, match="cannot find source flies"):
            await desk.call("POST /v1/sources/{name}/accept", name="flies")
        assert desk.catalogs.accepted == ["files"]

    _run(tmp_path, play)


def test_a_host_is_away_connected_and_revoked(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        host_id = await desk.enrol("web-1")
        await desk.list("10.0.0.1")
        await desk.register(host_id, "10.0.0.1")

        async def state() -> tuple[object, ...]:
            (row,) = await desk.rows("GET /v1/hosts")
            return row["name"], row["state"], row["address"], row["registered"]

        registered = [f"{REVIEWS} 10.0.0.1:9080"]
        assert await state() == ("web-1", "away", "", registered)
        desk.hosts.silent = (host_id,)
        assert await state() == ("web-1", "lease held", "", registered)
        assert await desk.call("POST /v1/leases/end-held", {}) == {
            "done": "1 held lease(s) end now",
            "hosts": [host_id],
        }
        desk.hosts.addresses[host_id] = "10.0.0.1"
        assert await state() == ("web-1", "connected", "10.0.0.1", registered)
        await desk.call("POST /v1/hosts/{host}/revoke", {"reason": "stolen"}, host="web-1")
        assert (await state())[1] == "revoked"
        record = desk.authority.host(host_id)
        assert record is not None
        assert record.revoked_why == "stolen"

    _run(tmp_path, play)


def test_a_grant_is_widened_and_said_in_full(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        host_id = await desk.enrol("web-1")
        body = {"add_service": ["ratings"], "add_cidr": ["10.1.0.0/16"]}
        done = await desk.call("POST /v1/hosts/{host}/grant", body, host=host_id[:6])
        assert isinstance(done, dict)
        assert done["done"] == (
            "host web-1 may claim: services default/ratings, default/reviews; addresses 10.1.0.0/16"
        )

    _run(tmp_path, play)


def test_tokens_are_listed_without_their_secrets(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        made = await desk.call("POST /v1/tokens", {"service": ["reviews"], "uses": 2})
        assert isinstance(made, dict)
        (row,) = await desk.rows("GET /v1/tokens")
        assert (row["id"], row["uses_left"], row["covers"]) == (
            *(made["id"], 2),
            "services default/reviews",
        )
        assert made["token"].split(".")[2] not in str(row)
        await desk.call("POST /v1/tokens/{id}/revoke", id=str(made["id"]))
        (row,) = await desk.rows("GET /v1/tokens")
        assert row["state"] == "revoked"

    _run(tmp_path, play)


def test_what_a_proxy_was_sent_has_stored_and_has_applied(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        host_id, other = await desk.enrol("web-1"), await desk.enrol("web-2")
        desk.proxies.release()
        stream = desk.proxies.open(host_id, "s1", SCOPE, FakePush())
        desk.proxies.open(other, "s2", SCOPE, FakePush()).request(ask(type_urls.CLUSTER, "*"))

        async def shown() -> tuple[object, ...]:
            (row,) = await desk.rows("GET /v1/proxy-status", of="web-1")
            return tuple(row[key] for key in ("type", "sent", "stored", "applied", "state"))

        (response,) = stream.request(ask(type_urls.CLUSTER, "*"))
        assert await shown() == ("CDS", 1, 0, 0, "pending")
        stream.request(ask(type_urls.CLUSTER, nonce=response.nonce))
        assert await shown() == ("CDS", 1, 1, 0, "pending")
        report = pb.Applied(type_url=type_urls.CLUSTER, version="1", stream_id="s1")
        desk.proxies.applied(host_id, report)
        assert await shown() == ("CDS", 1, 1, 1, "synced")
        refused = pb.Rejected(
            type_url=type_urls.CLUSTER, name="web", detail="no such field", stream_id="s1"
        )
        desk.proxies.rejected(host_id, refused)
        (row,) = await desk.rows("GET /v1/proxy-status", of=host_id)
        assert (row["state"], row["rejected"]) == ("rejected", "yes")
        assert row["detail"] == "web: no such field"
        assert len(await desk.rows("GET /v1/proxy-status")) == 2
        with pytest.raises(BadInput, match="cannot find host 'web-3'"):
            await desk.rows("GET /v1/proxy-status", of="web-3")

    _run(tmp_path, play)


@pytest.mark.parametrize(
    ("route", "path"),
    [
        pytest.param("POST /v1/services/{name}/require-mesh", {"name": "reviews"}, id="require"),
        pytest.param("POST /v1/services/{name}/allow-unmeshed", {"name": "reviews"}, id="allow"),
        pytest.param("POST /v1/services/{name}/release", {"name": "reviews"}, id="release"),
        pytest.param("POST /v1/sources/{name}/accept", {"name": "files"}, id="accept"),
        pytest.param("POST /v1/hosts/{host}/grant", {"host": "web-1"}, id="grant"),
        pytest.param("POST /v1/hosts/{host}/revoke", {"host": "web-1"}, id="revoke a host"),
        pytest.param("POST /v1/leases/end-held", {}, id="end held leases"),
        pytest.param("POST /v1/tokens", {}, id="make a token"),
        pytest.param("POST /v1/tokens/{id}/revoke", {"id": "0"}, id="revoke a token"),
    ],
)
def test_no_write_passes_over_a_field_that_it_does_not_know(
    tmp_path: Path, route: str, path: dict[str, str]
) -> None:
    async def play(desk: Desk) -> None:
        await desk.enrol("web-1")
        await desk.list("10.0.0.1")
        with pytest.raises(BadInput, match="unknown field 'frobnicate'"):
            await desk.call(route, {"frobnicate": True}, **path)

    _run(tmp_path, play)


def test_every_write_is_in_that_table(tmp_path: Path) -> None:
    writes = {route for route in Desk(tmp_path).routes if route.startswith("POST")}
    assert len(writes) == 9, "a new write needs its line above"
