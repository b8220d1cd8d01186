"""The one screen of `join`: where this host stands, what was changed, how to undo it, what next."""

from collections.abc import Mapping

from hostmesh_agent.logic import screens
from hostmesh_agent.logic.screens import WIDTH, Answer

_LEFT_COLUMN = 46
NO_ANSWER = "the agent: it does not answer"


def waiting_of(status: Answer) -> list[str]:
    """Give what an agent's status says it waits for."""
    return screens.texts(status.get("waiting")) if status else [NO_ANSWER]


def refused_of(status: Answer) -> set[str]:
    """Give the services that the control plane has refused."""
    services = screens.maps(status.get("services"))
    return {str(each["name"]) for each in services if each.get("refused") is True}


def screen(answer: Answer, *, log: str = "") -> str:
    """Show what a join came to."""
    joined, status = _map(answer["joined"]), _map(answer["status"])
    services = screens.maps(status.get("services"))
    rows = [("joined", _joined(joined, status)), *screens.instance(status)]
    rows += [(_head(service), _service(service)) for service in services]
    rows += [("waiting", text) for text in screens.texts(answer.get("waiting"))]
    rows += [("changed", _changed(status))]
    if answer.get("differences"):
        text = f"callers without a mesh may notice: {answer['differences']} (docs/join.md)"
        rows += [("differs", text)]
    rows += [("accepted", f"{f['finding']}: {f['text']}") for f in _accepted(answer)]
    rows += [("warning", f"{f['text']}; {f['cure']}") for f in _warned(answer)]
    rows += [("warning", text) for text in screens.texts(status.get("warnings"))]
    rows += [("log", log)] if log else []
    rows += [("reboot", _reboot(status))]
    rows += [("undo", f"{'hostmesh-agent leave':<{_LEFT_COLUMN}}next: {_next(answer, services)}")]
    return screens.lines(rows)


def _joined(joined: Answer, status: Answer) -> str:
    plane = status.get("control_plane", "(the agent does not answer)")
    host = str(joined["host_id"])[:8]
    return f"host {host} as {joined['identity']}{screens.clock(joined)}, control plane {plane}"


def _head(service: Answer) -> str:
    """Give the service's name, cut to its column."""
    name = str(service["name"])
    return name if len(name) < WIDTH else f"{name[: WIDTH - 2]}~"


def _service(service: Answer) -> str:
    head = f"{service['address']} {service['protocol']}"
    mode = str(service.get("inbound") or "").upper()
    lines = [f"{head}  {mode}  app {service['health']}" if mode else f"{head}  {service['health']}"]
    lines += screens.texts(service.get("details"))
    callers = _callers(service.get("callers"))
    return "\n".join([*lines, callers] if callers else lines)


def _callers(callers: object) -> str:
    """Say who called while join watched."""
    recent = callers.get("recent") if isinstance(callers, Mapping) else None
    return screens.callers(recent) if isinstance(recent, Mapping) else ""


def _changed(status: Answer) -> str:
    changed = _map(status.get("changed"))
    rules, routes, names = (changed.get(each, 0) for each in ("rules", "routes", "names"))
    if not (rules or routes or names):
        return "no rule, no route, no name"
    block = "1 block in /etc/hosts" if names else "no name"
    text = f"{rules} rules, {routes} routes, {block}"
    return f"{text:<{_LEFT_COLUMN}}look: hostmesh-agent redirect show"


def _reboot(status: Answer) -> str:
    """Say what a reboot asks for: it takes the processes and rules, and leaves the names."""
    until = (
        "; till then mesh names lead nowhere" if _map(status.get("changed")).get("names") else ""
    )
    return f"run this join again after one, unless `run --all` starts with the host{until}"


def _accepted(answer: Answer) -> list[Answer]:
    return [f for f in screens.maps(answer.get("findings")) if f["severity"] == "stops"]


def _warned(answer: Answer) -> list[Answer]:
    return [f for f in screens.maps(answer.get("findings")) if f["severity"] == "warns"]


def _next(answer: Answer, services: list[Answer]) -> str:
    waiting = screens.texts(answer.get("waiting"))
    return screens.next_command(waiting, [str(each["name"]) for each in services])


def _map(value: object) -> Answer:
    return value if isinstance(value, Mapping) else {}
