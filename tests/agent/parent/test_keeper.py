"""The parent's loop over small programs: restarts, adoption, order of the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

SLEEP = ["sleep", "1000"]
Named = dict[str, list[str]]


class Parent:
    """A parent over named programs; their pids by their records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[int] = set()

    def start(self, programs: Named, *, sockets: dict[str, str] | None = None) -> None:
        listed = [
            {
                "name": name,
                "argv": argv,
                "record": str(self.folder / f"{name}.json"),
                "socket": (sockets or {}).get(name, ""),
            }
            for name, argv in programs.items()
        ]
        argv = [sys.executable, "-m", "hostmesh_testing.keeper_main", json.dumps(listed)]
        path = f"{Path(__file__).parents[2] / 'support'}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stderr=log, env={**os.environ, "PYTHONPATH": path, "HTTPS_PROXY": "http://x"}
            )

    def pid(self, name: str) -> int:
        with suppress(OSError, ValueError):
            pid = int(json.loads((self.folder / f"{name}.json").read_text())["pid"])
            self.seen.add(pid)
            return pid
        return 0

    def await_pid(self, name: str, *, other_than: int = 0) -> int:
        wait_until(lambda: self.pid(name) not in (0, other_than), what=f"a new {name}")
        return self.pid(name)

    def said(self) -> str:
        return self.log.read_text()

    def await_said(self, words: str) -> None:
        wait_until(lambda: words in self.said(), what=repr(words))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = 15) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def clean_up(self) -> None:
        if self.process is not None:
            self.kill()
        for pid in self.seen:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    yield made
    made.clean_up()


def test_each_is_restarted_alone_and_later_each_time(parent: Parent) -> None:
    parent.start({"a": SLEEP, "b": SLEEP})
    a, b = parent.await_pid("a"), parent.await_pid("b")
    os.kill(a, signal.SIGKILL)
    again = parent.await_pid("a", other_than=a)
    os.kill(again, signal.SIGKILL)
    parent.await_pid("a", other_than=again)
    assert parent.pid("b") == b
    assert "status=-9; starting it again in 0.2 s" in parent.said()
    assert "status=-9; starting it again in 0.4 s" in parent.said()


def test_each_has_a_session_and_an_environment_of_its_own(parent: Parent) -> None:
    parent.start({"a": SLEEP})
    pid = parent.await_pid("a")
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert os.getsid(pid) == pid
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"PROXY" not in environment


def test_a_killed_parent_leaves_all_and_the_next_goes_on_with_them(parent: Parent) -> None:
    parent.start({"a": SLEEP, "b": SLEEP})
    a, b = parent.await_pid("a"), parent.await_pid("b")
    parent.kill()
    assert alive(a)
    assert alive(b)
    parent.start({"a": SLEEP, "b": SLEEP})
    parent.await_said(f"found b pid={b} running, going on with it")
    assert (parent.pid("a"), parent.pid("b")) == (a, b)
    os.kill(a, signal.SIGKILL)  # not its child, and yet it sees the end
    parent.await_pid("a", other_than=a)
    assert parent.end() == 0
    assert not alive(b)


def test_what_was_started_with_other_words_is_replaced(parent: Parent) -> None:
    parent.start({"a": SLEEP})
    a = parent.await_pid("a")
    parent.kill()
    parent.start({"a": ["sleep", "999"]})
    parent.await_pid("a", other_than=a)
    assert not alive(a)
    assert f"replacing a pid={a}" in parent.said()


def test_a_stranger_with_the_pid_of_old_is_no_child_of_ours(parent: Parent) -> None:
    stranger = subprocess.Popen(SLEEP)
    record = {"pid": stranger.pid, "started": 1, "argv": SLEEP}
    (parent.folder / "a.json").write_text(json.dumps(record))
    parent.start({"a": SLEEP})
    parent.await_pid("a", other_than=stranger.pid)
    parent.end()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("record", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "started": 1}'])
def test_a_damaged_record_is_none(parent: Parent, record: str) -> None:
    (parent.folder / "a.json").write_text(record)
    parent.start({"a": SLEEP})
    parent.await_said("started a pid=")
    parent.await_pid("a")


def test_one_with_a_socket_is_kept_whatever_changed_if_it_answers(parent: Parent) -> None:
    path = str(parent.folder / "s")
    parent.start({"a": SLEEP}, sockets={"a": path})
    a = parent.await_pid("a")
    parent.kill()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        parent.start({"a": ["sleep", "999"]}, sockets={"a": path})
        parent.await_said(f"found a pid={a} running")
        assert parent.pid("a") == a
        parent.kill()
    parent.start({"a": ["sleep", "999"]}, sockets={"a": path})  # nobody answers there any more
    parent.await_pid("a", other_than=a)


def test_they_end_in_order_the_stubborn_by_force(parent: Parent) -> None:
    slow = [
        sys.executable,
        "-c",
        "import signal,time;signal.signal(15,lambda *_:exit(0))\nwhile 1:time.sleep(.1)",
    ]
    parent.start({"first": slow, "second": SLEEP})
    first, second = parent.await_pid("first"), parent.await_pid("second")
    time.sleep(0.3)
    assert parent.end() == 0
    assert not alive(first)
    assert not alive(second)
    said = parent.said()
    assert said.index("over first") < said.index("over second")
    assert not list(parent.folder.glob("*.json"))


def test_a_host_that_left_ends_everything(parent: Parent) -> None:
    leaves = [sys.executable, "-c", "import sys; sys.exit(3)"]
    parent.start({"other": SLEEP, "agent": leaves})
    other = parent.await_pid("other")
    assert parent.process is not None
    assert parent.process.wait(10) == 0
    assert not alive(other)
    assert "this host has left the mesh" in parent.said()


def test_a_program_that_cannot_start_is_tried_again(parent: Parent) -> None:
    program = parent.folder / "program"
    parent.start({"a": [str(program)]})
    parent.await_said("cannot start a: No such file or directory")
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    parent.await_pid("a")


def test_a_hangup_reads_the_files_again(parent: Parent) -> None:
    parent.start({"a": SLEEP})
    parent.await_pid("a")
    assert parent.process is not None
    parent.process.send_signal(signal.SIGHUP)
    parent.await_said("hung up")
