"""`leave` as a whole: from a joined host, a half-joined one, or what a crash has left of one.

The running agent leaves in order: endpoints, inbound rules, Envoy, names, identity. What does not
run cannot be asked, so the rest is found by what it is: processes by their command lines, rules by
their names, files by the note that join made.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hostmesh_agent.edges import (
    control,
    instance_lock,
    lock_file,
    made_folders,
    own_processes,
    shared_memory,
    supervisor,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_agent.edges.own_processes import Kind, Own
from hostmesh_agent.logic import screens
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import REMOVED_UNNOTED

NOTHING = "this host has not joined; nothing to leave"
ANSWER_SECONDS = 10.0
"""How long an agent that was started, or starts again, may take to answer."""
LEAVE_SECONDS = 180.0
END_SECONDS = 60.0
"""From the agent's leave, or from TERM, to the end of everything that `run --all` keeps."""
_REMOVE_SECONDS = 60
_ROUNDS = 5

Say = Callable[[str], None]
Came = dict[str, str]


class CannotLeave(HostmeshError):
    """Something of this instance is left."""


@dataclass
class _Told:
    """What leave did, for its screen."""

    left: str = "no agent ran: a registration, if there was one, ends by itself within seconds"
    ended: dict[str, None] = field(default_factory=dict)

    def ends(self, processes: Iterable[Own]) -> None:
        self.ended |= dict.fromkeys(str(each.kind) for each in processes)


def leave(layout: HostLayout, config_path: str, say: Say) -> Came:
    """Leave nothing of this instance on the host; gives what was done, empty = there was nothing.

    Raises BadInput where this user may not, CannotLeave where something could not be taken away.
    """
    if not _anything(layout):
        return {}
    _check_user(layout)
    told = _Told()
    with _alone(layout, say):
        host = _host(layout)
        if host and _answers_in_the_end(layout, config_path, say):
            _by_agent(layout, say, told)
        for _ in range(_ROUNDS):
            if not (running := own_processes.of_instance(layout)):
                break
            _end(layout, running, say, told)
        _remove_rules(layout)
        say("removing files")
        _remove_files(layout)
    return _came_of(layout, host, told)


@contextmanager
def _alone(layout: HostLayout, say: Say) -> Iterator[None]:
    """Let no join, leave or reload go on beside this. Raises Refused."""
    with ExitStack() as stack:
        if os.geteuid() == 0 or Path(layout.state_dir).is_dir():
            stack.enter_context(instance_lock.held(layout, say=say))
        if Path(layout.run_dir).is_dir():
            with suppress(lock_file.NoRoom):  # no reload has it; and leaving makes room
                stack.enter_context(lock_file.held(layout.reload_lock, what=lock_file.CHANGE))
        yield


def _anything(layout: HostLayout) -> bool:
    places = (layout.state_dir, layout.run_dir)
    if any(os.path.lexists(place) for place in places):
        return True
    return bool(own_processes.of_instance(layout))


def _check_user(layout: HostLayout) -> None:
    """Raise BadInput where the files are somebody else's and this is not root."""
    for folder in (layout.state_dir, layout.run_dir):
        with suppress(FileNotFoundError):
            owner = Path(folder).stat().st_uid
            if os.geteuid() not in (0, owner):
                raise BadInput(
                    f"cannot leave: {folder} belongs to uid {owner}; run as root; nothing was "
                    "changed"
                )


def _host(layout: HostLayout) -> str:
    """Name what this host is; empty where it has not joined, or nobody can read it any more."""
    with suppress(HostmeshError, OSError):
        stored = IdentityDisk(Path(layout.identity_dir)).load()
        if stored is not None:
            return f"host {stored.membership.host_id[:8]} of {stored.membership.trust_domain}"
    return ""


def _answers_in_the_end(layout: HostLayout, config_path: str, say: Say) -> bool:
    """Tell whether an agent can be asked; one is started where Envoy still serves without one."""
    if _answers(layout):
        return True
    kinds = {each.kind for each in own_processes.of_instance(layout)}
    if Kind.PARENT not in kinds and Kind.RUNNER in kinds:
        say("starting the agent once more, so that it can deregister")
        config = os.path.abspath(config_path)  # noqa: PTH100 (a link stays a link)
        try:
            supervisor.start(layout, ["--config", config, *_users(layout)])
        except supervisor.CannotStart as error:
            say(f"{error}; going on without it")
            return False
    elif Kind.PARENT not in kinds and Kind.AGENT not in kinds:
        return False
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        if _answers(layout):
            return True
        time.sleep(0.1)
    return False


def _users(layout: HostLayout) -> list[str]:
    """Give the options that name the users of an instance by whom its folders belong to."""
    words = ["--instance", layout.instance]
    if os.geteuid() == 0:
        for option, folder in (
            ("--agent-user", layout.identity_dir),
            ("--envoy-user", layout.hot_restart_dir),
        ):
            with suppress(OSError):
                about = Path(folder).stat()
                words += [option, f"{about.st_uid}:{about.st_gid}"]
    return words


def _answers(layout: HostLayout) -> bool:
    try:
        control.call(layout.control_socket, "status", timeout=5, progress=lambda _: None)
    except HostmeshError:
        return False
    return True


def _by_agent(layout: HostLayout, say: Say, told: _Told) -> None:
    """Let the agent leave, and what keeps it end after it."""
    processes = own_processes.of_instance(layout)
    try:
        control.call(layout.control_socket, "leave", timeout=LEAVE_SECONDS, progress=say)
    except HostmeshError as error:
        say(f"{error}; going on without it")
        return
    told.left = "deregistered"
    told.ends(processes)
    if any(each.kind is Kind.PARENT for each in processes):
        own_processes.wait(processes, seconds=END_SECONDS)


def _end(layout: HostLayout, running: list[Own], say: Say, told: _Told) -> None:
    """End what runs: who starts others first, then rules before Envoy."""
    say("ending " + ", ".join(dict.fromkeys(str(each.kind) for each in running)))
    told.ends(running)
    by_kind = {kind: [each for each in running if each.kind is kind] for kind in Kind}
    own_processes.end(by_kind[Kind.PARENT], seconds=END_SECONDS)
    for kind in (Kind.AGENT, Kind.REDIRECTOR):
        own_processes.end(by_kind[kind], seconds=10.0)
    own_processes.wait(by_kind[Kind.ONE_SHOT], seconds=10.0)
    _remove_rules(layout)
    own_processes.end(by_kind[Kind.RUNNER], seconds=END_SECONDS)
    own_processes.end(by_kind[Kind.ENVOY], seconds=5.0)


def _remove_rules(layout: HostLayout) -> None:
    """Take out rules, routes, addresses and names. Raises CannotLeave, all else being as it was."""
    if os.geteuid() != 0:
        return  # explicit mode: there are none
    argv = (sys.executable, "-m", "hostmesh_agent.main", "redirect", "remove")
    try:
        done = subprocess.run(  # noqa: S603  our own program
            (*argv, "--instance", layout.instance),
            cwd="/",  # `-m` looks in it first: whoever owns the caller's would be root
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_REMOVE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLeave(f"cannot remove the rules: {error}; run leave again") from error
    if done.returncode not in (0, REMOVED_UNNOTED):
        raise CannotLeave(f"{done.stderr.strip()}; run leave again when that is cured")


def _remove_files(layout: HostLayout) -> None:
    try:
        shared_memory.remove(f"{layout.hot_restart_dir}/base-id")
        made_folders.remove(layout)
    except OSError as error:
        raise CannotLeave(
            f"cannot remove {error.filename}: {error.strerror}; run leave again"
        ) from error


def _came_of(layout: HostLayout, host: str, told: _Told) -> Came:
    return {
        "left": f"{host}: {told.left}" if host else "a join that was not finished",
        "ended": ", ".join(told.ended) or "nothing ran",
        "removed": "rules, routes, addresses and the block in /etc/hosts, as far as there were any",
        "files": f"{layout.state_dir}, {layout.run_dir}, {layout.log_file}",
        "again": "hostmesh-agent join --token-file FILE, with a new token",
    }


def screen(came_of_it: Came) -> str:
    """Show what leave did."""
    return screens.lines(list(came_of_it.items())) if came_of_it else NOTHING
