import asyncio
import os
from pathlib import Path

from hostmesh_controlplane.edges.static_files import StaticFiles
from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    FilesRead,
    FileText,
    SourceAway,
    SourceBack,
    SourceSynced,
)


def texts(facts: list[CatalogFact]) -> dict[str, str]:
    reads = [fact for fact in facts if isinstance(fact, FilesRead)]
    return {Path(f.path).name: f.text for read in reads for f in read.changed}


def test_the_first_look_tells_all_and_then_only_changes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.yml").write_text("two")
    (tmp_path / "notes.txt").write_text("not a document")
    (tmp_path / ".swap.yaml").write_text("an editor's")
    edge = StaticFiles("files", str(tmp_path))

    first = edge.step()
    assert texts(first) == {"a.yaml": "one", "b.yml": "two"}
    assert SourceSynced("files") in first
    assert edge.step() == []

    (tmp_path / "a.yaml").write_text("one more")
    assert texts(edge.step()) == {"a.yaml": "one more"}
    (tmp_path / "deeper" / "b.yml").unlink()
    (gone,) = edge.step()
    assert isinstance(gone, FilesRead)
    assert gone.gone == (str(tmp_path / "deeper" / "b.yml"),)


def test_a_rename_into_place_with_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")
    edge = StaticFiles("files", str(path))
    edge.step()
    status = path.stat()

    (tmp_path / "a.new").write_text("two")
    os.utime(tmp_path / "a.new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "a.new").replace(path)

    assert texts(edge.step()) == {"a.yaml": "two"}


def test_an_empty_directory_is_an_answer(tmp_path: Path) -> None:
    facts = StaticFiles("files", str(tmp_path)).step()
    assert facts == [FilesRead("files"), SourceSynced("files")]


def test_a_missing_directory_is_away_and_not_empty(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "a.yaml").write_text("one")
    edge = StaticFiles("files", str(folder))
    edge.step()
    folder.rename(tmp_path / "elsewhere")

    (away,) = edge.step()
    assert isinstance(away, SourceAway)
    assert away.reason.startswith(f"cannot read {folder}: No such file or directory; the services")
    assert edge.step() == []  # said once

    (tmp_path / "elsewhere").rename(folder)
    assert edge.step() == [SourceBack("files")]


def test_a_file_that_is_no_text_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "b.yaml").write_text("fine")
    edge = StaticFiles("files", str(tmp_path))

    (read, _) = edge.step()

    assert isinstance(read, FilesRead)
    bad, good = read.changed
    assert bad.problem == f"cannot read {tmp_path / 'a.yaml'}: not UTF-8 at byte 0"
    assert good == FileText(str(tmp_path / "b.yaml"), "fine")


def test_the_loop_tells_what_it_sees(tmp_path: Path) -> None:
    async def first() -> CatalogFact:
        seen: asyncio.Queue[CatalogFact] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            edge = StaticFiles("files", str(tmp_path), poll_seconds=0.01)
            loop = tasks.create_task(edge.run(seen.put))
            fact = await seen.get()
            loop.cancel()
        return fact

    assert asyncio.run(first()) == FilesRead("files")
