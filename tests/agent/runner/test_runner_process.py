"""The runner as a process, with small programs in Envoy's place: the protocol, not Envoy."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostmesh_core.runner_file import RunnerSettings
from hostmesh_testing.envoy_host import EnvoyHost, envoy_host
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

STAYS = "#!/bin/sh\nexec sleep 60\n"
STUBBORN = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n"
ENDS = "#!/bin/sh\nexit 7\n"


# What a message holds is asserted, not typed: it comes from another process.
Message = dict[str, Any]


class Client:
    """One connection to the runner."""

    def __init__(self, path: str) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(5)
        self.connection.connect(path)
        self.lines = self.connection.makefile("rb")

    def do(self, verb: str, **fields: object) -> None:
        self.connection.sendall(json.dumps({"v": 1, "do": verb, **fields}).encode() + b"\n")

    def hear(self) -> Message:
        line = self.lines.readline()
        assert line, "the runner closed the connection"
        message: Message = json.loads(line)
        assert message.pop("v") == 1
        return message

    def ask(self, verb: str, **fields: object) -> Message:
        self.do(verb, **fields)
        return self.hear()

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


@pytest.fixture
def host() -> Iterator[EnvoyHost]:
    with envoy_host() as made:
        (Path(made.layout.envoy_dir) / "b.json").write_text("{}")
        yield made


def settings(host: EnvoyHost, script: str = STAYS) -> RunnerSettings:
    program = Path(host.layout.root) / "program"
    program.write_text(script)
    program.chmod(0o755)
    return replace(host.settings, binary=str(program), stop_seconds=0.5)


@pytest.fixture
def client(host: EnvoyHost) -> Iterator[Client]:
    host.start_runner(settings(host))
    made = Client(host.layout.runner_socket)
    yield made
    made.close()


def pid_of(message: Message) -> int:
    pid = message["spawned"]["pid"]
    assert isinstance(pid, int)
    return pid


def is_given_up(client: Client) -> bool:
    try:
        for _ in range(5000):
            client.do("status")
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        return True
    return False


def is_closed(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_tells_every_follower_what_happens(host: EnvoyHost, client: Client) -> None:
    other = Client(host.layout.runner_socket)
    assert client.ask("follow") == {"envoys": []}
    assert other.ask("follow") == {"envoys": []}
    client.do("start", epoch=0, config="b.json")
    spawned = client.hear()
    assert other.hear() == spawned
    assert spawned["spawned"]["config"] == "b.json"
    pid = pid_of(spawned)
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert spawned["spawned"]["started"] == int(ticks)
    assert client.ask("status") == {"envoys": [spawned["spawned"]]}
    client.do("signal", epoch=0, signal="TERM")
    assert client.hear() == {"exited": {"epoch": 0, "pid": pid, "code": -15}}
    assert other.hear() == {"exited": {"epoch": 0, "pid": pid, "code": -15}}
    other.close()


def test_keeps_an_exit_until_it_is_acknowledged(host: EnvoyHost, client: Client) -> None:
    pid = pid_of(client.ask("start", epoch=0, config="b.json"))
    client.close()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    for _ in range(2):
        later = Client(host.layout.runner_socket)
        assert later.ask("follow") == {"envoys": []}
        assert later.hear() == {"exited": {"epoch": 0, "pid": pid, "code": -9}}
        later.close()
    later = Client(host.layout.runner_socket)
    later.do("acknowledge", pid=pid)
    assert later.ask("status") == {"envoys": []}
    later.close()
    last = Client(host.layout.runner_socket)
    assert last.ask("follow") == {"envoys": []}
    assert last.ask("status") == {"envoys": []}  # and no exit between the two
    last.close()


@pytest.mark.parametrize(
    ("living", "epoch", "why"),
    [
        pytest.param(0, 1, "the next one is 0", id="not 0 where none lives"),
        pytest.param(1, 0, "the next one is 1", id="the same epoch twice"),
        pytest.param(1, 2, "the next one is 1", id="an epoch left out"),
        pytest.param(2, 2, "two Envoys live already", id="a third"),
    ],
)
def test_refuses_an_epoch_that_cannot_be(client: Client, living: int, epoch: int, why: str) -> None:
    for each in range(living):
        client.ask("start", epoch=each, config="b.json")
    refused = client.ask("start", epoch=epoch, config="b.json")["refused"]
    assert (refused["do"], refused["epoch"]) == ("start", epoch)
    assert refused["why"] == f"cannot start epoch {epoch}: {why}"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        pytest.param("none.json", "No such file", id="no file"),
        pytest.param("link.json", "not a regular file", id="a link"),
        pytest.param("folder", "not a regular file", id="a folder"),
        pytest.param("../b.json", "bare file name", id="a path"),
    ],
)
def test_refuses_a_configuration_that_is_none(
    host: EnvoyHost, client: Client, config: str, why: str
) -> None:
    folder = Path(host.layout.envoy_dir)
    (folder / "link.json").symlink_to("/etc/passwd")
    (folder / "folder").mkdir()
    assert why in str(client.ask("start", epoch=0, config=config)["refused"]["why"])


def test_a_bad_line_is_refused_and_an_endless_one_ends_the_connection(client: Client) -> None:
    client.connection.sendall(b"nonsense\n")
    assert "not JSON" in str(client.hear()["refused"]["why"])
    client.connection.sendall(b"x" * 10_000)
    with suppress(ConnectionResetError):
        assert client.lines.readline() == b""
    wait_until(lambda: is_closed(client.connection))


def test_a_client_that_never_reads_does_not_stop_the_others(
    host: EnvoyHost, client: Client
) -> None:
    deaf = Client(host.layout.runner_socket)
    deaf.connection.settimeout(0.5)
    wait_until(lambda: is_given_up(deaf))
    assert client.ask("status") == {"envoys": []}
    deaf.close()


def test_the_socket_is_for_owner_and_group(host: EnvoyHost, client: Client) -> None:
    assert client.ask("status") == {"envoys": []}
    mode = Path(host.layout.runner_socket).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_stranger_gives_no_orders_whatever_the_modes_say(host: EnvoyHost) -> None:
    host.start_runner(settings(host))
    Path(host.layout.root).chmod(0o755)
    Path(host.layout.runner_socket).chmod(0o666)
    ask = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        's.sendall(b\'{"v":1,"do":"status"}\\n\'); sys.exit(0 if s.recv(100) else 9)'
    )
    argv = ["/usr/bin/env", "python3", "-c", ask, host.layout.runner_socket]
    as_stranger = subprocess.run(
        argv,
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert as_stranger.returncode not in (0, 126, 127)
    mine = Client(host.layout.runner_socket)
    assert mine.ask("status") == {"envoys": []}
    mine.close()


def test_ends_what_it_started_the_stubborn_too(host: EnvoyHost) -> None:
    runner = host.start_runner(settings(host, STUBBORN))
    client = Client(host.layout.runner_socket)
    pids = [pid_of(client.ask("start", epoch=epoch, config="b.json")) for epoch in (0, 1)]
    time.sleep(0.3)  # both have their traps
    runner.terminate()
    assert runner.wait(10) == 0
    assert not any(alive(pid) for pid in pids)
    assert not Path(host.layout.runner_socket).exists()
    client.close()


def test_its_death_takes_along_what_it_started(host: EnvoyHost, client: Client) -> None:
    pid = pid_of(client.ask("start", epoch=0, config="b.json"))
    assert host.runner is not None
    host.runner.kill()
    wait_until(lambda: not alive(pid), seconds=2)


def test_an_envoy_that_ends_at_once_is_told_with_its_status(host: EnvoyHost) -> None:
    host.start_runner(settings(host, ENDS))
    client = Client(host.layout.runner_socket)
    client.ask("follow")
    pid = pid_of(client.ask("start", epoch=0, config="b.json"))
    assert client.hear() == {"exited": {"epoch": 0, "pid": pid, "code": 7}}
    client.close()


def run_again(host: EnvoyHost) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "hostmesh_agent.main", "envoy", "--settings"]
    return subprocess.run(
        [*argv, host.layout.runner_file], capture_output=True, text=True, timeout=20, check=False
    )


def test_a_second_runner_of_one_instance_is_refused(host: EnvoyHost, client: Client) -> None:
    again = run_again(host)
    assert again.returncode == 1
    assert "cannot start: another runner of this instance runs already (pid" in again.stderr
    assert client.ask("status") == {"envoys": []}


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        pytest.param("{}", 0o644, "expected version 1", id="damaged"),
        pytest.param(None, 0o644, "it is not there; write it with", id="not there"),
        pytest.param("{}", 0o666, "others than root can write it", id="writable by others"),
    ],
)
def test_settings_that_cannot_be_used_are_bad_input(
    host: EnvoyHost, text: str | None, mode: int, words: str
) -> None:
    if text is not None:
        Path(host.layout.runner_file).write_text(text)
        Path(host.layout.runner_file).chmod(mode)
    ended = run_again(host)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_stays_small(host: EnvoyHost, client: Client) -> None:
    client.ask("start", epoch=0, config="b.json")
    assert host.runner is not None
    status = Path(f"/proc/{host.runner.pid}/status").read_text()
    (resident,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    assert int(resident.split()[1]) < 17_000  # KiB; asyncio alone would be 20 MB
