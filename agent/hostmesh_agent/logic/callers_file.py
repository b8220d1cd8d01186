"""The book of callers as it lies on disk: an agent's restart must not forget who called."""

from hostmesh_agent.config import ServiceKey
from hostmesh_agent.logic.callers import MOST_KEPT, Book, Caller, Counted
from hostmesh_core import strict_json
from hostmesh_core.errors import BadInput
from hostmesh_core.strict_json import Fields

VERSION = 1
LIMIT = 32 * 1024 * 1024
MOST_SERVICES = 1024
MOST_COUNTERS = 65536
_ANY = 2**63


def encode(book: Book) -> bytes:
    """Give the file's bytes."""
    return strict_json.dump(
        {
            "version": VERSION,
            "envoy": list(book.envoy or ()),
            "read_at": book.read_at,
            "read": dict(book.read),
            "services": [_service(key, counted) for key, counted in book.services.items()],
        }
    )


def _service(key: ServiceKey, counted: Counted) -> dict[str, object]:
    name, namespace, port = key
    return {
        "name": name,
        "namespace": namespace,
        "port": port,
        "since": counted.since,
        "plaintext": counted.plaintext,
        "mutual_tls": counted.mutual_tls,
        "last_plaintext": counted.last_plaintext,
        "callers": {
            address: {"requests": c.requests, "first": c.first_seen, "last": c.last_seen}
            for address, c in counted.callers.items()
        },
    }


def decode(data: bytes, *, where: str) -> Book:
    """Read the file. Raises BadInput for anything that `encode` does not write."""
    fields = strict_json.load(data, where=where, limit=LIMIT)
    fields.version(VERSION)
    envoy = fields.items("envoy", _number, 2)
    book = Book(
        envoy=(envoy[0], envoy[1]) if len(envoy) == 2 else None,
        read_at=fields.number("read_at"),
        read={name: _number(n, where) for name, n in fields.pairs("read", MOST_COUNTERS)},
        services=dict(fields.items("services", _read_service, MOST_SERVICES)),
    )
    fields.end()
    return book


def _read_service(value: object, where: str) -> tuple[ServiceKey, Counted]:
    fields = Fields(value, where=where)
    key = (fields.text("name"), fields.text("namespace"), fields.integer("port", 1, 65535))
    counted = Counted(
        since=fields.number("since"),
        plaintext=fields.integer("plaintext", 0, _ANY),
        mutual_tls=fields.integer("mutual_tls", 0, _ANY),
        last_plaintext=fields.number("last_plaintext"),
        callers={
            address: _read_caller(caller, f"{where}: {address}")
            for address, caller in fields.pairs("callers", MOST_KEPT)
        },
    )
    fields.end()
    return key, counted


def _read_caller(value: object, where: str) -> Caller:
    fields = Fields(value, where=where)
    caller = Caller(
        fields.integer("requests", 0, _ANY), fields.number("first"), fields.number("last")
    )
    fields.end()
    return caller


def _number(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _ANY:
        raise BadInput(f"cannot read {where}: expected a whole number of 0 or more")
    return value
