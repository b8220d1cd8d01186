"""A real ADS server over mutual TLS with a set of resources behind it, and a real Envoy."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)
from google.protobuf import json_format
from google.protobuf.message import Message

from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_controlplane.edges import ads_server, mesh_server
from hostmesh_controlplane.edges.ads_server import Push
from hostmesh_controlplane.edges.mesh_server import ServingCertificate
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_core import type_urls
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.reports import Acked, Nacked
from hostmesh_core.xds.resource import Resource, resource
from hostmesh_testing.certificates import Authority, Leaf, authority
from hostmesh_testing.xds import World

TARGET = "control-plane.mesh.internal"
HOST_ID = "spiffe://mesh.internal/hostmesh/host/" + "a" * 32
ENVOY = Path(next(iter(envoy.__path__))) / "_bin" / "envoy"
TYPE = type_urls.PREFIX
# The messages have to be imported for their JSON form to be read.
_USED = (router_pb2, http_connection_manager_pb2, tls_pb2, http_protocol_options_pb2)
ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


class Session:
    """One agent's stream, served from the bench's world."""

    def __init__(self, bench: "ControlPlane", peer: Peer, push: Push[Any]) -> None:
        self.bench = bench
        self.peer = peer
        self.push = push
        self.stream = DeltaStream()
        self.requests: list[DeltaDiscoveryRequest] = []
        self.acked: list[Acked] = []
        self.nacked: list[Nacked] = []
        self.sent = 0
        self.open = True

    def request(self, request: DeltaDiscoveryRequest) -> Sequence[DeltaDiscoveryResponse]:
        self.requests.append(request)
        if self.bench.mute:
            return ()
        turn = self.stream.on_request(request, self.bench.world)
        self.acked += [turn.acked] if turn.acked else []
        self.nacked += [turn.nacked] if turn.nacked else []
        self.sent += sum(len(response.resources) for response in turn.responses)
        return turn.responses

    def closed(self) -> None:
        self.open = False


@dataclass
class ControlPlane:
    """A control plane that serves `world` to whoever has a certificate of `root`."""

    root: Authority = field(default_factory=authority)
    world: World = field(default_factory=World)
    sessions: list[Session] = field(default_factory=list)
    port: int = 0
    mute: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_sessions(self) -> list[Session]:
        return [session for session in self.sessions if session.open]

    def credentials(self, leaf: Leaf | None = None) -> Credentials:
        leaf = leaf or self.root.leaf(uris=(HOST_ID,))
        return Credentials(leaf.key_pem, leaf.chain_pem, self.root.root_pem, TARGET)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ControlPlane"]:
        """Serve; on the port of the last time, if there was one."""
        leaf = self.root.leaf(dns=(TARGET,))
        serving = ServingCertificate(leaf.key_pem, leaf.chain_pem, self.root.root_pem)
        async with mesh_server.serve(
            [self.address],
            current=lambda: serving,
            handlers=[ads_server.ads_handlers(self._accept)],
        ) as (port,):
            self.port = port
            yield self

    def put(self, *items: Resource) -> None:
        """Change resources and push them to every stream at once."""
        changed: dict[str, set[str]] = {}
        for item in items:
            self.world.put(item)
            changed.setdefault(item.type_url, set()).add(item.name)
        self.push(changed)

    def drop(self, type_url: str, *names: str) -> None:
        """Take resources away and push that."""
        for name in names:
            self.world.drop(type_url, name)
        self.push({type_url: set(names)})

    def push(self, changed: Mapping[str, set[str]]) -> None:
        for session in self.open_sessions:
            session.push.send(session.stream.on_change(changed, self.world))

    def _accept(self, peer: Peer, push: Push[Any]) -> Session:
        self.sessions.append(Session(self, peer, push))
        return self.sessions[-1]


@dataclass
class Envoy:
    """A running Envoy."""

    process: asyncio.subprocess.Process
    admin: str

    async def ask(self, path: str) -> str:
        """Ask the admin; empty while it does not answer."""
        return await http("unix:" + self.admin, path)

    async def clusters(self, kind: str) -> set[str]:
        """Name the clusters of `dynamic_active_clusters` or `dynamic_warming_clusters`."""
        text = await self.ask(f"/config_dump?resource={kind}")
        return {item["cluster"]["name"] for item in json.loads(text).get("configs", ())}

    async def counter(self, name: str) -> int:
        text = await self.ask(f"/stats?filter=^{name}$")
        return int(text.rpartition(": ")[2] or 0)

    @property
    def lives(self) -> bool:
        return self.process.returncode is None


@asynccontextmanager
async def running_envoy(folder: Path, xds_socket: str, *, base_id: int) -> AsyncIterator[Envoy]:
    """Start an Envoy that gets everything over the socket; it ends when left."""
    admin = str(folder / "admin.sock")
    config = folder / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(admin, xds_socket)))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(config), "--base-id", str(base_id), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "warning",
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield Envoy(process, admin)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def bootstrap(admin: str, xds_socket: str) -> dict[str, Any]:
    """Give Envoy's bootstrap: one delta ADS stream to the relay, and nothing else."""
    grpc_service = {
        "envoy_grpc": {
            "cluster_name": "relay",
            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}},
        }
    }
    h2 = {
        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    relay = {"endpoint": {"address": {"pipe": {"path": xds_socket}}}}
    return {
        "node": {"id": "test", "cluster": "test", "metadata": {"hostmesh_epoch": 0}},
        "admin": {"address": {"pipe": {"path": admin}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [grpc_service],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "relay",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": h2
                    },
                    "load_assignment": {
                        "cluster_name": "relay",
                        "endpoints": [{"lb_endpoints": [relay]}],
                    },
                }
            ]
        },
    }


@asynccontextmanager
async def backend(answer: str) -> AsyncIterator[int]:
    """Serve `answer` over HTTP on a loopback port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + answer.encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return  # the Envoy that asked was ended with its test
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def http(address: str, path: str = "/") -> str:
    """GET; gives the body, or `STATUS body` where it is not 200, or "" without an answer."""
    try:
        if address.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        received = await reader.read()
        writer.close()
    except OSError:
        return ""
    head, _, body = received.decode().partition("\r\n\r\n")
    status = head.split(" ")[1] if head else ""
    if "transfer-encoding: chunked" in head:
        body = _dechunked(body)
    return body if status == "200" else f"{status} {body}".strip()


def _dechunked(body: str) -> str:
    text = ""
    while body:
        size, _, body = body.partition("\r\n")
        length = int(size or "0", 16)
        text, body = text + body[:length], body[length + 2 :]
    return text


def free_port() -> int:
    """Find a loopback port that is free now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Resources that make a path from a listener to a backend


def _built(type_url: str, name: str, message: Message, content: Mapping[str, Any]) -> Resource:
    json_format.ParseDict(dict(content), message)
    return resource(type_url, name, message.SerializeToString(deterministic=True))


def eds_cluster(name: str, *, secret: str = "", timeout: str = "1s") -> Resource:
    """An EDS cluster over ADS; with `secret` it speaks TLS with that certificate."""
    content: dict[str, Any] = {
        "name": name,
        "type": "EDS",
        "connect_timeout": timeout,
        "eds_cluster_config": {"eds_config": ADS},
    }
    if secret:
        tls = {"tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": ADS}]}
        content["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": tls,
            },
        }
    return _built(type_urls.CLUSTER, name, Cluster(), content)


def endpoints(name: str, *ports: int) -> Resource:
    """Loopback endpoints of a cluster."""
    listed = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    content = {"cluster_name": name, "endpoints": [{"lb_endpoints": listed}]}
    return _built(type_urls.ENDPOINT, name, ClusterLoadAssignment(), content)


def http_listener(name: str, port: int, route: str) -> Resource:
    """A listener on loopback whose routes come by RDS."""
    router = {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": TYPE
        + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": route, "config_source": ADS},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    content = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return _built(type_urls.LISTENER, name, Listener(), content)


def tcp_listener(name: str, port: int, cluster: str) -> Resource:
    """A listener on loopback that passes bytes on to a cluster."""
    proxy = {
        "@type": TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": cluster,
    }
    content = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }
    return _built(type_urls.LISTENER, name, Listener(), content)


def route(name: str, cluster: str, *, prefix: str = "/", regex: str = "") -> Resource:
    """A route configuration that leads everything (or what the regex matches) to one cluster."""
    match = {"safe_regex": {"regex": regex}} if regex else {"prefix": prefix}
    to = {"match": match, "route": {"cluster": cluster}}
    content = {
        "name": name,
        "validate_clusters": False,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [to]}],
    }
    return _built(type_urls.ROUTE, name, RouteConfiguration(), content)


def certificate_secret(name: str, leaf: Leaf) -> Resource:
    """A TLS certificate as an SDS secret."""
    secret = secret_pb2.Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = leaf.chain_pem
    secret.tls_certificate.private_key.inline_bytes = leaf.key_pem
    return resource(type_urls.SECRET, name, secret.SerializeToString(deterministic=True))


def own_base_id() -> int:
    """Give a base-id that no other test uses."""
    return os.getpid() % 30000
