"""Reads the `services:` of agent.yaml: the apps on this host that peers may call."""

from collections import Counter
from collections.abc import Iterator

from hostmesh_agent.config import CheckKind, HealthCheck, ServiceConfig
from hostmesh_core.addresses import is_ip, split_host_port
from hostmesh_core.ids import is_dns_label, is_dns_name
from hostmesh_core.model import MAX_PORTS, MAX_SERVICES, InboundMode, Protocol, labels_of
from hostmesh_core.sections import Section


def parse(top: Section, reserved: dict[int, str]) -> tuple[ServiceConfig, ...]:
    """Read `services:`; `reserved` are the proxy's own ports and what they are for."""
    found: list[ServiceConfig] = []
    seen: dict[str, str] = {}
    for section in top.sections("services"):
        service = _service(section, reserved)
        found.append(service)
        for key, claim in _claims(section, service):
            if claim in seen:
                section.refuse(key, f"{claim} is already that of {seen[claim]}")
            seen.setdefault(claim, section.name)
    _check_count(top, found)
    return tuple(found)


def _check_count(top: Section, found: list[ServiceConfig]) -> None:
    """Refuse what the control plane would."""
    if len(found) > MAX_SERVICES:
        top.refuse("services", f"at most {MAX_SERVICES}")
    for name, count in Counter(service.name for service in found).items():
        if name and count > MAX_PORTS:
            top.refuse("services", f"{name} is there {count} times, at most {MAX_PORTS} ports")


def _claims(section: Section, service: ServiceConfig) -> Iterator[tuple[str, str]]:
    """Name what only one entry may have, and the key that says so; nothing of what is unread."""
    if section.usable("name", "port", "service_port"):
        yield "name", f"{service.name}:{service.dialled_port}"
    if section.usable("port", "mesh_port"):
        yield ("mesh_port" if service.mesh_port else "port"), f"port {service.endpoint_port}"


def _service(section: Section, reserved: dict[int, str]) -> ServiceConfig:
    service = ServiceConfig(
        name=_service_name(section),
        port=section.port("port"),
        protocol=section.maybe_choice("protocol", Protocol),
        service_port=section.port("service_port", default=0),
        address=section.text("address", default=""),
        listen=section.text("listen", default=""),
        mesh_port=section.port("mesh_port", default=0),
        server_first=section.boolean("server_first", default=False),
        inbound=section.maybe_choice("inbound", InboundMode),
        namespace=_label(section, "namespace"),
        service_account=_label(section, "service_account"),
        labels=labels_of(section.mapping("labels")),
        weight=section.integer("weight", low=1, high=65535, default=1),
        health=_health(section.section("health")),
    )
    _check_service(section, service, reserved)
    return service


def _service_name(section: Section) -> str:
    name = section.text("name")
    if name and not is_dns_name(name):
        section.refuse("name", f"{name!r} is no DNS name in lower case")
    return name


def _label(section: Section, key: str) -> str:
    text = section.text(key, default="")
    if text and not is_dns_label(text):
        section.refuse(key, f"{text!r} is no DNS label in lower case")
    return text


def _check_service(section: Section, service: ServiceConfig, reserved: dict[int, str]) -> None:
    if service.address and not is_ip(service.address):
        section.refuse("address", f"{service.address!r} is not an IP address")
    for key, port in (("port", service.port), ("mesh_port", service.mesh_port)):
        if port in reserved:
            section.refuse(key, f"{port} is the proxy's own ({reserved[port]})")
    port_is_read = section.usable("port")
    if port_is_read and service.mesh_port and service.mesh_port == service.port:
        words = "the app has this port already; Envoy needs another, or leave mesh_port out"
        section.refuse("mesh_port", words)
    if port_is_read and service.listen:
        section.attempt(lambda: _check_listen(service), key="listen")
    if service.server_first:
        _check_server_first(section, service)


def _check_listen(service: ServiceConfig) -> None:
    host, port = split_host_port(service.listen)
    if not is_ip(host):
        raise ValueError(f"{host!r} is not an IP address")
    if port != service.port:
        raise ValueError(f"port {port} differs from port: {service.port}")


def _check_server_first(section: Section, service: ServiceConfig) -> None:
    if service.protocol is not None and service.protocol.is_http:
        words = f"clients of {service.protocol.value} speak first; only tcp can be server first"
        section.refuse("server_first", words)
    if service.inbound is InboundMode.PERMISSIVE:
        words = (
            "needs inbound: strict or disable; permissive waits for the client's first bytes to "
            "tell TLS from plaintext, and this client waits for the server's"
        )
        section.refuse("server_first", words)


def _health(section: Section) -> HealthCheck:
    default = HealthCheck()
    check = HealthCheck(
        kind=section.choice("kind", CheckKind, default=default.kind),
        path=section.text("path", default=default.path),
        interval_seconds=section.number("interval_seconds", low=0.1, high=3600, default=2.0),
        timeout_seconds=section.number("timeout_seconds", low=0.05, high=600, default=1.0),
        unhealthy_after=section.integer("unhealthy_after", low=1, high=100, default=2),
        healthy_after=section.integer("healthy_after", low=1, high=100, default=1),
    )
    if not check.path.startswith("/"):
        section.refuse("path", f"expected a path that starts with /, not {check.path!r}")
    if section.has("path") and check.kind is not CheckKind.HTTP:
        section.refuse("path", "only kind: http asks for a path")
    if check.timeout_seconds > check.interval_seconds:
        words = f"longer than interval_seconds {check.interval_seconds:g}: checks would overlap"
        section.refuse("timeout_seconds", words)
    return check
