"""Finds the processes of one instance on this host, whoever started them and whatever they forgot.

By their command lines, their users, and only within the namespaces of this process: a container's
agent is another host's. Anybody can give a process our command line: one whose user is not the
instance's is a stranger, which must neither be ended nor pass for ours.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from hostmesh_agent.edges import redirect_files
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import DEFAULT_INSTANCE, HostLayout

_NAMESPACES = ("pid", "mnt", "net")
_POLL_SECONDS = 0.05


class Kind(StrEnum):
    """Which program it is."""

    PARENT = "run --all"
    AGENT = "agent"
    REDIRECTOR = "redirector"
    RUNNER = "runner"
    ENVOY = "Envoy"
    ONE_SHOT = "a compile"


@dataclass(frozen=True, slots=True)
class Own:
    """One process: with its start time it is this very one."""

    kind: Kind
    pid: int
    started: float

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != "zombie"
        return False


def of_instance(layout: HostLayout) -> list[Own]:
    """Give every process of an instance that this user may see."""
    mine, users = _namespaces("self"), _users(layout)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            kind = kind_of(process.cmdline(), layout.instance)
            if kind is None or not users[kind].issuperset(process.uids()):
                continue
            if _namespaces(str(process.pid)) == mine:
                own = Own(kind, process.pid, process.create_time())
                if own.alive:
                    found.append(own)
    return found


def _users(layout: HostLayout) -> Mapping[Kind, frozenset[int]]:
    """Give whose each kind may be, by what root alone can have written: owners, capture.json.

    The agent's user is none of those who may be the parent or the redirector.
    """
    keeper = frozenset({os.geteuid(), *_owners(layout.state_dir)})
    agent = _owners(layout.identity_dir, layout.control_dir)
    envoy = _owners(layout.hot_restart_dir, layout.admin_dir)
    with suppress(BadInput):
        if (plan := redirect_files.read_plan(layout.capture_file)) is not None:
            agent, envoy = agent | {plan.agent_uid}, envoy | {plan.proxy_uid}
    own = {Kind.AGENT: keeper | agent, Kind.RUNNER: keeper | envoy, Kind.ENVOY: keeper | envoy}
    return {kind: own.get(kind, keeper) for kind in Kind}


def _owners(*folders: str) -> frozenset[int]:
    found = set()
    for folder in folders:
        with suppress(OSError):
            found.add(Path(folder).lstat().st_uid)
    return frozenset(found)


def kind_of(command: list[str], instance: str) -> Kind | None:
    """Tell from a command line which program of the instance it is; None = none that lasts."""
    if command and Path(command[0]).name == "envoy":
        ours = any(f"/run/hostmesh/{instance}/" in word for word in command)
        return Kind.ENVOY if ours else None
    words = _own_words(command)
    return _kind(words) if words and _instance_in(words) == instance else None


def _kind(words: list[str]) -> Kind | None:
    match words:
        case ["run", *rest]:
            return Kind.PARENT if "--all" in rest else Kind.AGENT
        case ["redirect", "watch", *_]:
            return Kind.REDIRECTOR
        case ["envoy" | "capture", "compile", *_] | ["redirect", *_]:
            return Kind.ONE_SHOT
        case ["envoy", *_]:
            return Kind.RUNNER
        case _:
            return None


def _own_words(command: list[str]) -> list[str]:
    """Give what follows our program's name, started by its path or as a module."""
    program = Path(command[0]).name if command else ""
    if program != "hostmesh-agent" and not program.startswith("python"):
        return []  # an editor, a pager or `sudo` with our name behind it
    for index, word in enumerate(command[:4]):
        if word == "hostmesh_agent.main" or Path(word).name == "hostmesh-agent":
            return command[index + 1 :]
    return []


def _instance_in(words: list[str]) -> str:
    for index, word in enumerate(words):
        if word.startswith("--instance="):
            return word.partition("=")[2]
        if word == "--instance" and index + 1 < len(words):
            return words[index + 1]
    return DEFAULT_INSTANCE


def _namespaces(pid: str) -> tuple[str, ...]:
    try:
        return tuple(str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in _NAMESPACES)
    except OSError:
        return ()


def wait(processes: Iterable[Own], *, seconds: float) -> list[Own]:
    """Wait until they have ended; give those that have not."""
    left = [each for each in processes if each.alive]
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [each for each in left if each.alive]
    return left


def end(processes: Iterable[Own], *, seconds: float) -> None:
    """TERM, and KILL after `seconds`."""
    listed = list(processes)
    _signal(listed, signal.SIGTERM)
    left = wait(listed, seconds=seconds)
    _signal(left, signal.SIGKILL)
    wait(left, seconds=5.0)


def _signal(processes: Iterable[Own], number: signal.Signals) -> None:
    for each in processes:
        with suppress(OSError):
            descriptor = os.pidfd_open(each.pid)
            try:
                if each.alive:  # what the descriptor holds is that very process
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
