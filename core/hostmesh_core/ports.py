"""Well-known ports. The numbers are those that Istio's users, dashboards and firewalls know."""

OUTBOUND_CAPTURE = 15001
INBOUND_CAPTURE = 15006
IDENTITY_POOL = tuple(range(15101, 15165))
"""Further outbound capture ports, one per identity beyond the default one."""
AGENT_STATUS = 15020
READINESS = 15021
DNS = 15053
ENVOY_PROMETHEUS = 15090
ENVOYS_OWN = frozenset(
    (OUTBOUND_CAPTURE, INBOUND_CAPTURE, *IDENTITY_POOL, AGENT_STATUS, READINESS, ENVOY_PROMETHEUS)
)
"""What a host's Envoy and agent bind: no service can be served or shared on these."""

XDS = 15012
ENROLMENT = 15013
CONTROL_PLANE_METRICS = 15014
OPERATOR_REST = 15080
