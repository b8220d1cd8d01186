import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hostmesh_controlplane.edges import consul_transport
from hostmesh_controlplane.edges.consul_transport import ConsulAgent, ConsulClient
from hostmesh_controlplane.edges.consul_watch import ConsulWatch, WatchRules
from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    ConsulNames,
    ConsulSentinel,
    ConsulService,
    ConsulUnread,
    SourceAway,
    SourceBack,
    SourceSynced,
)
from hostmesh_testing.fake_consul import SERVERS, FakeConsul, instances, serving


@dataclass
class Seen:
    """The facts that came, in their order."""

    facts: list[CatalogFact] = field(default_factory=list)

    async def until(self, fits: Callable[[CatalogFact], bool], *, after: int = 0) -> CatalogFact:
        """Wait for a fact, not before the `after`th."""
        async with asyncio.timeout(10):
            while True:
                for fact in self.facts[after:]:
                    if fits(fact):
                        return fact
                await asyncio.sleep(0.01)

    async def service(self, count: int, *, name: str = "reviews", after: int = 0) -> ConsulService:
        """Wait for an answer with so many instances."""
        fact = await self.until(
            lambda f: (
                isinstance(f, ConsulService) and f.service == name and len(f.instances) == count
            ),
            after=after,
        )
        assert isinstance(fact, ConsulService)
        return fact


@asynccontextmanager
async def watching(
    fake: FakeConsul,
    *,
    known: tuple[str, ...] = (),
    services: tuple[str, ...] = ("*",),
    wait: float = 30.0,
    most: int = 5000,
) -> AsyncIterator[Seen]:
    seen = Seen()
    client = ConsulClient(ConsulAgent(fake.address))
    rules = WatchRules("dc1", services, wait, settle_seconds=0.1, max_services=most)
    watch = ConsulWatch(client, rules, seen.facts.append)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch.run(known))
        try:
            yield seen
        finally:
            task.cancel()
    await client.close()


def synced(fact: CatalogFact) -> bool:
    return isinstance(fact, SourceSynced)


def test_everything_is_told_once_and_then_the_source_is_synced() -> None:
    async def run() -> list[CatalogFact]:
        fake = FakeConsul({"reviews": instances(range(2)), "ratings": []})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await asyncio.sleep(0.3)
        return seen.facts

    facts = asyncio.run(run())
    assert facts[0] == ConsulSentinel("dc1", SERVERS)
    names = [fact.names for fact in facts if isinstance(fact, ConsulNames)]
    assert names == [("ratings", "reviews")], "blocking, and without Consul's own service"
    told = sorted((f.service, len(f.instances)) for f in facts if isinstance(f, ConsulService))
    assert told == [("ratings", 0), ("reviews", 2)]
    assert sum(map(synced, facts)) == 1


def test_a_service_that_cannot_be_read_is_told_and_keeps_no_other_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consul_transport, "MAX_ANSWER_BYTES", 1 << 16)

    async def run() -> Seen:
        fake = FakeConsul({"reviews": instances(range(2)), "huge": instances(range(256)) * 4})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await seen.service(2)
        return seen

    unread = [fact for fact in asyncio.run(run()).facts if isinstance(fact, ConsulUnread)]
    assert unread[0].service == "huge"
    assert unread[0].reason.startswith("cannot read the Consul service 'huge': an answer of more")


def test_names_beyond_the_limit_are_told_and_those_before_are_watched() -> None:
    async def run() -> tuple[Seen, FakeConsul]:
        fake = FakeConsul({"reviews": instances(range(2))})
        async with serving(fake), watching(fake, most=3) as seen:
            await seen.until(synced)
            for number in range(9):
                fake.services[f"flood-{number}"] = []
            await fake.move(fake.index + 1)
            await seen.until(lambda fact: isinstance(fact, ConsulNames) and bool(fact.left_out))
            await fake.set("reviews", instances(range(3)))
            await seen.service(3)
        return seen, fake

    seen, fake = asyncio.run(run())
    told = next(f for f in seen.facts if isinstance(f, ConsulNames) and f.left_out)
    assert told.names == ("flood-0", "flood-1", "reviews")
    assert len(told.left_out) == 7
    assert fake.asked("flood-8") == []


def test_only_wanted_services_are_watched() -> None:
    async def run() -> FakeConsul:
        fake = FakeConsul({name: [] for name in ("web-a", "web-b", "db")})
        async with serving(fake), watching(fake, services=("web-*", "consul")) as seen:
            await seen.until(synced)
        return fake

    fake = asyncio.run(run())
    assert fake.asked("db") == []
    assert len(fake.asked("web-a")) >= 1


def test_one_blocking_query_per_service_and_a_change_is_told_at_once() -> None:
    async def run() -> FakeConsul:
        fake = FakeConsul({"reviews": instances(range(2))})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await asyncio.sleep(0.3)
            before = len(fake.asked("reviews"))
            await fake.set("reviews", instances(range(3)))
            fact = await seen.service(3)
            assert (fact.facts.index, fact.sentinel) == (101, None)
            await asyncio.sleep(0.2)
            assert len(fake.asked("reviews")) - before == 1
        return fake

    queries = asyncio.run(run()).asked("reviews")
    assert [query.get("index") for query in queries] == [None, "100", "101"]
    assert queries[1]["wait"] == "30000ms"


def test_a_new_service_is_found_and_one_that_is_gone_is_told_and_left() -> None:
    async def run() -> None:
        fake = FakeConsul()
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await fake.set("reviews", instances(range(1)))
            await seen.service(1)
            after = len(seen.facts)
            await fake.set("reviews", None)
            gone = await seen.service(0, after=after)
            assert gone.sentinel == SERVERS
            await asyncio.sleep(0.4)
            await fake.move(fake.index + 1)
            await asyncio.sleep(0.3)
            asked = len(fake.asked("reviews"))
            await fake.move(fake.index + 1)
            await asyncio.sleep(0.3)
            assert len(fake.asked("reviews")) == asked, "the watch has ended"
            await fake.set("reviews", instances(range(2)))
            await seen.service(2)

    asyncio.run(run())


def test_a_service_of_the_stored_view_is_asked_for_though_no_name_lists_it() -> None:
    async def run() -> None:
        fake = FakeConsul()
        async with serving(fake), watching(fake, known=("reviews",)) as seen:
            fact = await seen.service(0)
            assert fact.sentinel == SERVERS
            await seen.until(synced)

    asyncio.run(run())


def test_an_index_that_goes_backwards_starts_anew() -> None:
    async def run() -> FakeConsul:
        fake = FakeConsul({"reviews": instances(range(2))})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await asyncio.sleep(0.1)
            await fake.move(7)
            await asyncio.sleep(0.3)
        return fake

    queries = asyncio.run(run()).asked("reviews")
    assert [query.get("index") for query in queries][:4] == [None, "100", None, "7"]


def test_a_lost_acl_is_told_with_an_empty_sentinel_and_its_end_is_noticed() -> None:
    async def run() -> None:
        fake = FakeConsul({"reviews": instances(range(3)), "other": instances(range(1))})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await asyncio.sleep(0.1)
            fake.acl_lost = True
            await fake.move(fake.index + 1)  # something else changes: the query returns
            lost = await seen.service(0)
            assert lost.sentinel == 0
            await seen.until(lambda f: f == ConsulSentinel("dc1", 0))
            after = len(seen.facts)
            fake.acl_lost = False  # and the index does not move
            await seen.service(3, after=after)
            await seen.until(lambda f: f == ConsulSentinel("dc1", SERVERS), after=after)

    asyncio.run(run())


def test_every_answer_while_an_acl_is_lost_has_the_empty_sentinel_however_its_index_moves() -> None:
    async def run() -> None:
        fake = FakeConsul({"reviews": instances(range(3))})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            await asyncio.sleep(0.1)
            fake.acl_lost = True
            for _ in range(3):
                after = len(seen.facts)
                await fake.move(fake.index + 1)
                lost = await seen.service(0, after=after)
                assert lost.sentinel == 0
                await asyncio.sleep(0.1)
            after = len(seen.facts)
            fake.acl_lost = False
            fake.services["reviews"] = instances(range(2))
            await fake.move(fake.index + 1)
            assert (await seen.service(2, after=after)).sentinel == SERVERS, "it can be believed"

    asyncio.run(run())


@pytest.mark.parametrize(("status", "text"), [(403, "ACL not found"), (500, "No cluster leader")])
def test_a_source_that_refuses_is_away_and_comes_back(status: int, text: str) -> None:
    async def run() -> None:
        fake = FakeConsul({"reviews": instances(range(3))})
        async with serving(fake), watching(fake) as seen:
            await seen.until(synced)
            fake.status, fake.text = status, text
            await fake.move(fake.index + 1)
            away = await seen.until(lambda f: isinstance(f, SourceAway))
            assert isinstance(away, SourceAway)
            assert away.reason.startswith(f"cannot read Consul at {fake.address}: {text}")
            assert "its last view stays, next try in" in away.reason
            after = len(seen.facts)
            fake.status = 200
            await seen.until(lambda f: isinstance(f, SourceBack), after=after)
            await fake.set("reviews", instances(range(4)))
            await seen.service(4, after=after)
            told = [f for f in seen.facts if isinstance(f, ConsulService)]
            assert all(fact.instances for fact in told), "nothing was told as empty"

    asyncio.run(run())


def test_a_source_that_is_down_at_the_start_is_waited_for() -> None:
    async def run() -> None:
        fake = FakeConsul({"reviews": instances(range(3))})
        async with serving(fake):
            port = int(fake.address.rpartition(":")[2])
        async with watching(fake) as seen:
            away = await seen.until(lambda f: isinstance(f, SourceAway))
            assert isinstance(away, SourceAway)
            assert "no connection" in away.reason
            async with serving(fake, port=port):
                await seen.service(3)
                await seen.until(synced)

    asyncio.run(run())


def test_an_agent_that_is_killed_and_returns_goes_on() -> None:
    async def run() -> None:
        fake = FakeConsul({"reviews": instances(range(3))})
        async with serving(fake):
            port = int(fake.address.rpartition(":")[2])
            watched = watching(fake)
            seen = await watched.__aenter__()
            await seen.until(synced)
        await seen.until(lambda f: isinstance(f, SourceAway))
        after = len(seen.facts)
        async with serving(fake, port=port):
            await seen.until(lambda f: isinstance(f, SourceBack), after=after)
            await fake.set("reviews", instances(range(5)))
            await seen.service(5, after=after)
            await watched.__aexit__(None, None, None)

    asyncio.run(run())
