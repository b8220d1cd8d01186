"""The last view of each source, to bytes and back (DESIGN 5: a control plane that is restarted
while Consul is down serves it). One record per source and service, so that only what changed is
written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health, Locality, Origin, Port, Protocol


@dataclass(frozen=True, slots=True)
class StoredView:
    """One service of one source as it was passed on last."""

    service: CatalogService
    name: str = ""
    """What the source calls it (Consul's service name); empty where it is the host name."""
    index: int = 0
    """Consul's index of that answer: an answer that lacks instances at the same one is doubted."""

    def to_bytes(self) -> bytes:
        """Give the stored form; equal views give equal bytes."""
        value = {"name": self.name, "index": self.index, "service": _service_json(self.service)}
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "StoredView":
        """Read the stored form, which only this class writes."""
        stored = json.loads(value)
        return cls(_service(stored["service"]), stored["name"], stored["index"])


@dataclass(frozen=True, slots=True)
class StoredSource:
    """What is remembered of a source itself."""

    sentinel_seen: bool = False
    """Its sentinel was non-empty once, so an empty one means something."""

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        return json.dumps({"sentinel_seen": self.sentinel_seen}).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "StoredSource":
        """Read the stored form."""
        return cls(json.loads(value)["sentinel_seen"])


def view_key(source: str, host: str) -> str:
    """Name the record of a service in Table.SOURCES."""
    return f"{source}/{host}"


def source_key(source: str) -> str:
    """Name the record of the source itself: no host name is empty."""
    return f"{source}/"


def split_key(key: str) -> tuple[str, str]:
    """Give source and host of a record's name; the host is empty for the source itself."""
    source, _, host = key.partition("/")
    return source, host


def _service_json(service: CatalogService) -> dict[str, object]:
    return asdict(service) | {
        "subject_alt_names": [str(spiffe_id) for spiffe_id in service.subject_alt_names]
    }


def _service(stored: Mapping[str, object]) -> CatalogService:
    value = dict(stored)
    ports, endpoints = _list(value["ports"]), _list(value["endpoints"])
    value["ports"] = tuple(_port(port) for port in ports)
    value["endpoints"] = tuple(_endpoint(endpoint) for endpoint in endpoints)
    value["subject_alt_names"] = tuple(
        SpiffeId.parse(str(uri)) for uri in _list(value["subject_alt_names"])
    )
    value["aliases"] = tuple(_list(value["aliases"]))
    value["problems"] = tuple(_list(value["problems"]))
    stated = value["stated_protocol"]
    value["stated_protocol"] = Protocol(str(stated)) if stated else None
    return CatalogService(**value)  # type: ignore[arg-type] # what `asdict` wrote


def _port(stored: object) -> Port:
    value = _dict(stored)
    return Port(**value | {"protocol": Protocol(str(value["protocol"]))})  # type: ignore[arg-type]


def _endpoint(stored: object) -> CatalogEndpoint:
    value = _dict(stored)
    changed: dict[str, object] = {
        "key": EndpointKey(**_dict(value["key"])),  # type: ignore[arg-type]
        "health": Health(str(value["health"])),
        "labels": tuple((pair[0], pair[1]) for pair in map(_list, _list(value["labels"]))),
        "locality": Locality(**_dict(value["locality"])),  # type: ignore[arg-type]
        "origin": Origin(**_dict(value.get("origin", {}))),  # type: ignore[arg-type]
    }
    return CatalogEndpoint(**value | changed)  # type: ignore[arg-type]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise RuntimeError(f"stored view is damaged: expected a list, got {type(value).__name__}")
    return value


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RuntimeError(f"stored view is damaged: expected keys, got {type(value).__name__}")
    return value
