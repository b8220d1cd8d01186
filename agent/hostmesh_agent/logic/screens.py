"""The one-screen answers of `join` and `status`: what is up, what is not and why, what next."""

from collections.abc import Mapping, Sequence

from hostmesh_core.host_layout import DEFAULT_INSTANCE

WIDTH = 9
NAMED = 3
"""Addresses of callers in a line; `--output json` has them all."""
Answer = Mapping[str, object]


def joined(answer: Answer) -> str:
    """Show what `join` did: nothing on the host's traffic has changed yet, and how to go on."""
    return lines(
        [
            (
                "joined",
                f"host {answer['host_id']} as {answer['identity']}{clock(answer)}, "
                f"control plane {answer['control_plane']}",
            ),
            ("grant", _grant(answer)),
            ("changed", f"the identity in {answer['identity_dir']}; no rule, no name, no port yet"),
            ("undo", "hostmesh-agent leave"),
            ("next", "hostmesh-agent run --all"),
        ]
    )


def clock(answer: Answer) -> str:
    """Give how far this clock is off, where that was asked."""
    ahead = answer.get("clock_seconds")
    return f", clock {ahead:+.1f} s" if isinstance(ahead, int | float) else ""


def _grant(answer: Answer) -> str:
    services = texts(answer.get("services"))
    if not services:
        return "a pure client: it may call, and can register nothing"
    return "may register " + ", ".join(services)


def status(answer: object) -> str:
    """Show a running agent's state."""
    if not isinstance(answer, Mapping):
        return str(answer)
    rows = [("host", _host(answer)), *instance(answer)]
    rows += [("service", _service(service)) for service in maps(answer.get("services"))]
    rows += [
        ("left", f"{name}, though agent.yaml lists it; back with: hostmesh-agent resume {name}")
        for name in texts(answer.get("left"))
    ]
    rows += [
        ("envoy", str(answer["envoy"])),
        ("capture", str(answer["capture"])),
        ("config", str(answer["generation"])),
        ("certs", str(answer["certificates"])),
    ]
    rows += [("waiting", text) for text in texts(answer.get("waiting"))]
    rows += [("warning", text) for text in texts(answer.get("warnings"))]
    rows += [
        ("undo", "hostmesh-agent leave"),
        ("next", str(answer["next"])),
    ]
    return lines(rows)


def reloaded(answer: Answer) -> str:
    """Show what `reload`, `leave --service` or `resume` came to."""
    changes = texts(answer.get("changes")) or ["nothing: it runs like this already"]
    rows = [("changed", text) for text in changes]
    rows += [("refused", text) for text in texts(answer.get("refused"))]
    rows += [("waiting", text) for text in texts(answer.get("unproven"))]
    rows += [("kept", text) for text in texts(answer.get("kept"))]
    rows += [("found", f"{f['service']}: {f['text']}") for f in maps(answer.get("findings"))]
    rows += [("left", f"{n}; back with: hostmesh-agent resume {n}") for n in texts(answer["left"])]
    if answer.get("every_peer_applied") is not True:
        rows.append(("warning", "not every peer has said in time that it sends nobody there"))
    whole = answer.get("whole") is True
    rows.append(("next", "hostmesh-agent status" if whole else "hostmesh-agent reload    (again)"))
    return lines(rows)


def instance(answer: Answer) -> list[tuple[str, str]]:
    """Name the instance where it is not the only one that a host usually has."""
    name = str(answer.get("instance", DEFAULT_INSTANCE))
    return [] if name == DEFAULT_INSTANCE else [("instance", name)]


def _host(answer: Answer) -> str:
    return f"{answer['host_id']} as {answer['identity']}, control plane {answer['control_plane']}"


def _service(service: Answer) -> str:
    stated = (service[key] for key in ("name", "address", "protocol", "inbound"))
    head = " ".join(str(text) for text in stated if text)
    rows = [f"{head}  app {service['health']}", *texts(service.get("details"))]
    counted = service.get("callers")
    if isinstance(counted, Mapping) and isinstance(recent := counted.get("recent"), Mapping):
        rows.append(callers(recent))
    return "\n".join(rows)


def callers(recent: Answer) -> str:
    """Say who called in the last seconds: the `recent` of a service's `callers` in the answer."""
    seconds = round(_number(recent.get("seconds")))
    plaintext = round(_number(recent.get("plaintext")))
    mutual_tls = round(_number(recent.get("mutual_tls")))
    addresses = texts(recent.get("addresses"))
    named = ", ".join(addresses[:NAMED]) + (", …" if len(addresses) > NAMED else "")
    whom = f" ({named})" if named and plaintext else ""
    return f"callers in {seconds} s: {plaintext} without mesh{whom}, {mutual_tls} by mTLS"


def next_command(waiting: Sequence[str], services: Sequence[str]) -> str:
    """Give the command that a person would type next."""
    if waiting:
        return "hostmesh-agent status    (again, in a moment)"
    if services:
        return f"hostmesh service show {services[0]}    (on the control plane)"
    return "call a service by its mesh name; hostmesh services lists them (on the control plane)"


def lines(rows: Sequence[tuple[str, str]]) -> str:
    """Lay rows out: a head, and its text in as many lines as it has."""
    out = []
    for head, text in rows:
        first, *more = text.split("\n")
        out.append(f"{head:<{WIDTH}}{first}")
        out += [" " * WIDTH + line for line in more]
    return "\n".join(out)


def texts(value: object) -> list[str]:
    """Give a list of an answer as texts."""
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def maps(value: object) -> list[Answer]:
    """Give the objects of a list of an answer."""
    items = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
