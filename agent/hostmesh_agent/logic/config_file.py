"""Reads agent.yaml: text in, `AgentConfig` out, or every problem of the file at once (BadInput)."""

import ipaddress
from collections import Counter
from functools import partial

from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CaptureConfig,
    DnsMode,
    EnvoyConfig,
    NamesConfig,
    OnEnvoyDown,
    OutboundConfig,
    PortsConfig,
    Upstream,
)
from hostmesh_agent.logic import config_services
from hostmesh_core import instances, ports
from hostmesh_core.addresses import is_ip, split_host_port
from hostmesh_core.host_layout import DEFAULT_INSTANCE
from hostmesh_core.ids import Identity, is_dns_name
from hostmesh_core.sections import Section, load_section

VERSION = 1
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_FIXED_PORTS = {
    **dict.fromkeys(ports.IDENTITY_POOL, "outbound capture"),
    ports.XDS: "a control plane's xDS",
    ports.ENROLMENT: "a control plane's enrolment",
    ports.DNS: "DNS",
}
"""Ports that no service of this host may have, whatever `ports:` says."""
MAX_UPSTREAMS = 64
_WIDEST = {4: 12, 6: 48}
"""Prefix lengths: a wider range of virtual addresses would swallow somebody's real ones."""
_MAX_UID = 2**32 - 2


def parse(text: str, *, file: str) -> AgentConfig:
    """Read agent.yaml. Raises BadInput: a line for each problem, with file, line, object, key."""
    top = load_section(text, file=file)
    top.integer("version", low=VERSION, high=VERSION, default=VERSION)
    instance = _instance(top)
    own_ports = _ports(top, instance)
    reserved = _reserved(own_ports)
    config = AgentConfig(
        control_planes=_control_planes(top),
        services=config_services.parse(top, reserved),
        instance=instance,
        enrolment=top.parsed("enrolment", _enrolment, default=None),
        ports=own_ports,
        capture=_capture(top.section("capture")),
        dns=top.choice("dns", DnsMode, default=DnsMode.HOSTS),
        names=_names(top.section("names")),
        outbound=_outbound(top.section("outbound")),
        envoy=_envoy(top.section("envoy")),
        upstreams=_upstreams(top, reserved),
    )
    _check_together(top, config)
    top.done()
    return config


def _address(text: str, *, default_port: int = 0) -> Address:
    host, port = split_host_port(text, default_port=default_port)
    return Address(host=host, port=port)


def _control_plane(text: str) -> Address:
    return _address(text, default_port=ports.XDS)


def _enrolment(text: str) -> Address | None:
    return _address(text, default_port=ports.ENROLMENT)


def _instance(top: Section) -> str:
    instance = top.text("instance", default=DEFAULT_INSTANCE)
    if not instances.is_instance(instance):
        top.refuse("instance", instances.FORM)
    return instance


def _control_planes(top: Section) -> tuple[Address, ...]:
    found: list[Address] = []
    for text in top.texts("control_planes"):
        address = top.attempt(partial(_control_plane, text), key="control_planes")
        if address is not None and address in found:
            top.refuse("control_planes", f"{address} is here twice")
        elif address is not None:
            found.append(address)
    if not top.has("control_planes"):
        top.missing("control_planes", "for example [cp1.example.net:15012]")
    elif not top.texts("control_planes"):
        top.refuse("control_planes", "expected at least one, for example cp1.example.net:15012")
    return tuple(found)


def _ports(top: Section, instance: str) -> PortsConfig:
    section = top.section("ports")
    default = PortsConfig()
    own = PortsConfig(
        outbound=section.port("outbound", default=default.outbound),
        inbound=section.port("inbound", default=default.inbound),
        status=section.port("status", default=default.status),
        readiness=section.port("readiness", default=default.readiness),
        prometheus=section.port("prometheus", default=default.prometheus),
    )
    stated = _by_name(own)
    if instance != DEFAULT_INSTANCE:
        missing = [name for name in stated if not section.has(name)]
        if missing:
            words = f"{instance!r} has to state its own ports; not there: {', '.join(missing)}"
            top.refuse("instance", words)
    for number, count in Counter(stated.values()).items():
        if count > 1:
            names = ", ".join(name for name, port in stated.items() if port == number)
            top.refuse("ports", f"{number} is used {count} times ({names})")
    return own


def _by_name(own: PortsConfig) -> dict[str, int]:
    return {
        "outbound": own.outbound,
        "inbound": own.inbound,
        "status": own.status,
        "readiness": own.readiness,
        "prometheus": own.prometheus,
    }


def _reserved(own: PortsConfig) -> dict[int, str]:
    return _FIXED_PORTS | {number: f"ports.{name}" for name, number in _by_name(own).items()}


def _capture(section: Section) -> CaptureConfig:
    default = CaptureConfig()
    return CaptureConfig(
        enabled=section.boolean("enabled", default=True),
        mode=section.word("mode", ["mesh"], default="mesh"),
        exclude_inbound_ports=section.integers("exclude_inbound_ports", low=1, high=65535),
        exclude_outbound_ports=section.integers("exclude_outbound_ports", low=1, high=65535),
        exclude_outbound_cidrs=_cidrs(section, "exclude_outbound_cidrs", ()),
        exclude_uids=section.integers("exclude_uids", low=0, high=_MAX_UID),
        endpoint_cidrs=_cidrs(section, "endpoint_cidrs", default.endpoint_cidrs),
        vip4_range=_range(section, "vip4_range", default.vip4_range, version=4),
        vip6_range=_range(section, "vip6_range", default.vip6_range, version=6),
        on_envoy_down_inbound=section.maybe_choice("on_envoy_down_inbound", OnEnvoyDown),
        on_envoy_down_outbound=section.choice(
            "on_envoy_down_outbound", OnEnvoyDown, default=OnEnvoyDown.OPEN
        ),
    )


def _cidrs(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    texts = section.texts(key, default=default)
    networks = (section.attempt(partial(ipaddress.ip_network, text), key=key) for text in texts)
    return tuple(str(network) for network in networks if network is not None)


def _range(section: Section, key: str, default: str, *, version: int) -> str:
    text = section.text(key, default=default)
    network = section.attempt(partial(ipaddress.ip_network, text), key=key)
    if network is not None and network.version != version:
        section.refuse(key, f"expected an IPv{version} network, not {text!r}")
    elif network is not None and network.prefixlen < _WIDEST[version]:
        widest = _WIDEST[version]
        section.refuse(key, f"expected /{widest} or narrower: all of it is captured, not {text!r}")
    return str(network or default)


def _names(section: Section) -> NamesConfig:
    names = section.texts("take_over")
    for name in names:
        if not is_dns_name(name):
            section.refuse("take_over", f"{name!r} is no DNS name in lower case")
    return NamesConfig(take_over=names)


def _outbound(section: Section) -> OutboundConfig:
    identity = section.parsed("default_identity", _identity, default=None)
    return OutboundConfig(default_identity=identity)


def _identity(text: str) -> Identity | None:
    return Identity.parse(text)


def _envoy(section: Section) -> EnvoyConfig:
    default = EnvoyConfig()

    def seconds(key: str, default_value: float, low: float = 0.1) -> float:
        return section.number(key, low=low, high=86400, default=default_value)

    values = {
        "ready_seconds": seconds("ready_seconds", default.ready_seconds),
        "settle_seconds": seconds("settle_seconds", default.settle_seconds),
        "drain_seconds": seconds("drain_seconds", default.drain_seconds, low=1),
        "stop_seconds": seconds("stop_seconds", default.stop_seconds, low=1),
        "parent_shutdown_seconds": seconds(
            "parent_shutdown_seconds", default.parent_shutdown_seconds, low=1
        ),
    }
    concurrency = section.integer("concurrency", low=1, high=1024, default=default.concurrency)
    level = section.word("log_level", _LEVELS, default=default.log_level)
    binary = section.text("binary", default="")
    if binary and not binary.startswith("/"):
        section.refuse("binary", f"expected an absolute path, not {binary!r}")
    if values["stop_seconds"] < values["drain_seconds"]:
        words = f"shorter than drain_seconds {values['drain_seconds']:g}: it would cut the drain"
        section.refuse("stop_seconds", words)
        return default
    if values["parent_shutdown_seconds"] < values["drain_seconds"]:
        words = f"shorter than drain_seconds {values['drain_seconds']:g}: it would cut the drain"
        section.refuse("parent_shutdown_seconds", words)
    return EnvoyConfig(binary=binary, concurrency=concurrency, log_level=level, **values)


def _upstreams(top: Section, reserved: dict[int, str]) -> tuple[Upstream, ...]:
    found: list[Upstream] = []
    sections = top.sections("upstreams")
    if len(sections) > MAX_UPSTREAMS:
        top.refuse("upstreams", f"at most {MAX_UPSTREAMS}")
    for section in sections:
        service = _service_name_of_upstream(section)
        port = section.port("port")
        listen = section.parsed("listen", _listen, default=None)
        if listen is None and not section.has("listen"):
            section.missing("listen", "for example 127.0.0.1:9080")
        if listen is None:
            continue
        if listen.port in reserved:
            section.refuse("listen", f"{listen.port} is the proxy's own ({reserved[listen.port]})")
        if any(other.listen == listen for other in found):
            section.refuse("listen", f"{listen} is here twice")
        found.append(Upstream(service=service, port=port, listen=listen))
    return tuple(found)


def _service_name_of_upstream(section: Section) -> str:
    name = section.text("service")
    if name and not is_dns_name(name):
        section.refuse("service", f"{name!r} is no DNS name in lower case")
    return name


def _listen(text: str) -> Address | None:
    address = _address(text)
    if not is_ip(address.host):
        raise ValueError(f"{address.host!r} is not an IP address")
    if ipaddress.ip_address(address.host).is_unspecified:
        raise ValueError(f"{address.host} would lend this host's identity to everybody")
    return address


def _check_together(top: Section, config: AgentConfig) -> None:
    """Refuse what contradicts itself across sections."""
    capture = top.section("capture")
    for position, service in enumerate(config.services):
        subject = f"services[{position}] ({service.name})"
        if not config.capture.enabled and not service.mesh_port:
            words = f"false leads no caller to {subject}: it needs a mesh_port that Envoy binds"
            capture.refuse("enabled", words)
        if service.port in config.capture.exclude_inbound_ports:
            capture.refuse("exclude_inbound_ports", f"{service.port} is the port of {subject}")
        for upstream in config.upstreams:
            if upstream.listen.port == service.mesh_port:
                words = f"{upstream.listen} has the mesh_port of {subject}"
                top.refuse("upstreams", words)
