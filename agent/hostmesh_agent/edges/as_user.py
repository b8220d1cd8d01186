"""Runs one piece of work as another user, in a child: root reads and removes, the user works.

`join` opens sockets and writes keys; it must not do that as root, yet root alone may remove the
token file afterwards.
"""

import json
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from hostmesh_agent.edges.death import die_with
from hostmesh_agent.edges.users import User, become
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

_FAMILIES: Mapping[str, type[HostmeshError]] = {
    "BadInput": BadInput,
    "Refused": Refused,
    "Unreachable": Unreachable,
}

Work = Callable[[], Mapping[str, object]]


def run_as(user: User, work: Work, *, ends_with_us: bool = False) -> dict[str, object]:
    """Run `work` as `user` and give its answer (a JSON object). Errors keep family and sentence.

    `ends_with_us`: where this process is killed, the work is too, for it only asks. Otherwise it
    comes to its end, and holds until then what this process has locked.
    """
    if os.geteuid() == user.uid:
        return dict(work())
    read_end, write_end = os.pipe()
    parent = os.getpid() if ends_with_us else 0
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _child(user, work, write_end, parent)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        raise Unreachable(f"cannot finish the work of uid {user.uid}: its process ended early")
    answer = json.loads(said)
    if "error" in answer:
        raise _FAMILIES[answer["family"]](answer["error"])
    return dict(answer["result"])


def _child(user: User, work: Work, write_end: int, parent: int) -> None:
    """Never returns: the child has the parent's stack and must not run on in it."""
    try:
        try:
            become(user)
            if parent:
                die_with(parent)
            answer: dict[str, object] = {"result": dict(work())}
        except HostmeshError as error:
            answer = {"error": str(error), "family": _family(error)}
        except Exception as error:  # noqa: BLE001  its cause would be lost with this process
            why = f"cannot finish the work of uid {user.uid}: {_cause(error)}"
            answer = {"error": why, "family": "Unreachable"}
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _cause(error: Exception) -> str:
    """Name an error that nobody foresaw, and where it was."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"


def _family(error: HostmeshError) -> str:
    return next((name for name, kind in _FAMILIES.items() if isinstance(error, kind)), "Refused")
