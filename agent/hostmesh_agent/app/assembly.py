"""Makes the agent's services of what runs and who this host is; `app.agent` says who hears what."""

import socket
from importlib.metadata import version

from envoy.config.core.v3.base_pb2 import Node as XdsNode

from hostmesh_agent.app.envoy import Callbacks, EnvoyService, Node
from hostmesh_agent.app.host import AgentFacts, HostListeners, HostService
from hostmesh_agent.app.identity import HostCredentials, IdentityService, Listeners, Request
from hostmesh_agent.app.relay import RelayCallbacks, RelayPaths, RelayService, Warming
from hostmesh_agent.edges.bootstrap_disk import can_bind_ipv6
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.entropy import SystemEntropy
from hostmesh_agent.edges.identity_disk import IdentityDisk, StoredIdentity
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_agent.logic.running import Running
from hostmesh_core import names
from hostmesh_core.host_layout import HostLayout


def identity(
    disk: IdentityDisk, stored: StoredIdentity, *, request: Request, listeners: Listeners
) -> IdentityService:
    """Make what holds this host's keys and certificates."""
    return IdentityService(
        disk,
        stored,
        request=request,
        clock=SystemClock(),
        jitter=SystemEntropy().jitter,
        listeners=listeners,
    )


def host(running: Running, known: IdentityService, listeners: HostListeners) -> HostService:
    """Make the host's stream to its control plane."""
    return HostService(
        planes(running),
        credentials(known.host),
        facts=AgentFacts(agent_version=version("hostmesh"), hostname=socket.gethostname()),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        listeners=listeners,
    )


def envoy(
    running: Running, layout: HostLayout, known: IdentityService, callbacks: Callbacks
) -> EnvoyService:
    """Make what keeps Envoy serving."""
    node = Node(id=known.membership.host_id, agent_version=version("hostmesh"))
    return EnvoyService(running.config, layout, node, callbacks)


def relay(
    running: Running,
    layout: HostLayout,
    known: IdentityService,
    callbacks: RelayCallbacks,
    *,
    warming: Warming,
) -> RelayService:
    """Make what stands between the control plane and Envoy."""
    made = RelayService(
        RelayPaths(xds_dir=layout.xds_dir, xds_socket=layout.xds_socket),
        control_planes=planes(running),
        node=_node(known.membership.host_id),
        callbacks=callbacks,
        warming=warming,
    )
    made.set_credentials(credentials(known.host))
    return made


def planes(running: Running) -> list[str]:
    """List the control planes as they are dialled."""
    return [str(address) for address in running.config.control_planes]


def credentials(host: HostCredentials) -> Credentials:
    """Give what both streams show a control plane, and whom they trust to be one."""
    return Credentials(
        host.key_pem,
        host.chain_pem,
        host.roots_pem,
        names.control_plane_host(host.trust_domain),
    )


def _node(host_id: str) -> XdsNode:
    """Say of this host what decides addresses, and nothing else."""
    node = XdsNode(id=host_id)
    node.metadata[names.NODE_IPV6] = can_bind_ipv6()
    return node
