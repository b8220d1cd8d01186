"""capture.json: everything about capture that only root may say (DESIGN 10).

`hostmesh-agent capture compile` writes it from agent.yaml; the redirector reads it, and the early
unit reads it alone. Pure, and nothing heavy is imported: the redirector is a small process.
"""

import ipaddress
import zlib
from dataclasses import dataclass
from enum import StrEnum

from hostmesh_core import ports, strict_json
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN, is_dns_label, is_dns_name
from hostmesh_core.strict_json import Fields

VERSION = 1
FILE_LIMIT = 1 << 20
"""Bytes that any file of the redirector may have."""

DEFAULT_VIP4 = "240.240.0.0/16"
DEFAULT_VIP6 = "fd48:6d65:7368::/64"
PROOF_PORTS = (15170, 15179)
"""Source ports, both included, from which the agent's own dial of an own inbound port passes
inbound: the proof that Envoy and app answer before anything is registered."""

UID_MAX = 2**32 - 2


class OnDown(StrEnum):
    """What one direction's rules do while no Envoy serves."""

    OPEN = "open"
    CLOSED = "closed"


class DnsBlock(StrEnum):
    """Whether the redirector keeps a block in /etc/hosts."""

    HOSTS = "hosts"
    OFF = "off"


@dataclass(frozen=True, slots=True, order=True)
class InboundPort:
    """One declared inbound port of the app."""

    port: int
    mode: str = ""
    """permissive, strict, disable; empty = as the mesh says."""
    server_first: bool = False


@dataclass(frozen=True, slots=True, order=True)
class IdentityPort:
    """Outbound connections of this uid go to this capture port: its identity's own."""

    uid: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePlan:
    """capture.json: everything that only root may say."""

    proxy_uid: int
    proxy_gid: int
    agent_uid: int
    instance: str = "default"
    enabled: bool = True
    """False = explicit mode: nothing is installed."""
    mode: str = "mesh"
    inbound: tuple[InboundPort, ...] = ()
    outbound_port: int = ports.OUTBOUND_CAPTURE
    inbound_port: int = ports.INBOUND_CAPTURE
    readiness_port: int = ports.READINESS
    exclude_inbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_cidrs: tuple[str, ...] = ()
    exclude_uids: tuple[int, ...] = ()
    endpoint_cidrs: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    """Endpoint addresses outside these are not captured, whoever names them."""
    vip4: str = DEFAULT_VIP4
    vip6: str = DEFAULT_VIP6
    on_down_inbound: OnDown = OnDown.OPEN
    on_down_outbound: OnDown = OnDown.OPEN
    dns: DnsBlock = DnsBlock.HOSTS
    mesh_domain: str = DEFAULT_TRUST_DOMAIN
    take_over: tuple[str, ...] = ()
    """Names outside the mesh domain that may get a virtual address."""
    identity_ports: tuple[IdentityPort, ...] = ()
    proof_ports: tuple[int, int] = PROOF_PORTS

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return strict_json.dump(
            {
                "version": VERSION,
                "instance": self.instance,
                "enabled": self.enabled,
                "mode": self.mode,
                "proxy_uid": self.proxy_uid,
                "proxy_gid": self.proxy_gid,
                "agent_uid": self.agent_uid,
                "inbound": [
                    {"port": p.port, "mode": p.mode, "server_first": p.server_first}
                    for p in self.inbound
                ],
                "outbound_port": self.outbound_port,
                "inbound_port": self.inbound_port,
                "readiness_port": self.readiness_port,
                "exclude_inbound_ports": self.exclude_inbound_ports,
                "exclude_outbound_ports": self.exclude_outbound_ports,
                "exclude_outbound_cidrs": self.exclude_outbound_cidrs,
                "exclude_uids": self.exclude_uids,
                "endpoint_cidrs": self.endpoint_cidrs,
                "vip4": self.vip4,
                "vip6": self.vip6,
                "on_down_inbound": self.on_down_inbound,
                "on_down_outbound": self.on_down_outbound,
                "dns": self.dns,
                "mesh_domain": self.mesh_domain,
                "take_over": self.take_over,
                "identity_ports": [{"uid": i.uid, "port": i.port} for i in self.identity_ports],
                "proof_ports": self.proof_ports,
            }
        )

    @property
    def hash(self) -> str:
        """Name a plan by its content: equal plans, equal names; no protection against anybody."""
        return f"{zlib.crc32(self.encode()):08x}"

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> "CapturePlan":
        """Read the file's bytes; `where` names it in messages. Raises BadInput."""
        f = strict_json.load(data, where=where, limit=FILE_LIMIT)
        f.version(VERSION)
        plan = cls(
            instance=f.parsed("instance", _instance),
            enabled=f.flag("enabled"),
            mode=f.parsed("mode", _mode),
            proxy_uid=f.integer("proxy_uid", 1, UID_MAX),
            proxy_gid=f.integer("proxy_gid", 1, UID_MAX),
            agent_uid=f.integer("agent_uid", 0, UID_MAX),
            inbound=f.items("inbound", _inbound_port, 1000),
            outbound_port=f.integer("outbound_port", 1, 65535),
            inbound_port=f.integer("inbound_port", 1, 65535),
            readiness_port=f.integer("readiness_port", 1, 65535),
            exclude_inbound_ports=f.items("exclude_inbound_ports", port_of, 1000),
            exclude_outbound_ports=f.items("exclude_outbound_ports", port_of, 1000),
            exclude_outbound_cidrs=f.items("exclude_outbound_cidrs", _cidr, 1000),
            exclude_uids=f.items("exclude_uids", _uid, 1000),
            endpoint_cidrs=f.items("endpoint_cidrs", _cidr, 1000),
            vip4=f.parsed("vip4", lambda text: _network(text, 4)),
            vip6=f.parsed("vip6", lambda text: _network(text, 6)),
            on_down_inbound=f.parsed("on_down_inbound", OnDown),
            on_down_outbound=f.parsed("on_down_outbound", OnDown),
            dns=f.parsed("dns", DnsBlock),
            mesh_domain=f.parsed("mesh_domain", _dns_name),
            take_over=f.items("take_over", dns_name_of, 1000),
            identity_ports=f.items("identity_ports", _identity_port, 64),
            proof_ports=_range(f.items("proof_ports", port_of, 2), where),
        )
        f.end()
        return plan


def _instance(text: str) -> str:
    if not is_dns_label(text):
        raise ValueError("expected a name of small letters, digits and hyphens")
    return text


def _mode(text: str) -> str:
    if text != "mesh":
        raise ValueError("expected mesh")
    return text


def _dns_name(text: str) -> str:
    if not is_dns_name(text):
        raise ValueError("expected a DNS name in small letters")
    return text


def _uid(value: object, where: str) -> int:
    return _whole(value, where, 0, UID_MAX)


def _network(text: str, family: int) -> str:
    network = ipaddress.ip_network(text)
    if network.version != family or str(network) != text:
        raise ValueError(f"expected an IPv{family} network in its canonical form")
    return text


def _cidr(value: object, where: str) -> str:
    try:
        return str(ipaddress.ip_network(str(value)))
    except ValueError as error:
        raise BadInput(f"cannot read {where}: {error}") from error


def _range(pair: tuple[int, ...], where: str) -> tuple[int, int]:
    if len(pair) != 2 or pair[0] > pair[1]:
        raise BadInput(f"cannot read {where}: proof_ports: expected two ports, the lower one first")
    return pair[0], pair[1]


def _inbound_port(value: object, where: str) -> InboundPort:
    f = Fields(value, where=where)
    port = InboundPort(f.integer("port", 1, 65535), f.text("mode", 20), f.flag("server_first"))
    f.end()
    return port


def _identity_port(value: object, where: str) -> IdentityPort:
    f = Fields(value, where=where)
    port = IdentityPort(f.integer("uid", 0, UID_MAX), f.integer("port", 1, 65535))
    f.end()
    return port


def dns_name_of(value: object, where: str) -> str:
    """Read one list entry or key: a DNS name in small letters. Raises BadInput."""
    if not isinstance(value, str) or not is_dns_name(value):
        raise BadInput(f"cannot read {where}: {value!r} is no DNS name in small letters")
    return value


def sentence(value: object, where: str) -> str:
    """Read one list entry: a text for people. Raises BadInput."""
    if not isinstance(value, str) or len(value) > 4096:
        raise BadInput(f"cannot read {where}: expected a text of at most 4096 characters")
    return value


def port_of(value: object, where: str) -> int:
    """Read one list entry: a port. Raises BadInput."""
    return _whole(value, where, 1, 65535)


def _whole(value: object, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"cannot read {where}: expected a whole number from {low} to {high}")
    return value
