import asyncio

import pytest

from hostmesh_controlplane.edges.consul_lanes import (
    FIRST,
    NEW_BURST,
    NEW_SECONDS,
    Admission,
    Lane,
    Lanes,
)


def names(count: int, *, prefix: str = "s") -> list[str]:
    return [f"{prefix}{number:05}" for number in range(count)]


def test_who_came_first_is_not_slowed_by_who_comes_later() -> None:
    lanes = Lanes()
    first = [lanes.enter(synced=False) for _ in range(FIRST)]
    wait = first[0].wait(240.0)
    later = [lanes.enter(synced=True) for _ in range(9000)]
    assert len({id(lane) for lane in first}) == 1
    assert later[0] is not first[0]
    assert first[0].wait(240.0) == wait
    first[0].watches -= 1
    assert lanes.enter(synced=False) is first[0]


def test_a_few_services_keep_a_connection_each_whatever_comes_later() -> None:
    lanes = Lanes()
    few = [lanes.enter(synced=False) for _ in range(20)]
    for _ in range(5000):
        lanes.enter(synced=True)
    assert few[0].wait(240.0) == 240.0


def test_a_lane_has_so_many_turns_at_once() -> None:
    async def run() -> int:
        lane, most, now = Lane(3, 1000), 0, 0

        async def one() -> None:
            nonlocal most, now
            async with lane.turn(limited=True):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.001)
                now -= 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(one())
        return most

    assert asyncio.run(run()) == 3


@pytest.mark.parametrize(
    ("count", "watched", "synced", "new", "out"),
    [
        pytest.param(5000, 0, False, 5000, 0, id="a start takes all there are"),
        pytest.param(6000, 0, False, 5000, 1000, id="up to the limit"),
        pytest.param(4000, 100, True, NEW_BURST, 3900 - NEW_BURST, id="later a burst"),
        pytest.param(5100, 4900, True, 100, 100, id="the limit counts what is watched"),
        pytest.param(10, 10, True, 0, 0, id="nothing new"),
    ],
)
def test_how_many_names_are_watched(
    *, count: int, watched: int, synced: bool, new: int, out: int
) -> None:
    admission = Admission(5000)
    known = names(watched)
    taken, left = admission.admitted(names(count), watched=known, synced=synced, now=1e6)
    assert (len(taken), len(left)) == (new, out)
    assert not set(taken) & set(known)


def test_what_is_left_out_comes_in_with_time() -> None:
    admission = Admission(5000)
    every = names(2000)
    taken, _ = admission.admitted(every, watched=(), synced=True, now=1e6)
    more, _ = admission.admitted(every, watched=taken, synced=True, now=1e6 + 10 * NEW_SECONDS)
    assert len(more) == 10
