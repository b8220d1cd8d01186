"""How one service is written for people: whole, or what a command does to its endpoints."""

from hostmesh_ctl import output
from hostmesh_ctl.output import Column, Row, columns, field, rows_of

PORT_COLUMNS = [
    *columns("port", "protocol", "name"),
    ("SAID BY", field("word")),
    *columns("note"),
]
CATALOG_COLUMNS = columns(
    *("source", "kind", "status", "says", "won", "endpoints", "held", "withheld", "origin")
)
CALLER_COLUMNS = [
    *columns("address", "caller", "requests"),
    ("LAST SEEN", lambda row: f"{row.get('ago', '')} ago"),
    *columns("seen_at"),
]
EFFECT_COLUMNS = columns("endpoint", "port", "health", "source", "origin", "since", "why")


def texts(row: Row, name: str) -> list[str]:
    """Give a field's list of texts; empty where there is none."""
    value = row.get(name)
    return [str(item) for item in value] if isinstance(value, list) else []


def service(answer: Row, endpoint_columns: list[Column]) -> str:
    """Write `hostmesh service show`."""
    head = [
        _line("host", field("host")(answer)),
        _line("state", _state(answer)),
        _line("inbound", _inbound(answer)),
        *(_line(key, field(key)(answer)) for key in ("vip4", "vip6", "aliases", "identities")),
    ]
    parts = [
        "\n".join(head),
        output.render(rows_of(answer.get("port_rows")), PORT_COLUMNS, empty="no port"),
        output.render(
            rows_of(answer.get("catalogs")), CATALOG_COLUMNS, empty="no catalog lists it any more"
        ),
        "\n".join(_line("conflict", text) for text in texts(answer, "conflicts")),
        "\n".join(_line("key", row["reason"]) for row in rows_of(answer.get("key_claims"))),
        output.render(rows_of(answer.get("endpoint_rows")), endpoint_columns, empty="no endpoint"),
        callers(answer),
        _line("next", answer["next"]) if answer.get("next") else "",
    ]
    return "\n\n".join(part for part in parts if part)


def effect(answer: Row) -> str:
    """Write what a command does, or would do, to a service's endpoints."""
    withheld, admitted = rows_of(answer.get("withheld")), rows_of(answer.get("admitted"))
    verb = "would be " if answer.get("dry_run") or answer.get("refused") else ""
    parts = []
    if withheld:
        title = f"{verb}withheld from meshed clients:"
        parts.append(f"{title}\n{output.render(withheld, EFFECT_COLUMNS, empty='')}")
    if admitted:
        title = f"{verb}reached in plaintext:"
        parts.append(f"{title}\n{output.render(admitted, EFFECT_COLUMNS, empty='')}")
    if not answer.get("refused") or answer.get("dry_run"):
        parts.append(output.done(answer))
    return "\n".join(parts)


def callers(answer: Row) -> str:
    """Write who called without the mesh in the last 24 h, and how far that can be relied on."""
    found, counted = rows_of(answer.get("callers")), answer.get("counted_for")
    uncounted = len(texts(answer, "uncounted"))
    lines = []
    if counted:
        lines.append(
            _line(
                "callers",
                f"{answer.get('caller_count', len(found))} without mesh in the last 24 h, "
                f"{answer.get('mutual_tls_requests', 0)} requests by mTLS; "
                f"counted for {counted}"
                + (f", not at {uncounted} endpoint(s)" if uncounted else ""),
            )
        )
    elif "callers" in answer:
        lines.append(_line("callers", "not counted: no instance with an agent has told yet"))
    if found:
        lines.append(output.render(found, CALLER_COLUMNS, empty=""))
    return "\n".join(lines)


def mode_change(answer: Row) -> str:
    """Write what became of a service's inbound mode, and what is to be known about it."""
    parts = [callers(answer)]
    parts += [_line("warning", text) for text in texts(answer, "warnings")]
    if not answer.get("refused"):
        parts.append(output.done(answer))
    return "\n".join(part for part in parts if part)


def _line(name: str, value: object) -> str:
    return f"{name:<11}{output.cell(value)}"


def _state(answer: Row) -> str:
    cidrs = texts(answer, "unmeshed_cidrs")
    narrowed = f", unmeshed endpoints in {', '.join(cidrs)} alone" if cidrs else ""
    return f"{field('state')(answer)}{_since(answer.get('state_set'))}{narrowed}"


def _inbound(answer: Row) -> str:
    own = _since(answer.get("inbound_set")) if answer.get("inbound_own") else " (mesh-wide)"
    force = answer.get("inbound_in_force", field("inbound")(answer))
    return f"{force}{own}"


def _since(mark: object) -> str:
    if not isinstance(mark, dict) or not mark.get("by"):
        return ""
    at = f" since {mark['at']}" if mark.get("at") else ""
    return f"{at} by {mark['by']}"
