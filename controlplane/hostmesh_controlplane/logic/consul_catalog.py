"""What Consul lists, into services: pure parsing of `/v1/health/service/<name>`.

Shapes differ between releases (tagged addresses in either case, fields that come and go), so only
what is needed is read, and an instance that cannot be used is left out and told. Spec: Consul's
HTTP API, health and catalog.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hostmesh_controlplane.events.catalogs import ConsulFacts
from hostmesh_controlplane.logic import listed_addresses
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_controlplane.logic.identities import short_name
from hostmesh_controlplane.logic.listed_addresses import Network
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import EndpointKey, is_dns_name
from hostmesh_core.model import Health, Labels, Locality, Origin, Port, Protocol, labels_of
from hostmesh_core.one_line import shortened

PROXY_KINDS = frozenset(
    {"connect-proxy", "mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway"}
)
"""Consul Connect's own proxies: instances of its mesh, not of the service."""

STALE_MS = 10_000
"""A server that heard of its leader longer ago may list what was true then."""

PROTOCOL_KEY, PORT_KEY = "protocol", "service_port"
NODE_MAINTENANCE, SERVICE_MAINTENANCE = "_node_maintenance", "_service_maintenance:"

SHOWN_CHARACTERS = 80
"""Of a name that a catalog's writer chose: he may choose megabytes, and terminal codes."""

SHOWN_PROBLEMS = 20

MAX_LABELS = 64
MAX_LABEL_CHARACTERS = 512
"""As Consul limits meta; it limits tags by nothing."""

READ_POLICY = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
"""What the token of a catalog source needs."""


@dataclass(frozen=True, slots=True)
class ConsulMapping:
    """How names and fields of one datacenter become ours; from the configuration."""

    source: str
    mesh_domain: str
    namespace: str = "default"
    host_template: str = "{service}.{namespace}.{mesh_domain}"
    alias_template: str = "{service}.service.consul"
    version_tag: str = "version"
    virtual: tuple[Network, ...] = ()
    """The mesh's own ranges, which no instance can be in."""
    reserved_hosts: frozenset[str] = frozenset()
    """Names that are the mesh's own."""

    def host(self, service: str) -> str:
        """Give the host name of a Consul service. Raises BadInput where it is none."""
        host = self._filled(self.host_template, service)
        if not is_dns_name(host):
            raise BadInput(
                f'cannot take the Consul service "{printable(service)}": {printable(host)} is no '
                "DNS name; leave it out with services:, or change host_template"
            )
        if host in self.reserved_hosts:
            raise BadInput(
                f'cannot take the Consul service "{printable(service)}": {host} is the control '
                "plane's own name; change host_template"
            )
        return host

    def alias(self, service: str) -> str:
        """Give the further name of a Consul service; empty = none."""
        alias = self._filled(self.alias_template, service) if self.alias_template else ""
        return alias if is_dns_name(alias) else ""

    def _filled(self, template: str, service: str) -> str:
        values = {
            "service": service.lower(),
            "namespace": self.namespace,
            "mesh_domain": self.mesh_domain,
        }
        try:
            return template.format_map(values)
        except (KeyError, IndexError, ValueError) as error:
            raise BadInput(
                f"cannot use the template {template!r} of source {self.source}: {error}; known "
                "are {service}, {namespace} and {mesh_domain}"
            ) from error


@dataclass(frozen=True, slots=True)
class _Instance:
    """What one element of the answer comes to."""

    endpoint: CatalogEndpoint
    protocol: Protocol | None
    problem: str = ""


def read_service(
    service: str, instances: Iterable[object], mapping: ConsulMapping
) -> CatalogService | None:
    """Read a service; None where it has no instance. Raises BadInput for an unusable name."""
    host = mapping.host(service)
    usable: list[_Instance] = []
    problems: set[str] = set()
    listed = False
    for element in instances:
        if _text(_child(element, "Service"), "Kind") in PROXY_KINDS:
            continue
        listed = True
        try:
            usable.append(_instance(element, mapping))
        except BadInput as error:
            problems.add(str(error))
    if not listed:
        return None
    problems |= {instance.problem for instance in usable if instance.problem}
    endpoints = _united([instance.endpoint for instance in usable], problems)
    protocol = _one_protocol([i.protocol for i in usable if i.protocol], problems)
    numbers = sorted({endpoint.service_port for endpoint in endpoints if endpoint.service_port})
    alias = mapping.alias(service)
    return CatalogService(
        host=host,
        namespace=mapping.namespace,
        ports=tuple(
            Port(number, protocol or Protocol.TCP, protocol_defaulted=protocol is None)
            for number in numbers
        ),
        aliases=(alias,) if alias and alias != host else (),
        short_name=short_name(host, mapping.namespace, mesh_domain=mapping.mesh_domain),
        endpoints=endpoints,
        stated_protocol=protocol,
        problems=_some(problems),
        origin=f"consul {mapping.source}",
    )


def suspicion(
    facts: ConsulFacts, *, index_before: int, sentinel: int | None, sentinel_known: bool
) -> str:
    """Say why an answer that lacks instances must not be believed; empty = it may be.

    `index_before` is the index of the answer before (0 = none). `sentinel` is how many servers the
    sentinel listed after it; it counts only where it was seen non-empty at all.
    """
    if sentinel == 0 and sentinel_known:
        return "the token no longer reads the catalog: its sentinel, the service consul, is empty"
    if facts.filtered_by_acl:
        return "Consul says that ACLs filtered the answer"
    if not facts.known_leader:
        return "the server that answered knows no leader"
    if facts.last_contact_ms > STALE_MS:
        return f"the server that answered heard of its leader {facts.last_contact_ms} ms ago"
    if index_before and facts.index == index_before:
        return "instances are missing while the catalog's index did not move"
    return ""


def _instance(element: object, mapping: ConsulMapping) -> _Instance:
    service, node = _child(element, "Service"), _child(element, "Node")
    origin = Origin(node=printable(_text(node, "Node")), service_id=printable(_text(service, "ID")))
    name = f"{origin.service_id or '?'} on {origin.node or '?'}"
    address = _text(service, "Address") or _text(node, "Address")
    port = service.get("Port")
    if _text(service, "SocketPath"):
        raise BadInput(f"instance {name} listens on a unix socket and is left out")
    if not isinstance(port, int) or port == 0:
        raise BadInput(f"instance {name} states no port and is left out")
    try:
        key = EndpointKey.of(address, port)
    except BadInput as error:
        raise BadInput(f"instance {name} is left out: {error}") from error
    if reason := listed_addresses.refused(key, mapping.virtual):
        raise BadInput(f"instance {name} is left out: {reason}")
    meta = _texts(service.get("Meta"))
    service_port, port_problem = _service_port(meta.get(PORT_KEY, ""), name)
    protocol, protocol_problem = _protocol(meta.get(PROTOCOL_KEY, ""), name)
    health, reason, weight = _health(element, service)
    endpoint = CatalogEndpoint(
        key=key,
        service_port=service_port,
        health=health,
        reason=reason,
        weight=weight,
        labels=_labels(service, meta, version_tag=mapping.version_tag),
        locality=_locality(service, node),
        datacenter=_text(node, "Datacenter"),
        origin=origin,
    )
    return _Instance(endpoint, protocol, port_problem or protocol_problem)


def _health(element: object, service: dict[str, object]) -> tuple[Health, str, int]:
    """Give health, reason and weight: the worst check counts, maintenance before all."""
    checks = _child_list(element, "Checks")
    critical = [check for check in checks if _text(check, "Status") == "critical"]
    warning = [check for check in checks if _text(check, "Status") == "warning"]
    weights = _child(service, "Weights")
    passing_weight, warning_weight = _weight(weights, "Passing"), _weight(weights, "Warning")
    if any(_is_maintenance(check) for check in critical):
        return Health.UNHEALTHY, "in maintenance", passing_weight or 1
    if critical:
        return Health.UNHEALTHY, _said(critical), passing_weight or 1
    weight = warning_weight if warning else passing_weight
    if weight == 0:
        state = "warning" if warning else "passing"
        return Health.UNHEALTHY, f"its weight while {state} is 0", 1
    if warning:
        return Health.DEGRADED, _said(warning), weight
    return Health.HEALTHY, "", weight


def printable(text: str) -> str:
    """Give what a catalog's writer chose as it may stand in a terminal or a log line."""
    return shortened(text, SHOWN_CHARACTERS)


def _some(problems: Iterable[str]) -> tuple[str, ...]:
    """Give the first ones, and how many more there are: a writer can make thousands."""
    ordered = sorted(problems)
    more = len(ordered) - SHOWN_PROBLEMS
    return (*ordered[:SHOWN_PROBLEMS], *([f"and {more} more such remarks"] if more > 0 else []))


def _said(checks: list[dict[str, object]]) -> str:
    # The check's output is left out: it may change with every run, and is no change of the mesh.
    named = sorted({f'"{printable(_text(c, "Name") or _text(c, "CheckID"))}"' for c in checks})
    verb = "is" if len(named) == 1 else "are"
    return f"check {', '.join(named)} {verb} {_text(checks[0], 'Status')}"


def _is_maintenance(check: dict[str, object]) -> bool:
    check_id = _text(check, "CheckID")
    return check_id == NODE_MAINTENANCE or check_id.startswith(SERVICE_MAINTENANCE)


def _weight(weights: dict[str, object], key: str) -> int:
    value = weights.get(key, 1)
    return value if isinstance(value, int) and value >= 0 else 1


def _service_port(text: str, name: str) -> tuple[int, str]:
    if not text:
        return 0, ""
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text), ""
    return 0, f'instance {name}: meta {PORT_KEY} "{printable(text[:20])}" is no port'


def _protocol(text: str, name: str) -> tuple[Protocol | None, str]:
    if not text:
        return None, ""
    try:
        return Protocol(text.lower()), ""
    except ValueError:
        known = ", ".join(Protocol)
        return (
            None,
            f'instance {name}: meta {PROTOCOL_KEY} "{printable(text[:20])}" is none of {known}',
        )


def _one_protocol(protocols: list[Protocol], problems: set[str]) -> Protocol | None:
    """Give what most instances say; the others are told."""
    if not protocols:
        return None
    chosen = min(set(protocols), key=lambda one: (-protocols.count(one), one))
    others = sorted({one for one in protocols if one != chosen})
    if others:
        problems.add(f"its instances differ in meta {PROTOCOL_KEY}: {chosen}, {', '.join(others)}")
    return chosen


def _labels(service: dict[str, object], meta: dict[str, str], *, version_tag: str) -> Labels:
    """Labels are where people keep them: meta, and tags of the form key=value. The one named
    `version_tag` is the version, which subsets go by.
    """
    tags = service.get("Tags")
    texts = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    pairs = [tag.split("=", 1) for tag in texts]
    labels = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0]}
    labels.update(meta)
    if version_tag in labels:
        labels.setdefault("version", labels[version_tag])
    kept = {k: v for k, v in sorted(labels.items()) if k not in (PROTOCOL_KEY, PORT_KEY)}
    short = {k: v for k, v in kept.items() if max(len(k), len(v)) <= MAX_LABEL_CHARACTERS}
    return labels_of(dict(list(short.items())[:MAX_LABELS]))


def _locality(service: dict[str, object], node: dict[str, object]) -> Locality:
    stated = _child(service, "Locality") or _child(node, "Locality")
    meta = _texts(node.get("Meta"))
    region = _text(stated, "Region") or meta.get("region") or _text(node, "Datacenter")
    return Locality(region, _text(stated, "Zone") or meta.get("zone", ""))


def _united(endpoints: list[CatalogEndpoint], problems: set[str]) -> tuple[CatalogEndpoint, ...]:
    """Give each key once, sorted: Consul's order is random. Of two, the worse one counts, and
    the smaller weight: a second registration of an instance must not draw requests to it.
    """
    found: dict[EndpointKey, CatalogEndpoint] = {}
    several: dict[EndpointKey, list[str]] = {}
    by_health = sorted(
        endpoints,
        key=lambda e: (list(Health).index(e.health), e.labels, -e.weight, str(e.origin)),
    )
    for endpoint in by_health:
        before = found.get(endpoint.key)
        weight = min(endpoint.weight, before.weight) if before else endpoint.weight
        if before is not None:
            several.setdefault(endpoint.key, [str(before.origin)]).append(str(endpoint.origin))
        found[endpoint.key] = replace(endpoint, weight=weight)
    for key, origins in several.items():
        who = ", ".join(sorted(origins)[:4])
        problems.add(f"several instances are listed at {key} ({who}); they count as one")
    return tuple(found[key] for key in sorted(found))


def _child(value: object, key: str) -> dict[str, object]:
    child = value.get(key) if isinstance(value, dict) else None
    return child if isinstance(child, dict) else {}


def _child_list(value: object, key: str) -> list[dict[str, object]]:
    child = value.get(key) if isinstance(value, dict) else None
    return [one for one in child if isinstance(one, dict)] if isinstance(child, list) else []


def _text(value: dict[str, object], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}
