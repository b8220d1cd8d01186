"""`join` as a whole: looks, enrols, starts everything, waits until the services are in the mesh.

Each step can be cut short and run again: what is done is found done. Before the token is used
nothing on the host has changed but the agent's own folders.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app import enrolling, looking, runner_file, supervision
from hostmesh_agent.app.configuration import read_text, running_of
from hostmesh_agent.app.enrolling import Answer, Place, Say
from hostmesh_agent.app.join import enrolment_addresses
from hostmesh_agent.app.joining import Users
from hostmesh_agent.app.supervision import Kept
from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges import (
    control,
    reach,
    running_disk,
    supervisor,
    users,
)
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.logic import accepting, differences, join_screen
from hostmesh_agent.logic.accepting import Accepted
from hostmesh_agent.logic.findings import Code, Finding
from hostmesh_agent.logic.running import Running
from hostmesh_core.errors import BadInput, HostmeshError, Unreachable
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.token import JoinToken

READY_SECONDS = 45.0
"""From the start of everything to registered services; then join says what is waited for."""
REFUSED_SECONDS = 8.0
"""A refusal that stands for so long is waited for no longer: an operator has to lift it."""
POLL_SECONDS = 0.2
_CALL_SECONDS = 5.0
_OF_JOINED = ("host_id", "identity", "trust_domain", "clock_seconds")


@dataclass(frozen=True, slots=True)
class Order:
    """What `join` was told."""

    config_path: str
    layout: HostLayout
    users: Users
    accept: tuple[str, ...] = ()
    watch_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class _Host(Place):
    """The order, read, and what was seen."""

    found: Sequence[Finding]
    waiting: list[str]
    """What of agent.yaml the agent that runs has not taken in."""


def join(order: Order, token_text: str | None, say: Say) -> Answer:
    """Do all of it; gives what the screen shows. `token_text` None = an earlier run used it.

    Raises BadInput before anything was changed, and what `app.join` raises.
    """
    host = _read(order, token_text, say)
    if not enrolling.is_joined(host.layout):
        say("trying the control plane's ports")
        run_as(host.agent, lambda: _reached(host.config))
    with enrolling.enrolled(host, token_text, say) as joined:
        status = _up(host, order, say)
    status = _watched(host, status, order.watch_seconds, say)
    return {
        "joined": {name: joined[name] for name in _OF_JOINED},
        "status": status,
        "watched_seconds": order.watch_seconds,
        "findings": looking.as_values(host.found),
        "differences": differences.summary(host.config.services),
        "waiting": [*host.waiting, *join_screen.waiting_of(status)],
    }


def _read(order: Order, token_text: str | None, say: Say) -> _Host:
    """Read and look; changes nothing. Raises BadInput."""
    text = read_text(order.config_path)
    read = running_of(order.layout, order.config_path, text, frozenset())
    config = read.config
    if token_text is not None:
        JoinToken.parse(token_text)
    accepted = Accepted.parse(order.accept, config)
    if config.capture.enabled and users.ordinary() is not None:
        raise BadInput(
            f"cannot use {order.config_path}: capture needs root; run as root, or write "
            "`capture: {enabled: false}` and give each service a mesh_port"
        )
    agent, envoy = order.users.of(config)
    waiting = _not_taken_in(read, order.layout)
    runner_file.settings(config, order.layout, agent=agent)  # an Envoy is there that will do
    say("looking at the apps of this host")
    found = looking.look(config, agent, order.layout)
    unchanged = "nothing was changed and the token is unused"
    accepting.check(found, accepted, command="join", unchanged=unchanged)
    return _Host(config, order.layout, agent, envoy, found, waiting)


def _not_taken_in(read: Running, layout: HostLayout) -> list[str]:
    """Say that an agent runs with the file as it was before. Raises BadInput for another file."""
    runs = _asked(layout, "running")
    if not runs:
        return []
    file, mine = str(runs.get("file")), os.path.abspath(read.file)  # noqa: PTH100 (a link stays)
    if file != mine:
        raise BadInput(
            f"cannot join with {mine}: this host's agent runs with {file}; edit that one and run: "
            "hostmesh-agent reload, or leave first"
        )
    if runs.get("text") == read.text:
        return []
    if supervision.look(layout, answers=True) is Kept.BY_NOBODY:
        raise BadInput(
            f"cannot start `run --all` beside an agent that has not taken in what {mine} says now: "
            "undo the edit and run join again; then edit it and run: hostmesh-agent reload"
        )
    return [f"{mine} as it is now: hostmesh-agent reload takes it in"]


def _reached(config: AgentConfig) -> Answer:
    """Try both kinds of port, each of which one has to answer. Raises Unreachable."""
    enrolment = _unreached(enrolment_addresses(config), "enrolment")
    planes = _unreached(config.control_planes, "xDS and the host stream")
    if enrolment or planes:
        raise Unreachable(
            "\n".join([*enrolment, *planes, "nothing was changed and the token is unused"])
        )
    return {}


def _unreached(addresses: Sequence[Address], purpose: str) -> list[str]:
    """Give why none of them is reached; empty = one is."""
    problems = []
    for address in addresses:
        problem = reach.attempt(address, purpose=purpose)
        if not problem:
            return []
        problems.append(problem)
    return problems


def _up(host: _Host, order: Order, say: Say) -> Answer:
    """Start everything unless it runs, and wait until this host is in the mesh, or for too long.

    Gives the agent's status; empty where it does not answer. Raises CannotStart.
    """
    made = _compiled(host.layout)
    child = _start(host, order, say)
    down = {each.service for each in host.found if each.code is Code.NOT_LISTENING}
    began, told = time.monotonic(), ""
    while True:
        status = _status(host.layout)
        waiting = join_screen.waiting_of(status)
        passed = time.monotonic() - began
        refused = join_screen.refused_of(status) if passed > REFUSED_SECONDS else set()
        done = all(text.partition(":")[0] in down | refused for text in waiting)
        keeps = _keeps(child, host.layout, made)
        if status and done and keeps:
            return status
        if passed > READY_SECONDS:
            return status
        if waiting and waiting[0] != told:
            told = waiting[0]
            say(f"waiting for {told}")
        time.sleep(POLL_SECONDS)


def _start(host: _Host, order: Order, say: Say) -> "subprocess.Popen[bytes] | None":
    match supervision.look(host.layout, answers=bool(_status(host.layout))):
        case Kept.BY_RUN_ALL:
            say("the agent's processes run already")
            return None
        case Kept.BY_ANOTHER:
            say("an agent runs already, which is not `run --all`'s: nothing is started")
            return None
        case Kept.BY_NOBODY:
            say("starting `run --all` again: it has ended, and goes on with what runs")
        case Kept.NOTHING_RUNS:
            say("starting the agent, Envoy's runner and the redirector")
    config = os.path.abspath(order.config_path)  # noqa: PTH100 (a link stays a link)
    options = ["--instance", host.layout.instance, "--config", config]
    if os.geteuid() == 0:
        options += ["--agent-user", f"{host.agent.uid}:{host.agent.gid}"]
        options += ["--envoy-user", f"{host.envoy.uid}:{host.envoy.gid}"]
    return supervisor.start(host.layout, options)


def _keeps(
    child: "subprocess.Popen[bytes] | None", layout: HostLayout, made: Sequence[int]
) -> bool:
    """Whether what was started has come to keep the processes, or an earlier one does.

    An agent that ran already says nothing about that. Raises CannotStart where it has ended.
    """
    if child is None:
        return True
    if child.poll() is None:
        return _compiled(layout) != made
    if supervision.look(layout, answers=False) is Kept.BY_RUN_ALL:
        return True
    raise supervisor.CannotStart(
        f"cannot start everything: it ended and said: {supervisor.last_words(layout)}; this "
        "host has joined: cure that and run join again"
    )


def _compiled(layout: HostLayout) -> list[int]:
    """Give what changes when `run --all` has made the last file that it makes at its start."""
    return running_disk.stamp(layout.capture_file if os.geteuid() == 0 else layout.runner_file)


def _status(layout: HostLayout) -> Answer:
    """Give the agent's status; empty while it does not answer."""
    return _asked(layout, "status")


def _asked(layout: HostLayout, verb: str) -> Answer:
    """Give the agent's answer; empty while it gives none."""
    try:
        found = control.call(
            layout.control_socket, verb, timeout=_CALL_SECONDS, progress=lambda _: None
        )
    except HostmeshError:
        return {}
    return dict(found) if isinstance(found, Mapping) else {}


def _watched(host: _Host, status: Answer, seconds: float, say: Say) -> Answer:
    """Let the callers be counted for a while."""
    if not status or not host.config.services or seconds <= 0:
        return status
    say(f"watching who calls for {seconds:g} s")
    time.sleep(seconds)
    return _status(host.layout) or status


def screen(answer: Answer, layout: HostLayout) -> str:
    """Give the screen."""
    log = str(supervisor.log_of(layout))
    return join_screen.screen(answer, log=log if Path(log).exists() else "")
