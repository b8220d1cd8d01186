import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hostmesh_agent.app import relay_disk
from hostmesh_agent.app.relay_disk import GenerationKeeper
from hostmesh_agent.edges.generations import GenerationFolder
from hostmesh_core.xds.store import Generation, generation_of
from hostmesh_testing.hosts import until
from hostmesh_testing.xds import cluster


def generation(sequence: int) -> Generation:
    return generation_of([cluster("a", str(sequence))], sequence=sequence)


class Recording(GenerationFolder):
    """The real folder, which also notes what was marked as good."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.marked: list[int] = []

    def mark_good(self, generation: Generation) -> None:
        super().mark_good(generation)
        self.marked.append(generation.sequence)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Recording(str(folder))
        self.stored: list[int] = []
        self.problems: list[str] = []
        self.keeper = GenerationKeeper(
            self.disk,
            on_stored=self.stored.append,
            on_problem=self.problems.append,
        )

    def good(self) -> str:
        link = self.folder / "good"
        return link.readlink().name.rpartition("-")[2].lstrip("0") if link.is_symlink() else ""


def run(bench: Bench, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(bench.keeper.run())
            await scenario(bench)
            task.cancel()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_disk, "GOOD_SECONDS", 0.2)


def test_each_is_told_when_the_disk_has_it_and_when_it_does_not(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for sequence in (1, 2):
            bench.keeper.store(generation(sequence))
        await until(lambda: len(bench.stored) == 2)

    bench = Bench(tmp_path)
    run(bench, scenario)
    assert (bench.stored, bench.problems) == ([1, 2], [])
    broken = Bench(tmp_path / "missing")
    run(broken, scenario)
    assert broken.stored == [1, 2]
    assert len(broken.problems) == 2


def test_it_is_good_when_envoy_has_lived_on_it_for_a_while(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.keeper.store(generation(1))
        bench.keeper.runs_on(generation(1))
        await until(lambda: bench.stored)
        assert bench.good() == ""
        await until(lambda: bench.good() == "1")

    run(Bench(tmp_path), scenario)


def test_a_crash_ends_the_trial(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.keeper.store(generation(1))
        bench.keeper.runs_on(generation(1))
        bench.keeper.envoy_gone()
        await asyncio.sleep(0.4)
        assert bench.good() == ""

    run(Bench(tmp_path), scenario)


def test_changes_faster_than_the_trial_do_not_put_it_off_for_ever(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for sequence in (1, 2, 3):
            bench.keeper.store(generation(sequence))
            bench.keeper.runs_on(generation(sequence))
            await asyncio.sleep(0.12)
        await until(lambda: bench.good() == "3")
        assert bench.disk.marked[0] == 1
        assert bench.disk.marked == sorted(bench.disk.marked)

    run(Bench(tmp_path), scenario)
