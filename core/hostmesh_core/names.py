"""Every name that Hostmesh invents or takes over from Istio, in one place.

Dashboards, EnvoyFilters and metrics depend on them: renaming one breaks somebody's alert.
"""

from hostmesh_core.ids import Identity

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
BLACK_HOLE_CLUSTER = "BlackHoleCluster"
PASSTHROUGH_CLUSTER = "PassthroughCluster"
DIRECT_CLUSTER = "DirectCluster"
"""Connections to a registered endpoint's own address: mTLS to that very instance."""
OUTBOUND_BLACK_HOLE_CHAIN = "virtualOutbound-blackhole"
OUTBOUND_CATCH_ALL_CHAIN = "virtualOutbound-catchall-tcp"
INBOUND_BLACK_HOLE_CHAIN = "virtualInbound-blackhole"
ALLOW_ANY_VIRTUAL_HOST = "allow_any"
METADATA_NAMESPACE = "hostmesh"
"""Key of our own block in the metadata of clusters and listeners; the agent reads it."""
IDENTITY_FILTER_STATE = "hostmesh.identity"
DESTINATION_FILTER_STATE = "hostmesh.destination"
VIRTUAL_DESTINATION = "virtual"
"""What the destination filter state says where a virtual address was dialled."""
TLS_MODE_METADATA = "envoy.transport_socket_match"
TLS_MODE_KEY = "tlsMode"
TLS_MODE_MESH = "istio"
TLS_MODE_PLAIN = "disabled"
PLAINTEXT_SOCKET = "tlsMode-disabled"
NO_IDENTITY_SOCKET = "tlsMode-istio:no-identity"
UNDELIVERED_HEADER = "x-hostmesh-undelivered"
CONTROL_PLANE_LABEL = "control-plane"
NODE_IPV6 = "hostmesh.ipv6"
"""Node metadata of an agent's ADS stream: whether its host's kernel has IPv6."""
RELAY_CLUSTER = "hostmesh-relay"
"""Envoy's cluster for the agent's xDS socket."""
ADMIN_CLUSTER = "hostmesh-admin"
"""Envoy's cluster for its own admin socket: Prometheus' numbers and nothing else."""
READINESS_LISTENER = "hostmesh-readiness"
PROMETHEUS_LISTENER = "hostmesh-prometheus"
READINESS_PATH = "/healthz/ready"
EPOCH_HEADER = "x-hostmesh-epoch"
"""Told to loopback callers of the readiness listener alone: which Envoy's worker answered."""
EPOCH_METADATA = "hostmesh_epoch"
"""Field of the node metadata: Envoy's restart epoch, a number; the relay tells streams by it."""
CALLERS_STATS = "hostmesh.callers"
"""What the names of Envoy's counters of callers begin with; each is tagged with its port."""
CALLERS_PLAINTEXT = "plaintext"
"""Requests (TCP: connections) without mutual TLS, all of them."""
CALLERS_PLAINTEXT_FROM = "plaintext_from"
"""The same by source address; of more addresses than are kept, the later ones are not in it."""
CALLERS_MUTUAL_TLS = "mutual_tls"
PROOF_SERVER_NAME = "proof.hostmesh"
"""The TLS server name of an agent's proof to its own host: by it the proof is not counted."""


def mesh_host(service: str, namespace: str, mesh_domain: str) -> str:
    """Give a mesh service's fully qualified host name."""
    return f"{service}.{namespace}.{mesh_domain}"


def control_plane_host(trust_domain: str) -> str:
    """Give the DNS name in every control plane's certificate, whatever address is dialled."""
    return f"{CONTROL_PLANE_LABEL}.{trust_domain}"


def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    """Name the cluster of a service's port as seen by clients; also its load assignment."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(workload_port: int) -> str:
    """Name the cluster that leads to the local app."""
    return f"inbound|{workload_port}||"


def inbound_route(workload_port: int) -> str:
    """Name the inbound RouteConfiguration (and its virtual host) of an HTTP port."""
    return f"inbound|http|{workload_port}"


def inbound_tcp_policy(workload_port: int) -> str:
    """Name the policy of an inbound TCP port: a network filter, and its ECDS resource."""
    return f"inbound|tcp|{workload_port}"


def outbound_http_listener(port: int) -> str:
    """Name the listener that all HTTP services of one port share."""
    return f"0.0.0.0_{port}"


def outbound_tcp_listener(vip4: str, port: int) -> str:
    """Name the listener of a TCP service's port on its virtual address."""
    return f"{vip4}_{port}"


def direct_listener(address: str, port: int) -> str:
    """Name the listener of a registered endpoint's own address."""
    return f"{address}_{port}"


def mesh_port_listener(port: int) -> str:
    """Name the inbound listener that Envoy binds itself (`services[].mesh_port`)."""
    return f"inbound_{port}"


def upstream(address: str, port: int) -> str:
    """Name the listener of an upstream (`upstreams[]`), and its RouteConfiguration."""
    return f"upstream_{address}_{port}"


def declaration(service: str, workload_port: int) -> str:
    """Name one declaration of a host: a service whose port moves has two at a time."""
    return f"{service}:{workload_port}"


def inbound_chain(port: int, match: str) -> str:
    """Name an inbound filter chain: the port, and what the connection must look like."""
    return f"inbound|{port}|{match}"


def identity_socket(identity: Identity) -> str:
    """Name the transport socket that speaks with this identity's certificate."""
    return f"{TLS_MODE_KEY}-{TLS_MODE_MESH}:{identity}"


def http_slot(direction: str, slot: str) -> str:
    """Name a discovered HTTP filter slot, which is also the name of its ECDS resource."""
    return f"hostmesh.{direction}.{slot}"


def outbound_route(port: int) -> str:
    """Name the RouteConfiguration of an outbound HTTP port."""
    return str(port)


def virtual_host(host: str, port: int) -> str:
    """Name a service's virtual host inside a RouteConfiguration."""
    return f"{host}:{port}"


def sni(host: str, port: int, subset: str = "") -> str:
    """Give the default SNI towards a meshed endpoint."""
    return f"outbound_.{port}_.{subset}_.{host}"


def certificate_secret(identity: Identity) -> str:
    """Name the SDS secret that holds a workload's certificate and key."""
    return f"default:{identity}"


def root_secret(trust_domain: str) -> str:
    """Name the SDS secret that holds a trust domain's roots."""
    return f"ROOTCA:{trust_domain}"
