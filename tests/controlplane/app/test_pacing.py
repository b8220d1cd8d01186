import asyncio

from hostmesh_controlplane.app import pacing


def test_a_lone_change_goes_out_at_once() -> None:
    async def run() -> None:
        flushed: list[pacing.Names] = []
        pacing.Coalescer(flushed.append).add({"eds": {"a"}})
        assert flushed == [{"eds": {"a"}}]

    asyncio.run(run())


def test_a_storm_goes_out_in_batches_and_loses_nothing() -> None:
    async def run() -> list[pacing.Names]:
        flushed: list[pacing.Names] = []
        coalescer = pacing.Coalescer(flushed.append)
        for number in range(100):
            coalescer.add({"eds": {str(number)}})
        await asyncio.sleep(pacing.QUIET_SECONDS * 4)
        return flushed

    flushed = asyncio.run(run())
    assert len(flushed) == 2
    assert set().union(*(names["eds"] for names in flushed)) == {str(n) for n in range(100)}


def test_a_flush_does_not_wait_for_the_pause() -> None:
    async def run() -> list[pacing.Names]:
        flushed: list[pacing.Names] = []
        coalescer = pacing.Coalescer(flushed.append)
        coalescer.add({"eds": {"a"}})
        coalescer.add({"eds": {"b"}})
        coalescer.flush()
        coalescer.flush()
        assert len(flushed) == 2
        await asyncio.sleep(pacing.QUIET_SECONDS * 2)
        return flushed

    assert asyncio.run(run()) == [{"eds": {"a"}}, {"eds": {"b"}}]


def test_nothing_changed_flushes_nothing() -> None:
    async def run() -> None:
        flushed: list[pacing.Names] = []
        pacing.Coalescer(flushed.append).add({})
        assert flushed == []

    asyncio.run(run())
