"""left.json: the services that `leave --service` took out although agent.yaml lists them. Pure.

Root writes it, the agent reads it: a service that left stays out over restarts.
"""

from collections.abc import Iterable

from hostmesh_core import strict_json
from hostmesh_core.capture_plan import dns_name_of

VERSION = 1
FILE_LIMIT = 256 * 1024
_MOST = 1000


def encode(services: Iterable[str]) -> bytes:
    """Give the file's bytes."""
    return strict_json.dump({"version": VERSION, "services": sorted(set(services))})


def decode(data: bytes, *, where: str) -> frozenset[str]:
    """Read the file's bytes. Raises BadInput."""
    fields = strict_json.load(data, where=where, limit=FILE_LIMIT)
    fields.version(VERSION)
    services = frozenset(fields.items("services", dns_name_of, _MOST))
    fields.end()
    return services
