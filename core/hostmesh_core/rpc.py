"""gRPC method names and channel arguments, as strings: core imports no grpc."""

DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SOTW_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
HOST_SERVICE = "hostmesh.v1.Host"
HOST_CONNECT = "/hostmesh.v1.Host/Connect"

STREAM_ID_METADATA = "hostmesh-stream-id"
"""Initial metadata of an ADS stream: how the control plane calls it, for `Applied` on the host
stream. It comes at once, so it also proves that a control plane is there and takes the stream."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # The defaults end a stream that pings every 2 s after 8 s: "Too many pings" (measured).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),
    # A stampede of agents after a restart must not be cut (measured: 10-115 of 2000 were).
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    # Failover under 3 s, for RST, DROP and SIGSTOP alike.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 1000),
    # What really ends a silent connection: without it grpcio 1.85 waits a minute for the answer
    # to a ping, whatever the line above says (measured: not noticed in 15 s; with it in 1 to 3 s).
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    # A proxy variable in the environment must not move the mesh's own traffic.
    ("grpc.enable_http_proxy", 0),
    # Reconnects are paced by our own backoff, per control plane.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
