"""xDS type URLs, and the order in which a proxy must learn of them (removals: reversed)."""

PREFIX = "type.googleapis.com/"

SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = PREFIX + "envoy.config.route.v3.VirtualHost"
EXTENSION_CONFIG = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"

ORDER = (SECRET, CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, VIRTUAL_HOST)
"""ECDS comes before LDS and RDS: a slot must have its substance before a route enables it."""

SHORT = {
    SECRET: "SDS",
    CLUSTER: "CDS",
    ENDPOINT: "EDS",
    EXTENSION_CONFIG: "ECDS",
    LISTENER: "LDS",
    ROUTE: "RDS",
    VIRTUAL_HOST: "VHDS",
}
"""What tables and logs call them."""
