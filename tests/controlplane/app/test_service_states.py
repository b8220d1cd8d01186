from collections.abc import Mapping
from pathlib import Path

import pytest

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import SourceChanged, SourceStatus
from hostmesh_core.errors import BadInput, Refused, Unreachable
from hostmesh_testing.operator_desk import REVIEWS, Desk, run

Row = Mapping[str, object]
REQUIRE = "POST /v1/services/{name}/require-mesh"
ALLOW = "POST /v1/services/{name}/allow-unmeshed"
RELEASE = "POST /v1/services/{name}/release"


def _rows(answer: Row, name: str) -> list[Row]:
    rows = answer[name]
    assert isinstance(rows, list)
    return rows


def _keys(answer: Row, name: str) -> set[object]:
    return {row["endpoint"] for row in _rows(answer, name)}


def test_the_mesh_is_required_by_force_or_once_everybody_is_in_it(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        with pytest.raises(Refused, match=r"10\.0\.0\.2:9080 \(files\); join them") as refused:
            await desk.call(REQUIRE, name="reviews")
        assert _keys(refused.value.detail, "withheld") == {"10.0.0.2:9080"}
        assert refused.value.detail["change"] == "mixed -> mixed"
        assert desk.mesh.find("reviews").state.value == "mixed"
        done = await desk.answer(REQUIRE, {"force": True}, name="reviews")
        assert done["done"] == f"{REVIEWS} is in state mesh; 1 endpoint(s) withheld"
        assert (done["change"], _keys(done, "withheld")) == ("mixed -> mesh", {"10.0.0.2:9080"})
        rows = await desk.rows("GET /v1/endpoints/{name}", name="reviews")
        assert {r["endpoint"]: r["meshed_text"] for r in rows} == {
            "10.0.0.1:9080": "yes",
            "10.0.0.2:9080": "withheld",
        }

    run(tmp_path, play)


def test_what_a_command_withholds_and_admits_is_shown_endpoint_by_endpoint(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.0.4")
        for host_id, address in (("aaaa", "10.0.0.1"), ("bbbb", "10.0.0.3")):
            await desk.register(host_id, address)
        await desk.mesh.apply(lambda state: merge.lease_ended(state, "bbbb"))
        await desk.call(REQUIRE, {"force": True}, name="reviews")
        done = await desk.answer(ALLOW, {"cidr": ["10.1.0.0/16"]}, name="reviews")
        assert done["done"] == f"{REVIEWS} is in state mixed; 1 endpoint(s) reached in plaintext"
        assert done["change"] == "mesh (1 ended) -> mixed (10.1.0.0/16, 1 ended)"
        assert _keys(done, "admitted") == {"10.1.0.4:9080"}
        assert {row["endpoint"]: str(row["why"])[:16] for row in _rows(done, "withheld")} == {
            "10.0.0.2:9080": "not meshed, and ",
            "10.0.0.3:9080": "its host's lease",
        }
        wider = await desk.answer(ALLOW, {"cidr": ["10.0.0.0/8"]}, name="reviews")
        new = {row["endpoint"]: row["new"] for row in _rows(wider, "admitted")}
        assert new == {"10.0.0.2:9080": True, "10.1.0.4:9080": False}
        released = await desk.answer(RELEASE, {}, name="reviews")
        assert "10.0.0.3:9080" in _keys(released, "admitted"), "and it is said that it is plaintext"
        assert released["change"] == "mixed (10.0.0.0/8, 1 ended) -> mixed (10.0.0.0/8)"

    run(tmp_path, play)


def test_what_catalogs_weights_count_up_to_moves_when_asked_and_is_said(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        heard = SourceStatus("files", "static", healthy=True, synced=True)
        await desk.mesh.apply(lambda state: merge.source_status(state, heard))
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        await desk.list("10.0.0.1", "10.0.0.2", weight=65535)
        narrowed = await desk.answer(ALLOW, {"cidr": ["10.0.0.0/24"]}, name="reviews")
        assert narrowed["change"] == "mixed -> mixed (10.0.0.0/24)"
        assert desk.mesh.state.record(REVIEWS).weight_limit == 1
        said = "; catalogs' weights now count up to 65535, before up to 1"
        asked = {"take_weights": True}
        tried = await desk.answer(ALLOW, asked | {"dry_run": True}, name="reviews")
        assert str(tried["done"]).endswith(said)
        assert tried["change"] == "mixed (10.0.0.0/24) -> mixed (10.0.0.0/24)"
        taken = await desk.answer(ALLOW, asked, name="reviews")
        assert str(taken["done"]).endswith(said)
        assert taken["change"] == "mixed (10.0.0.0/24, weights to 1) -> mixed (weights to 65535)"
        assert desk.mesh.state.record(REVIEWS).weight_limit == 65535

    run(tmp_path, play)


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        pytest.param(REQUIRE, {"force": True}, "is in state mesh; 1 endpoint", id="forced"),
        pytest.param(REQUIRE, {}, "not meshed and healthy", id="what would be refused"),
        pytest.param(ALLOW, {"cidr": ["10.9.0.0/16"]}, "is in state mixed; 0", id="narrowed"),
    ],
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(
    tmp_path: Path, verb: str, body: dict[str, object], said: str
) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1", "10.0.0.2")
        await desk.register("7f3a", "10.0.0.1")
        before = desk.mesh.state.record(REVIEWS)
        done = await desk.answer(verb, {**body, "dry_run": True}, name="reviews")
        assert str(done["done"]).startswith("dry run, nothing changed: ")
        assert said in str(done["done"])
        assert _keys(done, "withheld") == {"10.0.0.2:9080"}
        assert (done["before"], done["after"]) == ("mixed", "mixed")
        assert desk.mesh.state.record(REVIEWS) == before

    run(tmp_path, play)


def test_who_set_a_state_and_when_outlives_what_only_repeats_it(tmp_path: Path) -> None:
    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1")
        await desk.register("7f3a", "10.0.0.1")

        async def by() -> tuple[str, bool]:
            shown = await desk.answer("GET /v1/services/{name}", name="reviews")
            mark = shown["state_set"]
            assert isinstance(mark, dict)
            return mark["by"], bool(mark["at"])

        born = "the first registration, of host 7f3a: a catalog lists it"
        assert await by() == (born, True)
        await desk.call(REQUIRE, name="reviews")
        assert await by() == ("root (uid 0): service require-mesh", True)
        first = desk.mesh.state.record(REVIEWS)
        await desk.call(REQUIRE, name="reviews")
        assert desk.mesh.state.record(REVIEWS) == first

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
        with pytest.raises(Unreachable, match=said) as unanswered:
            await desk.call(REQUIRE, {"force": True}, name="reviews")
        assert unanswered.value.detail == {"host": REVIEWS} | (
            {} if blocked else {"change": "state mixed -> mesh"}
        )
        desk.store.fail = None
        await desk.mesh.settled()
        state = desk.mesh.find("reviews").state.value
        assert state == ("mixed" if blocked else "mesh"), "what was said is what happened"

    run(tmp_path, play, answer_seconds=0.05)


@pytest.mark.parametrize(
    ("verb", "body", "line"),
    [
        pytest.param(
            REQUIRE,
            {"force": True},
            f"service={REVIEWS} what=state before=mixed after=mesh by='root (uid 0): service "
            "require-mesh'",
            id="the state",
        ),
        pytest.param(
            "POST /v1/services/{name}/strict",
            {"force": True},
            f"service={REVIEWS} what=inbound before=as the mesh after=strict by='root (uid 0): "
            "service strict'",
            id="what its hosts accept",
        ),
        pytest.param(
            ALLOW,
            {"cidr": ["10.0.0.0/24"]},
            f"service={REVIEWS} what=unmeshed_cidrs before=all after=10.0.0.0/24 by='root (uid 0): "
            "service allow-unmeshed'",
            id="its networks",
        ),
    ],
)
def test_a_change_is_logged_when_it_is_stored_and_not_before(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    verb: str,
    body: Mapping[str, object],
    line: str,
) -> None:
    def logged() -> list[str]:
        return [said for said in caplog.messages if line in said]

    async def play(desk: Desk) -> None:
        await desk.list("10.0.0.1")
        await desk.register("aaaa", "10.0.0.1")
        desk.store.fail = Unreachable("the disk is full")
        with pytest.raises(Unreachable):
            await desk.call(verb, body, name="reviews")
        assert logged() == []
        desk.store.fail = None
        await desk.mesh.settled()
        assert logged() == [f"service changed {line}"]

    with caplog.at_level("INFO"):
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
