"""A small ADS server for one real Envoy: what is rendered, and secrets, over delta streams."""

import queue
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core import names, type_urls
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.resource import Resource, Resources, resource
from hostmesh_testing.certificates import Authority

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def secrets(authority: Authority, trust_domain: str, *identities: Identity) -> dict[str, Resource]:
    """Make a certificate per identity, and the roots, as the relay answers them."""
    made = {}
    for identity in identities:
        leaf = authority.leaf(uris=(str(SpiffeId.of_workload(trust_domain, identity)),))
        secret = Secret(name=names.certificate_secret(identity))
        secret.tls_certificate.certificate_chain.inline_bytes = leaf.chain_pem
        secret.tls_certificate.private_key.inline_bytes = leaf.key_pem
        made[secret.name] = secret
    roots = Secret(name=names.root_secret(trust_domain))
    roots.validation_context.trusted_ca.inline_bytes = authority.root_pem
    made[roots.name] = roots
    return {
        name: resource(type_urls.SECRET, name, each.SerializeToString())
        for name, each in made.items()
    }


@dataclass
class Served:
    """Rendered resources and secrets as one; `patched` overrides single ones."""

    rendered: Resources
    secrets: Mapping[str, Resource]
    patched: dict[tuple[str, str], Resource] = field(default_factory=dict)

    def get(self, type_url: str, name: str) -> Resource | None:
        if type_url == type_urls.SECRET:
            return self.secrets.get(name)
        return self.patched.get((type_url, name)) or self.rendered.get(type_url, name)

    def names(self, type_url: str) -> Iterable[str]:
        if type_url == type_urls.SECRET:
            return self.secrets
        return [*self.rendered.names(type_url), *(n for t, n in self.patched if t == type_url)]


class AdsServer:
    """Serves `served` on a unix socket and keeps what Envoy refused."""

    def __init__(self, socket: Path, served: Served) -> None:
        self.served = served
        self.refused: list[str] = []
        self.acked: dict[str, int] = {}
        self._lock = threading.Lock()
        self._streams: list[_Stream] = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=DeltaDiscoveryRequest.FromString,
            response_serializer=DeltaDiscoveryResponse.SerializeToString,
        )
        methods = {"DeltaAggregatedResources": handler}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()
        socket.chmod(0o666)

    def changed(self, touched: Mapping[str, Collection[str]]) -> None:
        """Tell every stream of resources that may be different now."""
        with self._lock:
            for stream in self._streams:
                stream.put(stream.state.on_change(touched, self.served))

    def settled(self) -> bool:
        """Tell whether every response was answered."""
        with self._lock:
            urls = type_urls.ORDER
            return bool(self._streams) and not any(
                stream.state.in_flight(url) for stream in self._streams for url in urls
            )

    def stop(self) -> None:
        """End all streams."""
        for stream in self._streams:
            stream.out.put(None)
        self._server.stop(0.2).wait(2.0)

    def _serve(
        self, requests: Iterator[DeltaDiscoveryRequest], context: grpc.ServicerContext
    ) -> Iterator[DeltaDiscoveryResponse]:
        stream = _Stream()
        with self._lock:
            self._streams.append(stream)
        context.add_callback(lambda: stream.out.put(None))
        reader = threading.Thread(target=self._read, args=(requests, stream), daemon=True)
        reader.start()
        return iter(stream.out.get, None)

    def _read(self, requests: Iterator[DeltaDiscoveryRequest], stream: "_Stream") -> None:
        try:
            for request in requests:
                with self._lock:
                    turn = stream.state.on_request(request, self.served)
                    if turn.nacked is not None:
                        self.refused.append(turn.nacked.detail)
                    if turn.acked is not None:
                        short = type_urls.SHORT[request.type_url]
                        self.acked[short] = self.acked.get(short, 0) + 1
                    stream.put(turn.responses)
        except grpc.RpcError:
            stream.out.put(None)
        finally:
            with self._lock:
                if stream in self._streams:
                    self._streams.remove(stream)


class _Stream:
    def __init__(self) -> None:
        # A secret that is not there yet is on its way: silence, as the relay keeps it.
        self.state = DeltaStream(is_absent=lambda type_url, _: type_url != type_urls.SECRET)
        self.out: queue.Queue[DeltaDiscoveryResponse | None] = queue.Queue()

    def put(self, responses: Iterable[DeltaDiscoveryResponse]) -> None:
        for response in responses:
            self.out.put(response)


def bootstrap(socket: Path, admin: Path, *, node: str) -> dict[str, object]:
    """Give a minimal bootstrap: one delta ADS stream on a unix socket, admin on another."""
    xds = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": type_urls.PREFIX
                + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}}]}
            ],
        },
    }
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": node, "cluster": node},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 438}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [xds]},
    }
