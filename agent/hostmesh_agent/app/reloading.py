"""`reload`, `leave --service` and `resume` as the command line runs them: the kernel's half.

Root alone may say which ports the rules lead into Envoy (capture.json), and which services have
left (left.json); the running agent does the rest (`app.reload`). A port is captured when Envoy has
a chain for it, and let go when every peer has applied that nobody is sent there. Killed at any
point and run again, it ends in the new configuration.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app import looking
from hostmesh_agent.app.configuration import read_left, read_text, running_of
from hostmesh_agent.app.reload_rules import Rules
from hostmesh_agent.edges import control, left_disk, lock_file
from hostmesh_agent.edges.users import User
from hostmesh_agent.logic import left_services
from hostmesh_agent.logic.findings import Finding
from hostmesh_agent.logic.running import Running
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.host_layout import HostLayout

STEP_SECONDS = 90.0
"""Between two words of the agent: the longest step waits for every peer."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it."""

    changes: tuple[str, ...]
    refused: tuple[str, ...]
    unproven: tuple[str, ...]
    kept: tuple[str, ...]
    complete: bool
    left: tuple[str, ...]
    found: tuple[Finding, ...] = ()
    """What callers of a new or changed service may notice."""

    @property
    def whole(self) -> bool:
        """Whether what runs is what agent.yaml says."""
        return not (self.refused or self.unproven or self.kept)

    def as_value(self) -> dict[str, object]:
        """Give it for `--output json`."""
        return {
            "whole": self.whole,
            "changes": list(self.changes),
            "refused": list(self.refused),
            "unproven": list(self.unproven),
            "kept": list(self.kept),
            "every_peer_applied": self.complete,
            "left": list(self.left),
            "findings": looking.as_values(self.found),
        }


def reload(
    config_path: str, layout: HostLayout, progress: Progress, accept: Sequence[str] = ()
) -> Reloaded:
    """Take in agent.yaml as it is now. Raises BadInput with nothing changed.

    `accept`: findings about new or changed services that do not stop it, as of `join`.
    """
    with _turn(layout):
        text = read_text(config_path)
        work = _Work(layout, config_path, progress)
        return work.run(text, read_left(layout), look=lambda new: work.look(new, accept))


def leave_service(name: str, layout: HostLayout, progress: Progress) -> Reloaded:
    """Take one service out and remember that; nothing else of agent.yaml is read anew."""
    with _turn(layout):
        return _with_left(layout, progress, name, lambda left: left | {name})


def resume_service(name: str, layout: HostLayout, progress: Progress) -> Reloaded:
    """Bring back a service that left; one that has not left stays as it is.

    An earlier run that was cut short may have got as far as any step: whether the service has left
    by left.json or by the agent's word says nothing about how much of that remains to be done.
    """
    with _turn(layout):
        return _with_left(layout, progress, name, lambda left: left - {name})


def _with_left(
    layout: HostLayout,
    progress: Progress,
    name: str,
    change: Callable[[frozenset[str]], frozenset[str]],
) -> Reloaded:
    runs = _call(layout, "running", progress)
    listed = _texts(runs.get("services"))
    if name not in listed:
        has = ", ".join(listed) or "none"
        raise BadInput(f"cannot find service {name!r}: this host's agent serves {has}")
    work = _Work(layout, str(runs["file"]), progress)
    return work.run(str(runs["text"]), change(read_left(layout)))


@contextmanager
def _turn(layout: HostLayout) -> Iterator[None]:
    """Let one change happen at a time."""
    try:
        Path(layout.control_socket).stat()
    except PermissionError as error:
        raise Refused(
            f"cannot open {layout.control_socket}: permission denied; run as root"
        ) from error
    except OSError as error:
        raise control.ControlUnreachable(
            f"cannot reach a running agent at {layout.control_socket}: start it with: "
            "hostmesh-agent run --all, which reads agent.yaml as it is"
        ) from error
    try:
        with lock_file.held(layout.reload_lock, what=lock_file.CHANGE):
            yield
    except PermissionError as error:
        raise Refused(
            f"cannot open {layout.reload_lock}: permission denied; run as root"
        ) from error


class _Work:
    """One change from its text to its end."""

    def __init__(self, layout: HostLayout, file: str, progress: Progress) -> None:
        self._layout = layout
        self._file = file
        self._progress = progress

    def look(self, new: Running, accept: Sequence[str]) -> list[Finding]:
        """Look at the apps of what is new, as a join does. Raises BadInput."""
        runs = self._step("running")
        old = running_of(self._layout, str(runs["file"]), str(runs["text"]), frozenset(new.left))
        # Its socket is the agent's own: the apps are called as who will call them.
        owner = Path(self._layout.control_socket).stat()
        agent = User(owner.st_uid, owner.st_gid)
        return looking.look_at_changed(old.config, new.config, self._layout, accept, agent)

    def run(
        self,
        text: str,
        left: frozenset[str],
        *,
        look: Callable[[Running], Iterable[Finding]] = lambda _: (),
    ) -> Reloaded:
        """Go through the steps. Raises BadInput with nothing changed."""
        target = running_of(self._layout, self._file, text, left)
        rules = Rules(self._layout, target)
        new = {"file": self._file, "text": text, "left": sorted(target.left)}
        self._step("reload-check", **new)
        found = tuple(look(target))
        # First of all changes: killed after this, what leaves stays out.
        self._remember(target)
        declared = self._step("reload-declare", **new)
        rules.both(_ports(declared))
        self._step("reload-prove")
        drained = self._step("reload-drain")
        rules.new(_ports(drained), kept=_ports(drained, "kept_ports"))
        proven = self._step("reload-prove")
        ended = self._step("reload-end")
        return Reloaded(
            changes=_texts(declared.get("changes")),
            refused=_texts(ended.get("refused")),
            unproven=_texts(proven.get("unproven")),
            kept=_texts(drained.get("kept")),
            complete=drained.get("complete") is True,
            left=target.left,
            found=found,
        )

    def _remember(self, target: Running) -> None:
        data = left_services.encode(target.left) if target.left else None
        left_disk.write(self._layout.left_file, data)

    def _step(self, verb: str, **args: object) -> Mapping[str, object]:
        return _call(self._layout, verb, self._progress, **args)


def _call(
    layout: HostLayout, verb: str, progress: Progress, **args: object
) -> Mapping[str, object]:
    path = layout.control_socket
    answer = control.call(path, verb, timeout=STEP_SECONDS, progress=progress, **args)
    if not isinstance(answer, dict):
        raise Refused(f"cannot understand the agent's answer to {verb}: is it of another version?")
    return answer


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _ports(answer: Mapping[str, object], name: str = "ports") -> frozenset[int]:
    found = answer.get(name)
    return (
        frozenset(one for one in found if isinstance(one, int))
        if isinstance(found, list)
        else frozenset()
    )
