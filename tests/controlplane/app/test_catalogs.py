import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hostmesh_controlplane.config import ConsulSource, Source, StaticSource
from hostmesh_controlplane.events.catalogs import (
    ConsulFacts,
    ConsulSentinel,
    ConsulService,
    FilesRead,
    FileText,
    SourceAway,
    SourceBack,
    SourceSynced,
)
from hostmesh_core.errors import BadInput
from hostmesh_testing.catalogs import REVIEWS, key
from hostmesh_testing.fake_consul import FakeConsul, instances, serving
from hostmesh_testing.played_catalogs import Played

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
"""
DC1 = ConsulSource(name="dc1", settle_seconds=0.1)
FILES = StaticSource(name="files", path="/absent", poll_seconds=0.05)


def played(*sources: Source) -> Played:
    catalogs = Played(sources or (DC1,))
    asyncio.run(catalogs.catalogs.load())
    return catalogs


def test_nothing_is_synced_before_every_source_has_answered() -> None:
    both = played(DC1, FILES)
    both.healthy("dc1")
    assert not both.synced()
    both.catalogs.take("files", FilesRead("files"))
    both.healthy("files")
    assert both.synced()
    assert [s.healthy for s in both.catalogs.statuses()] == [True, True]


def test_a_start_warns_of_nothing_until_a_source_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        catalogs = played()
        assert "not read yet" in caplog.text
        assert [r.levelname for r in caplog.records if "source status" in r.message] == ["INFO"]
        catalogs.catalogs.take("dc1", SourceAway("dc1", "connection refused"))
    assert caplog.records[-1].levelname == "WARNING"
    assert "connection refused" in caplog.text


def test_a_stored_view_is_as_good_as_an_answer_and_says_that_it_is_old() -> None:
    first = played()
    first.consul(18, index=7)
    first.healthy()
    second = first.again()

    assert second.count() == 18
    assert second.catalogs.synced
    (status,) = second.catalogs.statuses()
    assert (status.healthy, status.synced) == (False, True)
    assert status.detail.startswith("stale since 20")
    assert "not read yet" in status.detail


def test_an_acl_that_was_lost_during_a_restart_empties_no_pool() -> None:
    first = played()
    first.consul(3, index=7)
    first.healthy()
    second = first.again()

    second.catalogs.take("dc1", ConsulSentinel("dc1", 0))
    second.consul(0, index=9, sentinel=0)
    second.catalogs.take("dc1", SourceSynced("dc1"))

    assert second.count() == 3
    (status,) = second.catalogs.statuses()
    assert (status.healthy, status.held) == (False, 3)
    assert "cannot read the catalog any more" in status.detail
    assert "hostmesh source accept dc1" in status.detail


def test_the_index_survives_the_restart() -> None:
    first = played()
    first.consul(3, index=7)
    first.healthy()
    second = first.again()

    second.consul(2, index=7)

    assert second.count() == 3


def test_the_first_answer_after_the_doubt_is_believed_though_its_index_is_the_doubted_one() -> None:
    dc1 = played()
    dc1.consul(3, index=7)
    dc1.healthy()
    dc1.consul(0, index=9, sentinel=0)
    assert dc1.count() == 3

    dc1.consul(2, index=9)

    assert (dc1.count(), dc1.catalogs.statuses()[0].held) == (2, 0)


def test_a_mass_loss_is_held_and_accepted() -> None:
    dc1 = played()
    dc1.consul(18, index=1)
    dc1.healthy()
    dc1.consul(0, index=2)
    assert (dc1.count(), dc1.catalogs.statuses()[0].held) == (18, 18)
    assert dc1.detail().startswith("holding 18 endpoints that it lists no more")

    assert dc1.catalogs.accept("dc1") == 18

    assert (dc1.count(), dc1.detail()) == (0, "")


def test_what_left_our_registry_may_leave_consul_in_a_mass() -> None:
    dc1 = played()
    dc1.consul(18, index=1)
    dc1.catalogs.left_registry(key(f"10.0.0.{n}:9080") for n in range(18))
    dc1.consul(0, index=2)
    assert dc1.count() == 0


def test_since_when_an_endpoint_is_listed_survives_a_restart_and_not_a_removal() -> None:
    def since(of: Played) -> list[float]:
        listing = of.passed["dc1", REVIEWS]
        return [e.origin.since for e in listing.endpoints] if listing else []

    played = Played((DC1,))
    played.healthy()
    played.consul(2, index=1)
    first = since(played)
    assert all(first)
    restarted = played.again()
    restarted.healthy()
    restarted.consul(2, index=2)
    assert since(restarted) == first
    restarted.consul(1, index=3)
    restarted.consul(2, index=4)
    kept, anew = since(restarted)
    assert kept == first[0]
    assert anew > first[1]


def test_an_unknown_source_is_answered_with_the_likely_one() -> None:
    with pytest.raises(BadInput, match='cannot find source dc; did you mean "dc1"'):
        played().catalogs.accept("dc")


def test_a_source_that_is_away_keeps_its_view_and_says_since_when() -> None:
    dc1 = played()
    dc1.consul(3, index=1)
    dc1.healthy()
    dc1.catalogs.take("dc1", SourceAway("dc1", "cannot read Consul at x: ACL not found (403)"))
    (status,) = dc1.catalogs.statuses()
    assert (dc1.count(), status.healthy) == (3, False)
    assert "stale since 20" in status.detail
    assert "ACL not found" in status.detail

    dc1.catalogs.take("dc1", SourceBack("dc1"))
    assert dc1.catalogs.statuses()[0].healthy


def test_a_token_that_never_saw_the_sentinel_is_told_what_it_needs() -> None:
    dc1 = played()
    dc1.catalogs.take("dc1", ConsulSentinel("dc1", 0))
    dc1.consul(3, index=1, sentinel=0)
    dc1.catalogs.take("dc1", SourceSynced("dc1"))

    assert dc1.catalogs.statuses()[0].healthy
    assert 'service_prefix "" { policy = "read" }' in dc1.detail()
    dc1.consul(2, index=2, sentinel=0)
    assert dc1.count() == 2, "an empty sentinel means nothing before it was seen"


def test_only_what_changed_is_written() -> None:
    dc1 = played()
    dc1.consul(3, index=1)
    dc1.healthy()
    before = dc1.stored()
    assert set(before) == {"dc1/", f"dc1/{REVIEWS}"}

    dc1.consul(3, index=2)

    assert dc1.stored() == before
    dc1.consul(0, index=3)
    assert set(dc1.stored()) == {"dc1/"}


def test_a_consul_name_that_is_none_is_remarked_and_harms_nobody() -> None:
    dc1 = played()
    fact = ConsulService("dc1", "my_app", tuple(instances(range(1))), ConsulFacts(1), None)
    dc1.catalogs.take("dc1", fact)
    dc1.healthy()
    dc1.consul(2, index=1)
    assert dc1.count() == 2
    assert 'cannot take the Consul service "my_app"' in dc1.detail()


def test_only_some_remarks_are_shown_and_each_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dc1 = played()
    dc1.healthy()
    for number in range(7):
        name = f"my_app{number}"
        fact = ConsulService("dc1", name, tuple(instances(range(1))), ConsulFacts(1), None)
        dc1.catalogs.take("dc1", fact)
    assert dc1.detail().endswith("and 2 more remarks, in the log")
    logged = [record.getMessage() for record in caplog.records if "remark" in record.getMessage()]
    assert sum("my_app3" in line and "source remark" in line for line in logged) == 1


def test_two_consul_services_of_one_host_name() -> None:
    dc1 = played()
    dc1.consul(2, index=1)
    fact = ConsulService("dc1", "Reviews", tuple(instances(range(1))), ConsulFacts(1), None)
    dc1.catalogs.take("dc1", fact)
    assert dc1.count() == 2
    (remark,) = dc1.catalogs.remarks()["dc1"]
    assert f'"reviews" has the name {REVIEWS} already' in remark


def test_a_bad_document_after_a_restart_keeps_what_was_stored() -> None:
    files = played(FILES)
    text = FileText("a.yaml", ENTRY)
    files.catalogs.take("files", FilesRead("files", (text,)))
    files.healthy("files")
    again = files.again()

    bad = FileText("a.yaml", ENTRY.replace("STATIC", "STATC"))
    again.catalogs.take("files", FilesRead("files", (bad,)))
    again.healthy("files")

    assert again.count("files") == 1
    assert 'did you mean "STATIC"?' in again.detail("files")
    assert f"as stored before the restart, until every document is read: {REVIEWS}" in (
        again.detail("files")
    )
    again.catalogs.take("files", FilesRead("files", (), ("a.yaml",)))
    assert again.count("files") == 0


def test_views_of_sources_that_are_configured_no_more_are_dropped() -> None:
    first = played()
    first.consul(3, index=1)
    first.healthy()
    first.stored()
    other = Played((FILES,), first.store)
    asyncio.run(other.catalogs.load())
    assert set(other.stored()) == {"dc1/"}


@pytest.mark.parametrize(
    "source",
    [
        ConsulSource(name="dc1", address="localhost:8500"),
        ConsulSource(name="dc1", host_template="{name}.x"),
    ],
    ids=["address", "template"],
)
def test_a_source_that_can_never_be_read_ends_the_start(source: ConsulSource) -> None:
    with pytest.raises(BadInput, match="cannot use"):
        Played((source,))


@asynccontextmanager
async def running(*sources: Source) -> AsyncIterator[Played]:
    catalogs = Played(sources)
    await catalogs.catalogs.load()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(catalogs.catalogs.run())
        try:
            await catalogs.until_synced()
            yield catalogs
        finally:
            task.cancel()


def test_files_and_consul_while_they_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ENTRY)

    async def run() -> Played:
        async with serving(FakeConsul({"reviews": instances(range(2))})) as fake:
            consul = ConsulSource(name="dc1", address=fake.address, settle_seconds=0.1)
            files = StaticSource(name="files", path=str(tmp_path), poll_seconds=0.05)
            async with running(files, consul) as catalogs:
                assert (catalogs.count("files"), catalogs.count("dc1")) == (1, 2)
                (tmp_path / "a.yaml").unlink()
                await fake.set("reviews", instances(range(3)))
                await asyncio.sleep(0.5)
                assert (catalogs.count("files"), catalogs.count("dc1")) == (0, 3)
            return catalogs

    catalogs = asyncio.run(run())
    assert set(catalogs.stored()) == {"dc1/", "files/", f"dc1/{REVIEWS}"}


def test_a_start_while_consul_is_down_serves_the_stored_view() -> None:
    first = played()
    first.consul(3, index=1)
    first.healthy()
    first.stored()

    async def run() -> None:
        gone = ConsulSource(name="dc1", address="http://127.0.0.1:9", settle_seconds=0.1)
        second = Played((gone,), first.store)
        await second.catalogs.load()
        assert (second.count(), second.catalogs.synced) == (3, True)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(second.catalogs.run())
            await asyncio.sleep(0.3)
            task.cancel()
        assert second.count() == 3
        assert "no connection" in second.detail()

    asyncio.run(run())
