from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_HEALTHY: _ClassVar[Status]
    STATUS_UNHEALTHY: _ClassVar[Status]
    STATUS_NOT_CAPTURED: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_HEALTHY: Status
STATUS_UNHEALTHY: Status
STATUS_NOT_CAPTURED: Status

class Up(_message.Message):
    __slots__ = ("seq", "ack", "hello", "register", "renew", "health", "certificate_request", "applied", "rejected", "use", "drain", "answer", "callers")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    ack: int
    hello: Hello
    register: Register
    renew: Renew
    health: HealthReport
    certificate_request: CertificateRequest
    applied: Applied
    rejected: Rejected
    use: Use
    drain: Drain
    answer: Answer
    callers: Callers
    def __init__(self, seq: _Optional[int] = ..., ack: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., register: _Optional[_Union[Register, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., health: _Optional[_Union[HealthReport, _Mapping]] = ..., certificate_request: _Optional[_Union[CertificateRequest, _Mapping]] = ..., applied: _Optional[_Union[Applied, _Mapping]] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., use: _Optional[_Union[Use, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., callers: _Optional[_Union[Callers, _Mapping]] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("seq", "ack", "welcome", "issue", "revoked", "drained", "query", "pace", "verdict")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ISSUE_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    ack: int
    welcome: Welcome
    issue: Issue
    revoked: Revoked
    drained: Drained
    query: Query
    pace: Pace
    verdict: Verdict
    def __init__(self, seq: _Optional[int] = ..., ack: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., issue: _Optional[_Union[Issue, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., drained: _Optional[_Union[Drained, _Mapping]] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., pace: _Optional[_Union[Pace, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "features", "session", "last_seen", "agent_version", "envoy_version", "hostname", "address_proof", "replica")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVOY_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_PROOF_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    features: _containers.RepeatedScalarFieldContainer[str]
    session: bytes
    last_seen: int
    agent_version: str
    envoy_version: str
    hostname: str
    address_proof: bool
    replica: bytes
    def __init__(self, protocol: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., session: _Optional[bytes] = ..., last_seen: _Optional[int] = ..., agent_version: _Optional[str] = ..., envoy_version: _Optional[str] = ..., hostname: _Optional[str] = ..., address_proof: _Optional[bool] = ..., replica: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "features", "last_seen", "lease_seconds", "renew_seconds", "peer_address", "stream_id", "grant_json", "trust_domain", "replica")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RENEW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_JSON_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    features: _containers.RepeatedScalarFieldContainer[str]
    last_seen: int
    lease_seconds: float
    renew_seconds: float
    peer_address: str
    stream_id: str
    grant_json: bytes
    trust_domain: str
    replica: bytes
    def __init__(self, protocol: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., last_seen: _Optional[int] = ..., lease_seconds: _Optional[float] = ..., renew_seconds: _Optional[float] = ..., peer_address: _Optional[str] = ..., stream_id: _Optional[str] = ..., grant_json: _Optional[bytes] = ..., trust_domain: _Optional[str] = ..., replica: _Optional[bytes] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("services", "generation", "outbound", "host_addresses", "upstreams", "ports", "explicit_mode")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OUTBOUND_FIELD_NUMBER: _ClassVar[int]
    HOST_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    UPSTREAMS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    EXPLICIT_MODE_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceRegistration]
    generation: int
    outbound: _containers.RepeatedCompositeFieldContainer[OutboundIdentity]
    host_addresses: _containers.RepeatedScalarFieldContainer[str]
    upstreams: _containers.RepeatedCompositeFieldContainer[Upstream]
    ports: EnvoyPorts
    explicit_mode: bool
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceRegistration, _Mapping]]] = ..., generation: _Optional[int] = ..., outbound: _Optional[_Iterable[_Union[OutboundIdentity, _Mapping]]] = ..., host_addresses: _Optional[_Iterable[str]] = ..., upstreams: _Optional[_Iterable[_Union[Upstream, _Mapping]]] = ..., ports: _Optional[_Union[EnvoyPorts, _Mapping]] = ..., explicit_mode: _Optional[bool] = ...) -> None: ...

class Upstream(_message.Message):
    __slots__ = ("service", "port", "listen_address", "listen_port")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    LISTEN_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LISTEN_PORT_FIELD_NUMBER: _ClassVar[int]
    service: str
    port: int
    listen_address: str
    listen_port: int
    def __init__(self, service: _Optional[str] = ..., port: _Optional[int] = ..., listen_address: _Optional[str] = ..., listen_port: _Optional[int] = ...) -> None: ...

class EnvoyPorts(_message.Message):
    __slots__ = ("outbound", "inbound", "status", "readiness", "prometheus")
    OUTBOUND_FIELD_NUMBER: _ClassVar[int]
    INBOUND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    READINESS_FIELD_NUMBER: _ClassVar[int]
    PROMETHEUS_FIELD_NUMBER: _ClassVar[int]
    outbound: int
    inbound: int
    status: int
    readiness: int
    prometheus: int
    def __init__(self, outbound: _Optional[int] = ..., inbound: _Optional[int] = ..., status: _Optional[int] = ..., readiness: _Optional[int] = ..., prometheus: _Optional[int] = ...) -> None: ...

class ServiceRegistration(_message.Message):
    __slots__ = ("service", "namespace", "service_account", "port", "endpoint_port", "workload_port", "protocol", "server_first", "addresses", "labels", "weight", "inbound_mode", "listen", "health", "region", "zone", "network", "declared_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_PORT_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIRST_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    INBOUND_MODE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    DECLARED_ONLY_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    service_account: str
    port: int
    endpoint_port: int
    workload_port: int
    protocol: str
    server_first: bool
    addresses: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    weight: int
    inbound_mode: str
    listen: str
    health: Status
    region: str
    zone: str
    network: str
    declared_only: bool
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ..., port: _Optional[int] = ..., endpoint_port: _Optional[int] = ..., workload_port: _Optional[int] = ..., protocol: _Optional[str] = ..., server_first: _Optional[bool] = ..., addresses: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., weight: _Optional[int] = ..., inbound_mode: _Optional[str] = ..., listen: _Optional[str] = ..., health: _Optional[_Union[Status, str]] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ..., network: _Optional[str] = ..., declared_only: _Optional[bool] = ...) -> None: ...

class OutboundIdentity(_message.Message):
    __slots__ = ("capture_port", "namespace", "service_account")
    CAPTURE_PORT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    capture_port: int
    namespace: str
    service_account: str
    def __init__(self, capture_port: _Optional[int] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("generation", "services", "notes")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    services: _containers.RepeatedCompositeFieldContainer[ServiceVerdict]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generation: _Optional[int] = ..., services: _Optional[_Iterable[_Union[ServiceVerdict, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ServiceVerdict(_message.Message):
    __slots__ = ("service", "port", "accepted", "reason", "addresses", "host", "state", "meshed", "endpoints", "workload_port", "inbound", "registered")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESHED_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_PORT_FIELD_NUMBER: _ClassVar[int]
    INBOUND_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    service: str
    port: int
    accepted: bool
    reason: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    host: str
    state: str
    meshed: int
    endpoints: int
    workload_port: int
    inbound: str
    registered: bool
    def __init__(self, service: _Optional[str] = ..., port: _Optional[int] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., host: _Optional[str] = ..., state: _Optional[str] = ..., meshed: _Optional[int] = ..., endpoints: _Optional[int] = ..., workload_port: _Optional[int] = ..., inbound: _Optional[str] = ..., registered: _Optional[bool] = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthReport(_message.Message):
    __slots__ = ("service", "namespace", "workload_port", "status", "reason")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_PORT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    workload_port: int
    status: Status
    reason: str
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., workload_port: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class CertificateRequest(_message.Message):
    __slots__ = ("request_id", "csr_der", "namespace", "service_account")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    csr_der: bytes
    namespace: str
    service_account: str
    def __init__(self, request_id: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ...) -> None: ...

class Issue(_message.Message):
    __slots__ = ("request_id", "chain_der", "bundles", "refused", "namespace", "service_account", "renew_from", "renew_to")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    RENEW_FROM_FIELD_NUMBER: _ClassVar[int]
    RENEW_TO_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    bundles: _containers.RepeatedCompositeFieldContainer[Bundle]
    refused: str
    namespace: str
    service_account: str
    renew_from: float
    renew_to: float
    def __init__(self, request_id: _Optional[str] = ..., chain_der: _Optional[_Iterable[bytes]] = ..., bundles: _Optional[_Iterable[_Union[Bundle, _Mapping]]] = ..., refused: _Optional[str] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ..., renew_from: _Optional[float] = ..., renew_to: _Optional[float] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("trust_domain", "roots_der")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, trust_domain: _Optional[str] = ..., roots_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Applied(_message.Message):
    __slots__ = ("type_url", "version", "stream_id")
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    type_url: str
    version: str
    stream_id: str
    def __init__(self, type_url: _Optional[str] = ..., version: _Optional[str] = ..., stream_id: _Optional[str] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("type_url", "name", "version", "detail", "stream_id")
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    type_url: str
    name: str
    version: str
    detail: str
    stream_id: str
    def __init__(self, type_url: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., detail: _Optional[str] = ..., stream_id: _Optional[str] = ...) -> None: ...

class Use(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class Callers(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceCallers]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceCallers, _Mapping]]] = ...) -> None: ...

class ServiceCallers(_message.Message):
    __slots__ = ("service", "namespace", "workload_port", "since", "plaintext", "mutual_tls", "last_plaintext", "callers")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_PORT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    MUTUAL_TLS_FIELD_NUMBER: _ClassVar[int]
    LAST_PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    workload_port: int
    since: float
    plaintext: int
    mutual_tls: int
    last_plaintext: float
    callers: _containers.RepeatedCompositeFieldContainer[PlaintextCaller]
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., workload_port: _Optional[int] = ..., since: _Optional[float] = ..., plaintext: _Optional[int] = ..., mutual_tls: _Optional[int] = ..., last_plaintext: _Optional[float] = ..., callers: _Optional[_Iterable[_Union[PlaintextCaller, _Mapping]]] = ...) -> None: ...

class PlaintextCaller(_message.Message):
    __slots__ = ("address", "requests", "first_seen", "last_seen")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    address: str
    requests: int
    first_seen: float
    last_seen: float
    def __init__(self, address: _Optional[str] = ..., requests: _Optional[int] = ..., first_seen: _Optional[float] = ..., last_seen: _Optional[float] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[str]] = ...) -> None: ...

class Drained(_message.Message):
    __slots__ = ("services", "complete")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    complete: bool
    def __init__(self, services: _Optional[_Iterable[str]] = ..., complete: _Optional[bool] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("query_id", "kind", "args", "deadline_ms", "max_bytes")
    class ArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    kind: str
    args: _containers.ScalarMap[str, str]
    deadline_ms: int
    max_bytes: int
    def __init__(self, query_id: _Optional[str] = ..., kind: _Optional[str] = ..., args: _Optional[_Mapping[str, str]] = ..., deadline_ms: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("query_id", "body", "error", "truncated")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    body: bytes
    error: str
    truncated: bool
    def __init__(self, query_id: _Optional[str] = ..., body: _Optional[bytes] = ..., error: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Pace(_message.Message):
    __slots__ = ("renew_seconds", "report_seconds")
    RENEW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REPORT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    renew_seconds: float
    report_seconds: float
    def __init__(self, renew_seconds: _Optional[float] = ..., report_seconds: _Optional[float] = ...) -> None: ...
