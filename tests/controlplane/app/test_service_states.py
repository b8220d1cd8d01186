from collections.abc import Mapping
from pathlib import Path

import pytest

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import SourceChanged
from hostmesh_core.errors import BadInput, Refused, Unreachable
from hostmesh_testing.operator_desk import REVIEWS, Desk, run

REQUIRE = "POST /v1/services/{name}/require-mesh"
ALLOW = "POST /v1/services/{name}/allow-unmeshed"
RELEASE = "POST /v1/services/{name}/release"


def test_the_mesh_is_required_by_force_or_once_everybody_is_in_it(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        with pytest.raises(Refused, match=r"10\.0\.0\.2:9080 \(files\); join them, or withhold"):
            await desk.call(REQUIRE, name="reviews")
        assert desk.mesh.find("reviews").state.value == "mixed"
        done = await desk.call(REQUIRE, {"force": True}, name="reviews")
        assert done == {
            "done": f"{REVIEWS} is in state mesh; 1 endpoint(s) withheld",
            "host": REVIEWS,
        }
        rows = await desk.rows("GET /v1/endpoints/{name}", name="reviews")
        assert {r["endpoint"]: r["meshed_text"] for r in rows} == {
            "10.0.0.1:9080": "yes",
            "10.0.0.2:9080": "withheld",
        }
        done = await desk.call(ALLOW, {"cidr": ["10.0.0.2/32"]}, name="reviews")
        assert isinstance(done, dict)
        assert done["done"] == f"{REVIEWS} is in state mixed; 1 endpoint(s) admitted"
        assert desk.mesh.state.record(REVIEWS).unmeshed_cidrs == ("10.0.0.2/32",)

    run(tmp_path, play)


def test_a_static_document_s_demand_is_not_taken_back_by_a_command(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", require_mesh=True)
        with pytest.raises(Refused, match=r"reviews\.yaml:1 says hostmesh\.io/require-mesh"):
            await desk.call(ALLOW, name="reviews")

    run(tmp_path, play)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        pytest.param(REQUIRE, {"force": True}, id="require-mesh"),
        pytest.param(ALLOW, {}, id="allow-unmeshed"),
        pytest.param(RELEASE, {"keys": ["10.0.0.1:9080"]}, id="release of another"),
    ],
)
def test_a_lease_that_ends_before_the_command_s_turn_stays_ended(
    tmp_path: Path, verb: str, body: Mapping[str, object]
) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2", "10.0.0.3")
        for host_id, address in (("aaaa", "10.0.0.1"), ("bbbb", "10.0.0.2")):
            await desk.register(host_id, address)
        await desk.mesh.apply(lambda state: merge.lease_ended(state, "aaaa"))
        desk.mesh.put(lambda state: merge.lease_ended(state, "bbbb"))
        await desk.call(verb, body, name="reviews")
        ended = {str(key) for key in desk.mesh.state.record(REVIEWS).ended}
        assert "10.0.0.2:9080" in ended
        reached = {str(e.key) for e in desk.mesh.find("reviews").endpoints}
        assert "10.0.0.2:9080" not in reached, "the host is dead: nobody may be sent to it"

    run(tmp_path, play)


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        pytest.param(False, "cannot store what is decided of .*: the disk is full", id="its own"),
        pytest.param(True, "cannot decide .*: the disk is full; nothing is changed", id="others"),
    ],
)
def test_a_store_that_fails_is_told_to_whoever_gave_the_command(
    tmp_path: Path, said: str, *, blocked: bool
) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1")
        await desk.register("aaaa", "10.0.0.1")
        desk.store.fail = Unreachable("the disk is full")
        if blocked:
            desk.mesh.put(lambda state: merge.lease_ended(state, "aaaa"))
        with pytest.raises(Unreachable, match=said):
            await desk.call(REQUIRE, {"force": True}, name="reviews")
        desk.store.fail = None
        await desk.mesh.settled()
        state = desk.mesh.find("reviews").state.value
        assert state == ("mixed" if blocked else "mesh"), "what was said is what happened"

    run(tmp_path, play, answer_seconds=0.05)


def test_a_service_that_goes_before_the_command_s_turn_is_named(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1")
        gone = SourceChanged("files", REVIEWS, None)
        desk.mesh.put(lambda state: merge.source_changed(state, gone))
        with pytest.raises(BadInput, match=f"cannot find service {REVIEWS} any more"):
            await desk.call(REQUIRE, name="reviews")
        await desk.list("10.0.0.1")
        assert desk.mesh.find("reviews").state.value == "plain", "and the mesh goes on"

    run(tmp_path, play)
