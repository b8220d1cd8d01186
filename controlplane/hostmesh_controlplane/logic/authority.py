"""What certificate may be issued, decided from the host's record and never from a request's names.

Two kinds (DESIGN 6): the host certificate, which only the agent holds, and workload certificates,
which are all that Envoy ever holds. `plan_*` give a `Template` for the signer, or a `Refusal`.
"""

from dataclasses import dataclass, replace

from hostmesh_controlplane.logic.host_record import HostRecord, IssuedLast
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.tokens import covers
from hostmesh_core import names
from hostmesh_core.grant import Grant
from hostmesh_core.ids import RESERVED_PATH_PREFIX, Identity, SpiffeId, is_dns_label
from hostmesh_core.rotation import backdate
from hostmesh_core.x509 import RequestFacts

CONTROL_PLANE_PATH = RESERVED_PATH_PREFIX + "control-plane"


@dataclass(frozen=True, slots=True)
class Template:
    """All that a leaf states; an edge adds the serial and signs. Never a name from a request."""

    spiffe_id: SpiffeId
    key_spki: bytes
    not_before: float
    not_after: float
    """Seconds since the epoch."""
    dns_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """The authority's own settings. Lives are in seconds, so that tests can live fast."""

    trust_domain: str
    life_seconds: float
    clock_skew_seconds: float


def plan_host(
    record: HostRecord, request: RequestFacts, terms: Terms, *, now: float
) -> Template | Refusal:
    """Plan the host certificate of `record`."""
    refusal = _stands(record) or _own_key(record, request, None)
    if refusal:
        return refusal
    return _template(record.spiffe_id(terms.trust_domain), request, terms, now)


def plan_workload(
    record: HostRecord, request: RequestFacts, identity: Identity, terms: Terms, *, now: float
) -> Template | Refusal:
    """Plan the certificate of one workload of `record`."""
    refusal = (
        _stands(record)
        or _plain_identity(identity)
        or _granted(record, identity)
        or _own_key(record, request, identity)
    )
    if refusal:
        return refusal
    return _template(SpiffeId.of_workload(terms.trust_domain, identity), request, terms, now)


def plan_control_plane(key_spki: bytes, terms: Terms, *, now: float) -> Template:
    """Plan a control plane's own serving certificate: the only one with a DNS name."""
    spiffe_id = SpiffeId(terms.trust_domain, CONTROL_PLANE_PATH)
    template = _template(spiffe_id, RequestFacts(key_spki), terms, now)
    return replace(template, dns_names=(names.control_plane_host(terms.trust_domain),))


def with_issued(
    record: HostRecord, identity: Identity | None, issued: IssuedLast
) -> HostRecord | Refusal:
    """Note the last certificate; asked again at the time of writing whether the host stands."""
    refusal = _stands(record)
    if refusal:
        return refusal
    if identity is None:
        return replace(record, host=issued)
    workloads = {**dict(record.workloads), identity: issued}
    return replace(record, workloads=tuple(sorted(workloads.items())))


def without_identities_outside(record: HostRecord, grant: Grant) -> HostRecord:
    """Give the record under a new grant; what it no longer covers is forgotten, not renewed."""
    kept = tuple((i, issued) for i, issued in record.workloads if grant.allows_identity(i))
    return replace(record, grant=grant, workloads=kept)


def revoked(record: HostRecord, *, why: str, now: float) -> HostRecord:
    """Give the record of a host that may never come back; the first revocation counts."""
    return record if record.revoked else replace(record, revoked_at=now, revoked_why=why)


def unknown_host(host_id: str) -> Refusal:
    """Refuse a host id that no record stands for."""
    return Refusal(
        Reason.HOST_UNKNOWN,
        f"cannot issue a certificate: host {host_id[:8]} is not known here; join it again with a "
        "new token: hostmesh token create",
    )


def _template(spiffe_id: SpiffeId, request: RequestFacts, terms: Terms, now: float) -> Template:
    back = backdate(terms.life_seconds, terms.clock_skew_seconds)
    return Template(spiffe_id, request.key_spki, now - back, now + terms.life_seconds)


def _stands(record: HostRecord) -> Refusal | None:
    if not record.revoked:
        return None
    return Refusal(
        Reason.HOST_REVOKED,
        f"cannot issue a certificate: host {record.host_id[:8]} ({record.hostname}) was revoked; "
        "it can only join anew, with a new token: hostmesh token create",
    )


def _plain_identity(identity: Identity) -> Refusal | None:
    """Refuse what would not read back as `/ns/<ns>/sa/<account>`, `/hostmesh/…` above all."""
    if is_dns_label(identity.namespace) and is_dns_label(identity.service_account):
        return None
    return Refusal(
        Reason.RESERVED,
        f"cannot issue a certificate for {str(identity)[:200]!r}: a workload is a namespace and a "
        "service account, each one DNS label",
    )


def _granted(record: HostRecord, identity: Identity) -> Refusal | None:
    if record.grant.allows_identity(identity):
        return None
    return Refusal(
        Reason.IDENTITY,
        f"cannot issue a certificate for {identity}: the grant of host {record.host_id[:8]} covers "
        f"{covers(record.grant)}; to allow it: hostmesh host grant {record.host_id} "
        f"--add-client {identity}",
    )


def _own_key(
    record: HostRecord, request: RequestFacts, identity: Identity | None
) -> Refusal | None:
    """Refuse a key that stands for another identity of the host.

    The host key must never reach Envoy, and two workloads with one key would be one.
    """
    others = {other: issued.key_sha256 for other, issued in record.workloads if other != identity}
    taken = set(others.values())
    if identity is not None and record.host is not None:
        taken.add(record.host.key_sha256)
    if request.key_sha256 not in taken:
        return None
    what = str(identity) if identity else "the host"
    return Refusal(
        Reason.KEY,
        f"cannot issue a certificate for {what}: its key stands for another identity of host "
        f"{record.host_id[:8]} already; every certificate needs a key of its own",
    )
