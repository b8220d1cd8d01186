import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostmesh_controlplane.app import inbound_modes
from hostmesh_controlplane.logic.callers import Seen, Told
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.model import InboundMode
from hostmesh_testing.operator_desk import REVIEWS, Desk, run

STRICT, PERMISSIVE = (f"POST /v1/services/{{name}}/{verb}" for verb in ("strict", "permissive"))
SHOW = "GET /v1/services/{name}"


def told(*addresses: str, hours: float = 48) -> Told:
    now = time.time()
    callers = tuple(Seen(address, 14, now - 60, now - 3) for address in addresses)
    since = now - hours * 3600
    return Told("reviews", "", 9080, since, 14 * len(callers), 5, now - 3, callers)


async def joined(desk: Desk, *addresses: str, hours: float = 48) -> str:
    """A host serves reviews, and these addresses call it without the mesh."""
    host_id = await desk.enrol("web-1")
    await desk.list("10.0.0.1")
    await desk.register(host_id, "10.0.0.1")
    desk.hosts.told[REVIEWS] = [(host_id, told(*addresses, hours=hours))]
    return host_id


def listed(answer: Mapping[str, object], name: str) -> list[Any]:
    found = answer[name]
    assert isinstance(found, list)
    return found


def inbound(desk: Desk) -> InboundMode | None:
    return desk.mesh.state.services[REVIEWS].inbound


def test_strict_is_refused_with_the_callers_then_forced_and_taken_back(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await joined(desk, "10.1.0.9")
        with pytest.raises(Refused, match="1 caller came without the mesh") as refused:
            await desk.call(STRICT, name="reviews")
        (row,) = listed(refused.value.detail, "callers")
        assert (row["address"], row["requests"]) == ("10.1.0.9", 14)
        assert (row["seen_at"], row["ago"]) == ("web-1", "3 s")
        assert refused.value.detail["change"] == "permissive -> permissive"
        assert inbound(desk) is None
        answer = await desk.answer(STRICT, {"force": True}, name="reviews")
        assert answer["done"] == f"{REVIEWS} is now strict: its Envoys take mutual TLS alone"
        assert answer["change"] == "permissive -> strict"
        assert inbound(desk) is InboundMode.STRICT
        answer = await desk.answer(STRICT, name="reviews")
        assert answer["done"] == f"{REVIEWS} is already strict: its Envoys take mutual TLS alone"
        answer = await desk.answer(PERMISSIVE, name="reviews")
        assert answer["done"] == f"{REVIEWS} is now permissive: its Envoys take plaintext too"
        assert inbound(desk) is InboundMode.PERMISSIVE

    run(tmp_path, play)


def test_strict_waits_for_the_hosts_to_tell_who_calls_them(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await joined(desk)
        other = await desk.enrol("web-2")
        await desk.register(other, "10.0.0.2")
        with pytest.raises(
            Refused, match=r"who calls 10.0.0.2:9080 on web-2 \(not connected\) has"
        ):
            await desk.call(STRICT, name="reviews")
        desk.hosts.addresses[other] = "10.0.0.2"
        with pytest.raises(Refused, match=r"who calls 10.0.0.2:9080 on web-2 has not") as refused:
            await desk.call(STRICT, name="reviews")
        assert listed(refused.value.detail, "uncounted") == [
            "10.0.0.2:9080 on web-2 has not told yet"
        ]
        assert inbound(desk) is None
        desk.hosts.told[REVIEWS].append((other, told()))
        await desk.answer(STRICT, name="reviews")
        assert inbound(desk) is InboundMode.STRICT

    run(tmp_path, play)


def test_a_young_count_and_hosts_own_words_are_warned_of(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        host_id = await joined(desk, hours=3)
        desk.hosts.modes[REVIEWS] = {host_id: {InboundMode.DISABLE}}
        answer = await desk.answer(STRICT, name="reviews")
        young, own = listed(answer, "warnings")
        assert young.startswith("callers are counted at every instance for 3 h only")
        assert own.startswith("agent.yaml of web-1 says inbound: disable")
        answer = await desk.answer(PERMISSIVE, name="reviews")
        assert answer["warnings"] == [
            "agent.yaml of web-1 says inbound: disable, and that counts there"
        ]

    run(tmp_path, play)


def test_a_caller_is_named_by_what_is_known_of_its_address(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await joined(desk, "10.0.0.1", "10.9.0.9", "10.2.0.2")
        client = await desk.enrol("shop-1")
        desk.hosts.addresses[client] = "10.9.0.9"
        shown = await desk.answer(SHOW, name="reviews")
        rows = listed(shown, "callers")
        assert {row["address"]: row["caller"] for row in rows} == {
            "10.0.0.1": f"{REVIEWS} on web-1",
            "10.9.0.9": "host shop-1",
            "10.2.0.2": "",
        }
        assert shown["counted_for"] == "2 d"
        assert shown["inbound_in_force"] == "permissive"

    run(tmp_path, play)


def test_an_answer_has_the_latest_callers_and_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_modes, "MOST_SHOWN", 1)

    async def play(desk: Desk) -> None:
        await joined(desk, "10.1.0.8", "10.1.0.9")
        shown = await desk.answer(SHOW, name="reviews")
        assert [row["address"] for row in listed(shown, "callers")] == ["10.1.0.8"]
        assert shown["caller_count"] == 2

    run(tmp_path, play)


def test_the_report_is_a_row_for_every_service(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await joined(desk, "10.1.0.9")
        (row,) = await desk.rows("GET /v1/mtls")
        assert row["service"] == REVIEWS
        assert (row["state"], row["meshed"], row["endpoints"]) == ("mixed", 1, 1)
        assert (row["inbound"], row["plaintext_callers"]) == ("permissive", 1)
        assert (row["plaintext_requests"], row["mutual_tls_requests"]) == (14, 5)
        assert row["counted_for"] == "2 d"
        assert row["next"] == f"join its callers: hostmesh service show {REVIEWS}"

    run(tmp_path, play)


def test_what_to_do_next_is_one_word_in_all_places(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        async def steps() -> set[object]:
            (row,) = await desk.rows("GET /v1/mtls")
            return {row["next"], (await desk.answer(SHOW, name="reviews"))["next"]}

        await desk.list("10.0.0.1", "10.0.0.2")
        host_id = await desk.enrol("web-1")
        await desk.register(host_id, "10.0.0.1")
        assert await steps() == {"join the other 1: hostmesh token create --service reviews"}
        await desk.list("10.0.0.1")
        desk.hosts.told[REVIEWS] = [(host_id, told())]
        assert await steps() == {f"hostmesh service strict {REVIEWS}"}
        await desk.call(STRICT, name="reviews")
        assert await steps() == {f"hostmesh service require-mesh {REVIEWS}"}
        await desk.call("POST /v1/services/{name}/require-mesh", name="reviews")
        assert await steps() == {""}

    run(tmp_path, play)


def test_an_unknown_word_or_service_changes_nothing(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await joined(desk)
        with pytest.raises(BadInput, match="forse"):
            await desk.call(STRICT, {"forse": True}, name="reviews")
        with pytest.raises(BadInput, match="cannot find service revews"):
            await desk.call(STRICT, name="revews")
        assert inbound(desk) is None

    run(tmp_path, play)
