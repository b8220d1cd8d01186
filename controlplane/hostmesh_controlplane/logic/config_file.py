"""Reads controlplane.yaml: text in, `ControlPlaneConfig` out, or all its problems (BadInput)."""

import ipaddress
from functools import partial

from hostmesh_controlplane.config import (
    CertificateAuthority,
    ConsulSource,
    ConsulTls,
    ControlPlaneConfig,
    Listen,
    Source,
    StaticSource,
)
from hostmesh_core.addresses import is_ip, split_host_port
from hostmesh_core.documents import did_you_mean
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN, is_dns_label, is_dns_name
from hostmesh_core.model import InboundMode
from hostmesh_core.sections import Section, load_section

VERSION = 1
SOURCE_KINDS = ("static", "consul")
PRECEDENCE_KINDS = ("static", "registered", "nomad", "consul")
RESERVED_SOURCE_NAMES = ("registered",)
"""Shown in tables as the source of what hosts register."""
_HOST_FIELDS = frozenset({"service", "namespace", "mesh_domain", "datacenter"})


def parse(text: str, *, file: str) -> ControlPlaneConfig:
    """Read controlplane.yaml. Raises BadInput: a line for each problem, with file, line and key."""
    top = load_section(text, file=file)
    top.integer("version", low=VERSION, high=VERSION, default=VERSION)
    default = ControlPlaneConfig()
    config = ControlPlaneConfig(
        trust_domain=_trust_domain(top),
        listen=_listen(top.section("listen")),
        state_dir=_absolute(top, "state_dir", default.state_dir),
        sources=_sources(top),
        mtls=_mtls(top),
        ca=_authority(top.section("ca")),
        vip4_range=_network(top, "vip4_range", default.vip4_range, version=4, longest=24),
        vip6_range=_network(top, "vip6_range", default.vip6_range, version=6, longest=112),
        lease_seconds=top.number("lease_seconds", low=3, high=3600, default=default.lease_seconds),
        renew_seconds=top.number("renew_seconds", low=0.5, high=600, default=default.renew_seconds),
        precedence=_precedence(top, default.precedence),
    )
    if config.renew_seconds * 2 > config.lease_seconds:
        words = (
            f"a lease of {config.lease_seconds:g} s (lease_seconds) would end when one renewal "
            f"is lost; at most {config.lease_seconds / 2:g}"
        )
        top.refuse("renew_seconds", words)
    top.done()
    return config


def _trust_domain(top: Section) -> str:
    domain = top.text("trust_domain", default=DEFAULT_TRUST_DOMAIN)
    if not is_dns_name(domain):
        top.refuse("trust_domain", f"{domain!r} is no DNS name in lower case")
    return domain


def _absolute(section: Section, key: str, default: str) -> str:
    path = section.text(key, default=default)
    if path and not path.startswith("/"):
        section.refuse(key, f"expected an absolute path, not {path!r}")
    return path


def _listen(section: Section) -> Listen:
    default = Listen()
    listen = Listen(
        xds=_address(section, "xds", default.xds),
        enrolment=_address(section, "enrolment", default.enrolment),
        metrics=_address(section, "metrics", default.metrics),
        api=_absolute(section, "api", default.api),
    )
    _check_apart(
        section, {"xds": listen.xds, "enrolment": listen.enrolment, "metrics": listen.metrics}
    )
    if len(listen.api.encode()) > 100:
        section.refuse("api", "longer than 100 bytes: no unix socket can be made there")
    return listen


def _check_apart(section: Section, listeners: dict[str, str]) -> None:
    """Refuse two listeners on one port, unless each has an address of its own."""
    taken: list[tuple[str, str, int]] = []
    for key, address in listeners.items():
        host, port = split_host_port(address)
        for other, other_host, other_port in taken:
            shared = host == other_host or {"0.0.0.0", "::"} & {host, other_host}  # noqa: S104
            if port == other_port and shared:
                section.refuse(key, f"port {port} is that of {section.name}.{other} already")
        taken.append((key, host, port))


def _address(section: Section, key: str, default: str) -> str:
    text = section.text(key, default=default)
    parted = section.attempt(lambda: split_host_port(text), key=key)
    if parted is None:
        return default
    host, port = parted
    if not is_ip(host):
        section.refuse(key, f"{host!r} is not an IP address")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _mtls(top: Section) -> InboundMode:
    default = InboundMode.PERMISSIVE
    mode = top.choice("mtls", InboundMode, default=default)
    if mode is InboundMode.DISABLE:
        top.refuse("mtls", "expected permissive or strict; disable is for a single service")
    return mode


def _authority(section: Section) -> CertificateAuthority:
    default = CertificateAuthority()
    leaf = section.number("leaf_hours", low=0.001, high=24 * 366, default=default.leaf_hours)
    first = section.number("renew_from", low=0.05, high=0.95, default=default.renew_from)
    last = section.number("renew_to", low=0.05, high=0.95, default=default.renew_to)
    outage = section.number("outage_hours", low=0, high=24 * 366, default=default.outage_hours)
    skew = section.number("clock_skew_seconds", low=0, high=86400, default=300.0)
    if first > last:
        section.refuse("renew_from", f"{first:g} is later than renew_to {last:g}")
    left = leaf * (1 - last)
    if left < outage:
        words = (
            f"certificates of {leaf:g} h (leaf_hours) renewed by {last:.0%} of their life "
            f"(renew_to) leave {left:.1f} h; a shorter outage or a longer life can hold"
        )
        section.refuse("outage_hours", words)
        return default
    return CertificateAuthority(
        leaf_hours=leaf,
        renew_from=first,
        renew_to=last,
        outage_hours=outage,
        clock_skew_seconds=skew,
    )


def _network(top: Section, key: str, default: str, *, version: int, longest: int) -> str:
    text = top.text(key, default=default)
    network = top.attempt(partial(ipaddress.ip_network, text), key=key)
    if network is None:
        return default
    if network.version != version or network.prefixlen > longest:
        top.refuse(key, f"expected an IPv{version} range of /{longest} or wider, not {text}")
        return default
    return str(network)


def _precedence(top: Section, default: tuple[str, ...]) -> tuple[str, ...]:
    kinds = top.texts("precedence", default=default)
    for kind in kinds:
        if kind not in PRECEDENCE_KINDS:
            top.refuse("precedence", f"unknown kind {kind!r}{did_you_mean(kind, PRECEDENCE_KINDS)}")
    if len(set(kinds)) < len(kinds):
        top.refuse("precedence", "a kind is here twice")
    missing = [kind for kind in PRECEDENCE_KINDS if kind not in kinds]
    return (*kinds, *missing)


def _sources(top: Section) -> tuple[Source, ...]:
    found: list[Source] = []
    for section in top.sections("sources"):
        source = _source(section)
        if source is None:
            continue
        if any(other.name == source.name for other in found):
            section.refuse("name", f"{source.name!r} is here twice")
        found.append(source)
    return tuple(found)


def _source(section: Section) -> Source | None:
    name = section.text("name")
    if name and (not is_dns_label(name) or name in RESERVED_SOURCE_NAMES):
        taken = "is taken" if name in RESERVED_SOURCE_NAMES else "is no DNS label in lower case"
        section.refuse("name", f"{name!r} {taken}")
    match section.word("kind", SOURCE_KINDS):
        case "static":
            return _static(section, name)
        case "consul":
            return _consul(section, name)
        case _:
            if not section.has("kind"):
                section.missing("kind", " or ".join(SOURCE_KINDS))
            section.accept_all()
            return None


def _static(section: Section, name: str) -> StaticSource:
    path = section.text("path")
    poll = section.number("poll_seconds", low=0.1, high=3600, default=1.0)
    if path and not path.startswith("/"):
        section.refuse("path", f"expected an absolute path, not {path!r}")
    return StaticSource(name=name, path=path, poll_seconds=poll)


def _consul(section: Section, name: str) -> ConsulSource:
    default = ConsulSource(name=name)
    address = section.text("address", default=default.address)
    section.attempt(lambda: _check_url(address), key="address")
    tls = _tls(section)
    if tls is not None and not address.startswith("https://"):
        section.refuse("tls", f"address {address} is not https")
    return ConsulSource(
        name=name,
        address=address,
        datacenter=section.text("datacenter", default=""),
        token_file=_absolute(section, "token_file", ""),
        tls=tls,
        wait_seconds=section.number("wait_seconds", low=1, high=600, default=default.wait_seconds),
        settle_seconds=section.number("settle_seconds", low=0, high=600, default=5.0),
        services=section.texts("services", default=default.services),
        namespace=_namespace(section, default.namespace),
        host_template=_template(section, "host_template", default.host_template),
        alias_template=_template(section, "alias_template", default.alias_template),
        version_tag=section.text("version_tag", default=default.version_tag),
        hold_seconds=section.number("hold_seconds", low=1, high=3600, default=default.hold_seconds),
        hold_share=section.number("hold_share", low=0.01, high=1, default=default.hold_share),
        hold_count=section.integer("hold_count", low=1, high=10**6, default=default.hold_count),
        max_services=_most(section, "max_services", default.max_services),
        max_endpoints=_most(section, "max_endpoints", default.max_endpoints),
        max_endpoints_per_service=_most(
            section, "max_endpoints_per_service", default.max_endpoints_per_service
        ),
    )


def _most(section: Section, key: str, default: int) -> int:
    return section.integer(key, low=1, high=10**6, default=default)


def _namespace(section: Section, default: str) -> str:
    namespace = section.text("namespace", default=default)
    if not is_dns_label(namespace):
        section.refuse("namespace", f"{namespace!r} is no DNS label in lower case")
    return namespace


def _check_url(url: str) -> None:
    scheme, found, rest = url.partition("://")
    if scheme not in ("http", "https") or not found or "/" in rest or "@" in rest:
        raise ValueError(f"expected http://host:port or https://host:port, not {url!r}")
    split_host_port(rest, default_port=8500 if scheme == "http" else 8501)


def _tls(section: Section) -> ConsulTls | None:
    if not section.has("tls"):
        return None
    tls = section.section("tls")
    found = ConsulTls(
        ca_file=_absolute(tls, "ca_file", ""),
        certificate_file=_absolute(tls, "certificate_file", ""),
        key_file=_absolute(tls, "key_file", ""),
        server_name=tls.text("server_name", default=""),
    )
    if bool(found.certificate_file) != bool(found.key_file):
        absent = "key_file" if found.certificate_file else "certificate_file"
        tls.missing(absent, "a client certificate needs its key and the key its certificate")
    return found


def _template(section: Section, key: str, default: str) -> str:
    text = section.text(key, default=default)
    rest = text
    for name in _HOST_FIELDS:
        rest = rest.replace("{" + name + "}", "x")
    if "{" in rest or "}" in rest:
        fields = ", ".join(sorted("{" + name + "}" for name in _HOST_FIELDS))
        section.refuse(key, f"{text!r} has a field that is not known; known: {fields}")
    elif text and not is_dns_name(rest):
        section.refuse(key, f"{text!r} does not give DNS names")
    elif text and "{service}" not in text:
        section.refuse(key, f"{text!r} gives every service the same name; it needs {{service}}")
    return text
