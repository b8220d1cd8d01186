"""What stands between an app as it runs and a join that its callers do not notice.

Observations in (`edges.listeners`, `edges.app_probe`, `edges.app_files`), findings out. A finding
that `stops` would break callers: join goes no further before anything was changed. Each names the
line of agent.yaml, or the command, that cures it.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hostmesh_agent.config import AgentConfig, ServiceConfig
from hostmesh_agent.logic.address_rules import AddressRule
from hostmesh_agent.logic.seen_source import is_loopback, seen_source
from hostmesh_core.addresses import split_host_port
from hostmesh_core.model import InboundMode, Protocol


class Code(StrEnum):
    """Names a finding, for `--accept` and the table in docs/join.md."""

    NOT_LISTENING = "not-listening"
    LOOPBACK_ONLY = "loopback-only"
    SPEAKS_TLS = "speaks-tls"
    SPEAKS_FIRST = "speaks-first"
    OTHER_PROTOCOL = "other-protocol"
    DOCKER_PUBLISHED = "docker-published"
    JUDGES_BY_ADDRESS = "judges-by-address"
    PORT_TAKEN = "port-taken"
    FIREWALL = "firewall"


MEANINGS: Mapping[Code, tuple[str, str]] = {
    Code.NOT_LISTENING: ("nothing listens where the app should", "start it; it registers then"),
    Code.LOOPBACK_ONLY: ("the app listens on loopback alone", "`listen: 127.0.0.1:PORT`"),
    Code.SPEAKS_TLS: ("the app speaks TLS, declared otherwise", "`protocol: https`"),
    Code.SPEAKS_FIRST: (
        "the app speaks first, and a permissive port waits for its caller",
        "`server_first: true` with `inbound: strict`, or a `mesh_port`",
    ),
    Code.OTHER_PROTOCOL: ("the app does not speak what is declared", "another `protocol:`"),
    Code.DOCKER_PUBLISHED: ("Docker publishes the port", "`listen: 127.0.0.1:PORT`"),
    Code.JUDGES_BY_ADDRESS: (
        "the app judges callers by their address, and would see 127.0.0.6",
        "a `mesh_port`, or leave the port out until all callers are in the mesh",
    ),
    Code.FIREWALL: (
        "this host's firewall would open or shut the port once it is captured",
        "allow the port that is named",
    ),
    Code.PORT_TAKEN: ("another process has a port that Envoy or the agent needs", "`ports:`"),
}
"""What each means and what cures it, in short: docs/join.md has these very words."""


_REFUSED_BY_REDIS = b"-DENIED Redis"
"""Its protected mode refuses our source before anything is asked: that is no greeting."""


class Severity(StrEnum):
    """Whether join goes on."""

    STOPS = "stops"
    WARNS = "warns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was seen."""

    code: Code
    severity: Severity
    service: str
    """Empty = it is about the host."""
    text: str
    cure: str

    @property
    def name(self) -> str:
        """Give the form that `--accept` takes."""
        return f"{self.code}:{self.service}" if self.service else str(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A TCP socket of this host that takes connections."""

    address: str
    port: int
    process: str = ""
    """Its process's name; empty = not ours to see."""
    ours: bool = False
    """Whether it belongs to Envoy or the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a service's app did when it was called. Empty and False = nothing certain."""

    first: bytes = b""
    """Its first bytes, before the caller had said anything."""
    tls: bool = False
    answer: bytes = b""
    """The first bytes of its answer to a request in the declared protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that was seen of one service."""

    listeners: tuple[Listener, ...] = ()
    """Of its port."""
    heard: Heard = Heard()
    published: str = ""
    """How Docker publishes the port; empty = it does not."""
    rules: tuple[AddressRule, ...] = ()
    firewall: str = ""
    """What this host's firewall would make of its capture, and the way out; empty = nothing."""


def of_host(config: AgentConfig, listeners: Iterable[Listener]) -> list[Finding]:
    """Give what stands in the way of Envoy's and the agent's own ports."""
    own = {
        config.ports.status: "ports.status",
        config.ports.readiness: "ports.readiness",
        config.ports.prometheus: "ports.prometheus",
    }
    if config.capture.enabled:
        own |= {config.ports.outbound: "ports.outbound", config.ports.inbound: "ports.inbound"}
    own |= {s.mesh_port: f"mesh_port of {s.name}" for s in config.services if s.mesh_port}
    taken = {each.port: each for each in listeners if each.port in own and not each.ours}
    return [
        Finding(
            code=Code.PORT_TAKEN,
            severity=Severity.STOPS,
            service="",
            text=f"{each.process or 'a process'} listens on {port}, which is {own[port]} here",
            cure=f"in agent.yaml give another {own[port]}, or end {each.process or 'that process'}",
        )
        for port, each in sorted(taken.items())
    ]


def is_captured(config: AgentConfig, service: ServiceConfig) -> bool:
    """Tell whether the rules lead the app's own port into Envoy."""
    return config.capture.enabled and not service.mesh_port


def to_look_at(old: AgentConfig, new: AgentConfig) -> tuple[ServiceConfig, ...]:
    """Give the services of which something else may be found than when they were looked at.

    What is changed besides (labels, weight, health) was accepted as it is, where it had to be.
    """
    known = {_facts(service) for service in old.services}
    return tuple(service for service in new.services if _facts(service) not in known)


def _facts(service: ServiceConfig) -> tuple[object, ...]:
    """Give what `of_service` goes by."""
    said = (service.protocol, service.server_first, service.inbound)
    return (*service.key, service.listen, service.mesh_port, *said)


def of_service(config: AgentConfig, service: ServiceConfig, seen: Observed) -> list[Finding]:
    """Give what was seen of one app."""
    about = _About(service, captured=is_captured(config, service))
    where, walled = _where(about, seen), _walled(about, seen.firewall)
    if where is not None and where.severity is Severity.WARNS:
        found = [where, walled]  # nothing answers: nothing was heard
    else:
        found = [where, _docker(about, seen), _spoken(about, seen.heard), walled]
    return [*(each for each in found if each is not None), *_judging(about, seen.rules)]


@dataclass(frozen=True, slots=True)
class _About:
    """A service, and what its plaintext callers depend on."""

    service: ServiceConfig
    captured: bool
    """Whether callers without a mesh will meet Envoy where the app was."""

    @property
    def open(self) -> bool:
        """Whether callers without a mesh go on calling it through Envoy."""
        return self.captured and self.service.inbound is not InboundMode.STRICT

    def finding(self, code: Code, text: str, cure: str, *, stops: bool) -> Finding:
        name, port = self.service.name, self.service.port
        return Finding(
            code=code,
            severity=Severity.STOPS if stops else Severity.WARNS,
            service=name,
            text=f"{name} on port {port} {text}",
            cure=cure,
        )

    @property
    def unmeshed_enter(self) -> bool:
        """Whether callers without a mesh get through Envoy to the app, by whichever port."""
        return self.service.inbound is not InboundMode.STRICT

    @property
    def source(self) -> str:
        """Give where Envoy's connections to the app come from."""
        return seen_source(self.service, captured=self.captured).text

    @property
    def mesh_port(self) -> str:
        """Give a mesh_port that is likely free."""
        port = self.service.port
        return f"`mesh_port: {port + 10000 if port + 10000 < 65536 else port - 10000}`"


def _where(about: _About, seen: Observed) -> Finding | None:
    service = about.service
    port, listeners = service.port, seen.listeners
    if service.listen:
        wanted = split_host_port(service.listen)[0]
        if any(_covers(each.address, wanted) for each in listeners):
            return None
        text = f"is not reached: nothing listens on {service.listen}"
        cure = "start the app, or correct `listen:`; it registers as soon as the app answers"
        return about.finding(Code.NOT_LISTENING, text, cure, stops=False)
    if not listeners:
        if seen.published:
            return None
        text = "is not up: nothing listens there"
        cure = "start the app; it registers as soon as the app answers"
        return about.finding(Code.NOT_LISTENING, text, cure, stops=False)
    if all(is_loopback(each.address) for each in listeners):
        address = "127.0.0.1" if any(":" not in each.address for each in listeners) else "[::1]"
        text = "listens on loopback alone: neither callers nor Envoy would reach it"
        cure = (
            f"`listen: '{address}:{port}'` for {service.name} in agent.yaml, if the app may take "
        )
        cure += "callers from afar for its own host's"
        return about.finding(Code.LOOPBACK_ONLY, text, cure, stops=True)
    return None


def _docker(about: _About, seen: Observed) -> Finding | None:
    service = about.service
    if not seen.published or not about.captured or service.listen:
        return None
    text = f"is published by Docker ({seen.published}): Envoy's connections would not get there"
    cure = f"`listen: '127.0.0.1:{service.port}'` for {service.name} in agent.yaml"
    return about.finding(Code.DOCKER_PUBLISHED, text, cure, stops=True)


def _walled(about: _About, firewall: str) -> Finding | None:
    """Judge by what the redirector does: a port that may be open is then left as it is."""
    if not firewall or not about.captured:
        return None
    why, _, cure = firewall.partition("; ")
    shut = not about.open
    then = "peers would not reach it" if shut else "so it would be left alone and not registered"
    return about.finding(Code.FIREWALL, f"meets a firewall: {why}; {then}", cure, stops=shut)


def _spoken(about: _About, heard: Heard) -> Finding | None:
    service = about.service
    is_http = service.protocol is not None and service.protocol.is_http
    if heard.tls:
        return None if service.protocol is Protocol.HTTPS else _tls(about, is_http=is_http)
    if heard.first and not heard.first.startswith(_REFUSED_BY_REDIS):
        return _first(about, heard.first, is_http=is_http)
    return _answered(about, heard.answer) if is_http and heard.answer else None


def _tls(about: _About, *, is_http: bool) -> Finding:
    stated = about.service.protocol or "no protocol"
    text = f"speaks TLS, and agent.yaml says {stated}"
    cure = f"`protocol: https` for {about.service.name} in agent.yaml"
    return about.finding(Code.SPEAKS_TLS, text, cure, stops=is_http)


def _first(about: _About, first: bytes, *, is_http: bool) -> Finding | None:
    service = about.service
    if is_http:
        text = f"speaks first ({_shown(first)}), which {service.protocol} does not"
        cure = (
            f"`protocol: tcp, server_first: true` for {service.name} in agent.yaml, and the cure "
        )
        cure += f"for an app that speaks first: `inbound: strict`, or {about.mesh_port}"
        return about.finding(Code.OTHER_PROTOCOL, text, cure, stops=True)
    if service.server_first or not about.open:
        return None
    text = f"speaks first ({_shown(first)}): a permissive port waits for its caller's first bytes"
    cure = (
        f"until every caller is in the mesh: {about.mesh_port}, so that {service.port} stays as it "
        f"is; after that: `server_first: true, inbound: strict`, for {service.name} in agent.yaml"
    )
    return about.finding(Code.SPEAKS_FIRST, text, cure, stops=True)


def _answered(about: _About, answer: bytes) -> Finding | None:
    """Judge the answer to a request; what could be either is no finding."""
    service = about.service
    is_http1, is_http2 = answer.startswith(b"HTTP/"), _is_http2(answer)
    wants_http1 = service.protocol is Protocol.HTTP
    if is_http1 if wants_http1 else is_http2:
        return None
    if is_http1 or is_http2:
        other = "http2 (or grpc)" if is_http2 else "http"
        text = f"answers in {other.split()[0]}, and agent.yaml says {service.protocol}"
        cure = f"`protocol: {other.split()[0]}` for {service.name} in agent.yaml"
        return about.finding(Code.OTHER_PROTOCOL, text, cure, stops=not wants_http1)
    text = f"does not answer {service.protocol} ({_shown(answer)})"
    cure = f"`protocol: tcp` for {service.name} in agent.yaml"
    return about.finding(Code.OTHER_PROTOCOL, text, cure, stops=True)


def _is_http2(answer: bytes) -> bool:
    """Tell whether it begins with a SETTINGS frame of stream 0."""
    return len(answer) >= 9 and answer[3] == 4 and answer[5:9] == bytes(4)


def _judging(about: _About, rules: Sequence[AddressRule]) -> list[Finding]:
    """Say once per program where it judges by address, first what lets everybody in."""
    found = []
    for software in dict.fromkeys(rule.software for rule in rules):
        mine = [rule for rule in rules if rule.software == software]
        mine.sort(key=lambda rule: not rule.local)
        local = mine[0].local
        more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
        text = f"is {software}, which judges by source address ({mine[0]}{more}) and would see "
        text += f"{about.source} instead of its callers"
        if local:
            text += ": whoever comes through Envoy would be let in like a caller on this host"
        cure = _cure_of_judging(about, software, local=local)
        stops = about.open or (local and about.unmeshed_enter)
        found.append(about.finding(Code.JUDGES_BY_ADDRESS, text, cure, stops=stops))
    return found


def _cure_of_judging(about: _About, software: str, *, local: bool) -> str:
    name, source = about.service.name, about.source
    if local:
        tightened = f"let {software}'s own rules ask {source} for a password"
        if not about.unmeshed_enter:
            return f"every workload of the mesh comes from there: {tightened}"
        if about.captured:
            strict = f"{about.mesh_port}, `inbound: strict` for {name} in agent.yaml, so that only "
            strict += "the mesh comes through Envoy and others reach the app as before"
        else:
            strict = f"`inbound: strict` for {name} in agent.yaml, so that only the mesh comes in"
        return f"{strict}; and {tightened}"
    if about.open:
        return (
            f"{about.mesh_port} for {name} in agent.yaml, so that callers without a mesh reach "
            "the app as before, or leave this port out until all callers are in the mesh"
        )
    return f"let {source} in for callers of the mesh, in {software}'s own rules"


def _shown(data: bytes) -> str:
    text = "".join(chr(c) if 32 <= c < 127 else "." for c in data[:24])
    return f"its first bytes: {text!r}"


def _covers(bound: str, wanted: str) -> bool:
    """Tell whether a socket bound to one address takes connections to the other."""
    if ipaddress.ip_address(bound).is_unspecified:
        return ":" in bound or ":" not in wanted
    return ipaddress.ip_address(bound) == ipaddress.ip_address(wanted)


def dialled(service: ServiceConfig, listeners: Sequence[Listener]) -> tuple[str, int] | None:
    """Give where the app is asked before a join; None = nowhere."""
    if service.listen:
        return split_host_port(service.listen)
    return (dialled_address(listeners[0].address), service.port) if listeners else None


def dialled_address(bound: str) -> str:
    """Give an address at which a socket bound to `bound` is reached from this host."""
    if ipaddress.ip_address(bound).is_unspecified:
        return "::1" if ":" in bound else "127.0.0.1"
    return bound
