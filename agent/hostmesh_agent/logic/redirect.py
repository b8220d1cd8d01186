"""What the operator wrote about capture, as the plan that the redirector acts on (DESIGN 10).

Pure. `capture compile` runs it as root; what it refuses never reaches the kernel.
"""

import ipaddress
from dataclasses import dataclass

from hostmesh_agent.config import AgentConfig, DnsMode, OnEnvoyDown, ServiceConfig
from hostmesh_core import ports
from hostmesh_core.capture_plan import CapturePlan, DnsBlock, InboundPort, OnDown
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN, is_dns_name
from hostmesh_core.model import InboundMode

SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Numeric ids of this host's own users; names would ask NSS, which may ask the network."""

    proxy_uid: int
    proxy_gid: int
    agent_uid: int


def plan(
    config: AgentConfig, users: Users, *, mesh_domain: str = DEFAULT_TRUST_DOMAIN
) -> CapturePlan:
    """Compile agent.yaml. Raises BadInput for what cannot hold together."""
    _check_users(users)
    captured = [service for service in config.services if not service.mesh_port]
    inbound = tuple(sorted({_inbound(service) for service in captured}))
    _check_inbound(config, inbound)
    capture = config.capture
    if capture.mode != "mesh":
        raise BadInput(f"cannot use capture.mode {capture.mode!r}: this version has only mesh")
    return CapturePlan(
        instance=config.instance,
        enabled=capture.enabled,
        mode=capture.mode,
        proxy_uid=users.proxy_uid,
        proxy_gid=users.proxy_gid,
        agent_uid=users.agent_uid,
        inbound=inbound,
        outbound_port=config.ports.outbound,
        inbound_port=config.ports.inbound,
        readiness_port=config.ports.readiness,
        exclude_inbound_ports=_ports(capture.exclude_inbound_ports, "exclude_inbound_ports"),
        exclude_outbound_ports=_ports(capture.exclude_outbound_ports, "exclude_outbound_ports"),
        exclude_outbound_cidrs=_cidrs(capture.exclude_outbound_cidrs, "exclude_outbound_cidrs"),
        exclude_uids=tuple(sorted(set(capture.exclude_uids))),
        endpoint_cidrs=_cidrs(capture.endpoint_cidrs, "endpoint_cidrs"),
        vip4=capture.vip4_range,
        vip6=capture.vip6_range,
        on_down_inbound=_on_down_inbound(config, captured),
        on_down_outbound=OnDown(capture.on_envoy_down_outbound.value),
        dns=DnsBlock.HOSTS if config.dns is DnsMode.HOSTS else DnsBlock.OFF,
        mesh_domain=mesh_domain,
        take_over=_take_over(config),
    )


def _on_down_inbound(config: AgentConfig, captured: list[ServiceConfig]) -> OnDown:
    """Closed where every inbound port is strict: a dead Envoy must not open them in plaintext."""
    stated = config.capture.on_envoy_down_inbound
    if stated is not None:
        return OnDown(stated.value)
    strict = bool(captured) and all(s.inbound is InboundMode.STRICT for s in captured)
    return OnDown((OnEnvoyDown.CLOSED if strict else OnEnvoyDown.OPEN).value)


def _inbound(service: ServiceConfig) -> InboundPort:
    if service.server_first and service.inbound is InboundMode.PERMISSIVE:
        raise BadInput(
            f"cannot capture service {service.name}: server_first on port {service.port} needs "
            "inbound: strict or disable, because a permissive port waits for the client's first "
            "bytes"
        )
    return InboundPort(service.port, service.inbound or "", service.server_first)


def _check_users(users: Users) -> None:
    """Refuse root as Envoy's user: its traffic, and so all of root's, would pass uncaptured."""
    if users.proxy_uid == 0 or users.proxy_gid == 0:
        raise BadInput(
            "cannot capture for an Envoy that runs as root: its own traffic is told apart by its "
            "uid and gid; run it as user hostmesh-envoy"
        )


def _check_inbound(config: AgentConfig, inbound: tuple[InboundPort, ...]) -> None:
    own = {
        config.ports.outbound: "outbound capture",
        config.ports.inbound: "inbound capture",
        config.ports.status: "the agent's status",
        config.ports.readiness: "Envoy's readiness",
        config.ports.prometheus: "Envoy's metrics",
        ports.DNS: "the agent's DNS",
    } | dict.fromkeys(ports.IDENTITY_POOL, "outbound capture of an identity")
    seen: set[int] = set()
    for entry in inbound:
        if entry.port in own:
            raise BadInput(
                f"cannot capture port {entry.port}: it is {own[entry.port]} of Hostmesh itself; "
                "give the service another port or change ports: in agent.yaml"
            )
        if entry.port == SSH_PORT:
            raise BadInput(
                f"cannot capture port {SSH_PORT}: ssh is never captured; serve it to the mesh "
                "through services[].mesh_port"
            )
        if entry.port in seen:
            raise BadInput(
                f"cannot capture port {entry.port}: two services state it with different inbound "
                "or server_first; a port has one"
            )
        seen.add(entry.port)


def _ports(stated: tuple[int, ...], key: str) -> tuple[int, ...]:
    for port in stated:
        if not 0 < port < 65536:
            raise BadInput(f"cannot use capture.{key} {port}: expected a port from 1 to 65535")
    return tuple(sorted(set(stated)))


def _cidrs(stated: tuple[str, ...], key: str) -> tuple[str, ...]:
    networks = set()
    for text in stated:
        try:
            networks.add(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise BadInput(f"cannot use capture.{key} {text!r}: {error}") from error
    return tuple(sorted(networks))


def _take_over(config: AgentConfig) -> tuple[str, ...]:
    for name in config.names.take_over:
        if not is_dns_name(name) or "." not in name:
            raise BadInput(
                f"cannot take over {name!r}: expected a full name such as reviews.service.consul"
            )
    return tuple(sorted(set(config.names.take_over)))
