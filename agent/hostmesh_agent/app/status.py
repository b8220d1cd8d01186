"""What a running agent says of itself: the values that its screen is made of, and metrics."""

import time
from dataclasses import asdict, dataclass

from hostmesh_agent.app.callers import CallersService
from hostmesh_agent.app.capture import CaptureService
from hostmesh_agent.app.configuration import is_edited
from hostmesh_agent.app.envoy import EnvoyService
from hostmesh_agent.app.host import HostService
from hostmesh_agent.app.identity import IdentityService
from hostmesh_agent.app.registrar import Registrar, ServiceView
from hostmesh_agent.app.relay import RelayService
from hostmesh_agent.config import AgentConfig, CheckKind
from hostmesh_agent.logic import screens, workloads
from hostmesh_agent.logic.running import Running
from hostmesh_core.errors import HostmeshError
from hostmesh_core.redirect_files import Outcome

STALE_REPORT_SECONDS = 10.0
"""A redirector that lives verifies its rules more often than this."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The services that are asked."""

    running: Running
    identity: IdentityService
    host: HostService
    relay: RelayService
    envoy: EnvoyService
    capture: CaptureService
    registrar: Registrar
    callers: CallersService

    @property
    def config(self) -> AgentConfig:
        """What agent.yaml says, without what left."""
        return self.running.config


def next_waiting(parts: Parts) -> list[str]:
    """Give what this host still waits for; empty = it is in the mesh."""
    waiting = []
    if not parts.relay.has_generation:
        lacking = ", ".join(parts.relay.waits_for[:3])
        waiting.append(f"a first configuration from a control plane ({parts.host.lost or lacking})")
    elif not parts.envoy.serving:
        waiting.append(f"Envoy ({parts.envoy.runner_problem or parts.envoy.phase.value})")
    elif not is_captured(parts):
        waiting.append(f"the kernel rules ({_capture(parts)})")
    waiting += parts.registrar.unproven
    return waiting


def is_captured(parts: Parts) -> bool:
    """Whether what comes for the services passes Envoy, as far as it is to."""
    report = parts.capture.report
    applied = report is not None and report.outcome is Outcome.APPLIED
    return applied or not parts.config.capture.enabled


def status_of(parts: Parts) -> dict[str, object]:
    """Give all of `hostmesh-agent status`."""
    waiting = next_waiting(parts)
    views = parts.registrar.views()
    identity = workloads.outbound_identity(parts.config, parts.identity.grant)
    return {
        "instance": parts.config.instance,
        "host_id": parts.identity.membership.host_id,
        "identity": str(identity) if identity else "nobody (set outbound.default_identity)",
        "trust_domain": parts.identity.membership.trust_domain,
        "control_plane": _control_plane(parts),
        "connected": parts.host.connected,
        "services": [_service(view) | _callers(parts, view) for view in views],
        "left": list(parts.running.left),
        "envoy": _envoy(parts),
        "envoy_pid": parts.envoy.pid,
        "envoy_epoch": parts.envoy.epoch,
        "capture": _capture(parts),
        "changed": _changed(parts),
        "generation": _generation(parts),
        "certificates": _certificates(parts),
        "certificate_list": [
            {
                "identity": str(one.identity) if one.identity else "host",
                "phase": one.phase.value,
                "serial": one.serial,
                "not_after": one.not_after,
                "seconds_left": one.seconds_left,
                "why": one.why,
            }
            for one in parts.identity.status()
        ],
        "waiting": waiting,
        "warnings": _warnings(parts),
        "next": screens.next_command(waiting, [view.config.name for view in views]),
    }


def _control_plane(parts: Parts) -> str:
    if parts.host.connected:
        return f"{parts.host.control_plane} connected"
    return f"away: {parts.host.lost}"


def _service(view: ServiceView) -> dict[str, object]:
    check = "http" if view.config.health.kind is CheckKind.HTTP else "tcp"
    word = {True: "healthy", False: "unhealthy", None: "not checked yet"}[view.healthy]
    details = []
    if view.verdict is not None and view.verdict.accepted:
        details.append(
            f"service {view.verdict.host}: {view.verdict.state or 'plain'}, "
            f"{view.verdict.meshed} of {view.verdict.endpoints} in the mesh"
        )
    if view.choice:
        details.append(f"not registered by choice: {view.choice}")
    if view.problem:
        details.append(f"not registered: {view.problem}")
    reason = f": {view.reason}" if view.reason and not view.healthy else ""
    return {
        "name": view.config.name,
        "host": view.verdict.host if view.verdict else "",
        "address": view.address,
        "protocol": view.config.protocol.value if view.config.protocol else "(catalog's protocol)",
        "inbound": _inbound(view),
        "registered": view.registered,
        "refused": view.verdict is not None and not view.verdict.accepted,
        "health": f"{word} ({check}){reason}",
        "healthy": view.healthy,
        "details": details,
    }


def _inbound(view: ServiceView) -> str:
    """Give what Envoy accepts: the control plane's word, before it the host's own."""
    if view.verdict is not None and view.verdict.inbound:
        return view.verdict.inbound
    return view.config.inbound.value if view.config.inbound else ""


def _callers(parts: Parts, view: ServiceView) -> dict[str, object]:
    counted = parts.callers.counted(view.config.key)
    recent = parts.callers.window(view.config.key)
    if counted is None or recent is None:
        return {"callers": None}
    return {
        "callers": {
            "since": counted.since,
            "seconds": round(time.time() - counted.since, 1),
            "plaintext": counted.plaintext,
            "mutual_tls": counted.mutual_tls,
            "last_plaintext": counted.last_plaintext,
            "addresses": [
                {"address": address} | asdict(caller) for address, caller in counted.latest()
            ],
            "recent": asdict(recent),
        }
    }


def _envoy(parts: Parts) -> str:
    if parts.envoy.serving:
        return f"epoch {parts.envoy.epoch}, pid {parts.envoy.pid}, serving"
    return f"{parts.envoy.phase.value}; {parts.envoy.runner_problem or 'no worker answers'}"


def _capture(parts: Parts) -> str:
    if not parts.config.capture.enabled:
        return "explicit mode: no kernel rule, apps use upstreams and mesh_port"
    report = parts.capture.report
    if report is None:
        return "not watched: no redirector has reported"
    text = (
        f"{report.outcome.value}: {report.rules} rules, {report.routes} routes, "
        f"{report.endpoints} endpoint addresses, {report.names} names"
    )
    return f"{text}; {report.detail}" if report.detail else text


def _changed(parts: Parts) -> dict[str, int]:
    """Count what was put into this host's kernel and /etc/hosts."""
    report = parts.capture.report if parts.config.capture.enabled else None
    if report is None:
        return {"rules": 0, "routes": 0, "names": 0}
    return {"rules": report.rules, "routes": report.routes, "names": report.names}


def _generation(parts: Parts) -> str:
    age = parts.relay.generation_age
    if age is None:
        return "none yet"
    if age == 0:
        return f"current, {parts.relay.envoy_streams} Envoy(s) connected to the relay"
    return f"stored, confirmed {age:.0f} s ago by a control plane that is away now"


def _certificates(parts: Parts) -> str:
    return f"{parts.identity.hours_left:.1f} h in hand if the control plane goes away now"


def _warnings(parts: Parts) -> list[str]:
    warnings = [
        f"{one.identity or 'host'}: {one.why}" for one in parts.identity.status() if one.why
    ]
    warnings += parts.registrar.notes
    warnings += _unfinished(parts)
    if parts.capture.problem:
        warnings.append(parts.capture.problem)
    report = parts.capture.report
    if report is not None:
        warnings += [*report.missing, *report.notes]
        if report.pid == 0 or time.time() - report.verified_at > STALE_REPORT_SECONDS:
            warnings.append("capture is not watched: the redirector is away; the rules stay")
    if workloads.outbound_identity(parts.config, parts.identity.grant) is None:
        warnings.append(
            "processes here have no identity towards the mesh: the grant has several or none; set "
            "outbound.default_identity in agent.yaml"
        )
    return warnings


def _unfinished(parts: Parts) -> list[str]:
    """Say what of agent.yaml only a reload brings into force."""
    led = parts.capture.ports if parts.config.capture.enabled else None
    captured = [] if led is None else [s for s in parts.config.services if not s.mesh_port]
    told = [
        f"{service.name}: no rule leads port {service.port} into Envoy; when the control plane "
        "accepts the service: hostmesh-agent reload"
        for service in captured
        if led is not None and service.port not in led
    ]
    declared = {service.port for service in parts.registrar.services}
    told += [
        f"port {port} is led into Envoy and no service has it: hostmesh-agent reload"
        for port in sorted((led or frozenset()) - declared)
    ]
    if set(parts.registrar.services) != set(parts.config.services):
        told.append("a change of agent.yaml has not ended: run hostmesh-agent reload again")
    if is_edited(parts.running):
        told.append(f"{parts.running.file} was edited since: hostmesh-agent reload takes it in")
    return told


async def metrics(parts: Parts) -> str:
    """Give the agent's figures and, after them, Envoy's, in Prometheus' text format."""
    ready = int(not next_waiting(parts))
    lines = [
        "# TYPE hostmesh_agent_ready gauge",
        f"hostmesh_agent_ready {ready}",
        "# TYPE hostmesh_agent_connected gauge",
        f"hostmesh_agent_connected {int(parts.host.connected)}",
        "# TYPE hostmesh_agent_certificate_hours_left gauge",
        f"hostmesh_agent_certificate_hours_left {parts.identity.hours_left:.3f}",
        "# TYPE hostmesh_agent_generation_age_seconds gauge",
        f"hostmesh_agent_generation_age_seconds {parts.relay.generation_age or 0:.1f}",
    ]
    text = "\n".join(lines) + "\n"
    try:
        return text + (await parts.envoy.admin.prometheus()).decode()
    except HostmeshError:
        return text  # Envoy is away: the agent's own figures say so
