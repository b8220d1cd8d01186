"""Istio's WorkloadEntry: one instance, alone or inside a ServiceEntry.

Spec: networking.istio.io WorkloadEntry. Its identity (`serviceAccount`) is checked and not read:
an endpoint is meshed by its live registration alone, and what clients accept of a service is
stated in the ServiceEntry's subjectAltNames.
"""

import ipaddress

from pydantic import Field, field_validator

from hostmesh_controlplane.logic.config_kinds.resource import Resource, Strict
from hostmesh_core.ids import canonical_address
from hostmesh_core.model import Locality

MAX_WEIGHT = 2**32 - 1


class WorkloadEntrySpec(Strict):
    """The spec. `ports` maps a ServiceEntry's port names to the numbers here."""

    address: str
    ports: dict[str, int] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: int = 0
    serviceAccount: str = ""  # noqa: N815 (Istio's own key)

    @field_validator("address")
    @classmethod
    def _ip_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            raise ValueError(f'"{value}": unix sockets are not supported; expected an IP address')
        try:
            address = ipaddress.ip_address(canonical_address(value))
        except ValueError:
            raise ValueError(
                f'"{value}" is no IP address; resolution STATIC takes addresses, not names'
            ) from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f'"{value}" is not the address of a host')
        return str(address)

    @field_validator("ports")
    @classmethod
    def _port_numbers(cls, value: dict[str, int]) -> dict[str, int]:
        for name, number in value.items():
            if not 0 < number < 65536:
                raise ValueError(f'port "{name}" is {number}; expected 1 to 65535')
        return value

    @field_validator("labels")
    @classmethod
    def _label_keys(cls, value: dict[str, str]) -> dict[str, str]:
        if "" in value:
            raise ValueError("a label without a name")
        return value

    @field_validator("locality")
    @classmethod
    def _region_zone_subzone(cls, value: str) -> str:
        if value.count("/") > 2 or (value and not value.split("/")[0]):
            raise ValueError(f'"{value}": expected region, region/zone or region/zone/subzone')
        return value

    @field_validator("weight")
    @classmethod
    def _weight(cls, value: int) -> int:
        if not 0 <= value <= MAX_WEIGHT:
            raise ValueError(f"{value}; expected 0 (not stated) to {MAX_WEIGHT}")
        return value

    @property
    def place(self) -> Locality:
        """The locality, in its three parts."""
        return Locality(*self.locality.split("/")) if self.locality else Locality()


def read_workload_entry(resource: Resource) -> WorkloadEntrySpec:
    """Read a WorkloadEntry's spec. Raises Unusable."""
    return resource.spec(WorkloadEntrySpec)
