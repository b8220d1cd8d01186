from pathlib import Path

import pytest

from hostmesh_controlplane.logic.catalog import SourceStatus
from hostmesh_core import type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_testing.operator_desk import REVIEWS, Desk, run
from hostmesh_testing.proxy_streams import FakePush
from hostmesh_testing.render_mesh import SCOPE
from hostmesh_testing.xds import ask


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

    run(tmp_path, play)


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

    run(tmp_path, play)


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
        revoke, why = "POST /v1/hosts/{host}/revoke", {"reason": "stolen"}
        done = await desk.answer(revoke, why, host="web-1")
        assert (done["host"], done["change"]) == (host_id, "standing -> revoked")
        assert (await state())[1] == "revoked"
        again = await desk.answer(revoke, {}, host=host_id[:6])
        assert (again["host"], again["change"]) == (host_id, "revoked -> revoked")
        record = desk.authority.host(host_id)
        assert record is not None
        assert record.revoked_why == "stolen"

    run(tmp_path, play)


def test_a_grant_is_widened_and_said_in_full(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        host_id = await desk.enrol("web-1")
        body = {"add_service": ["ratings"], "add_cidr": ["10.1.0.0/16"]}
        done = await desk.call("POST /v1/hosts/{host}/grant", body, host=host_id[:6])
        assert isinstance(done, dict)
        assert done["done"] == (
            f"host web-1 ({host_id}) may claim: services default/ratings as reviews, "
            "default/reviews; addresses 10.1.0.0/16"
        )

    run(tmp_path, play)


def test_a_name_that_two_hosts_have_changes_neither_and_still_shows_the_one_that_is_there(
    tmp_path: Path,
) -> None:
    async def play(desk: Desk) -> None:
        # The clock stands still: of two that joined at once the first counts as the newest.
        rogue, away = await desk.enrol("db1"), await desk.enrol("db1")
        desk.hosts.addresses[rogue] = "10.0.0.6"
        for route, body in (
            ("POST /v1/hosts/{host}/grant", {"add_cidr": ["10.1.0.0/16"]}),
            ("POST /v1/hosts/{host}/revoke", {}),
        ):
            with pytest.raises(BadInput, match="cannot tell which host") as caught:
                await desk.call(route, body, host="db1")
            assert away in str(caught.value)
        assert not any(r.revoked or r.grant.cidrs for r in desk.authority.hosts())
        assert await desk.rows("GET /v1/proxy-status", of="db1") == []

    run(tmp_path, play)


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

    run(tmp_path, play)


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

    run(tmp_path, play)


@pytest.mark.parametrize(
    ("route", "path"),
    [
        pytest.param("POST /v1/services/{name}/require-mesh", {"name": "reviews"}, id="require"),
        pytest.param("POST /v1/services/{name}/allow-unmeshed", {"name": "reviews"}, id="allow"),
        pytest.param("POST /v1/services/{name}/release", {"name": "reviews"}, id="release"),
        pytest.param("POST /v1/services/{name}/strict", {"name": "reviews"}, id="strict"),
        pytest.param("POST /v1/services/{name}/permissive", {"name": "reviews"}, id="permissive"),
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

    run(tmp_path, play)


def test_every_write_is_in_that_table(tmp_path: Path) -> None:
    writes = {route for route in Desk(tmp_path).routes if route.startswith("POST")}
    assert len(writes) == 11, "a new write needs its line above"
