"""Join tokens (DESIGN 6): what one covers, whether one may be used, what its use leaves.

Of a secret only the SHA-256 is ever here. Whoever does not know the secret learns nothing about a
token, not even that it exists: unknown id and wrong secret give one answer, from equal work.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_core.grant import Claim, Grant, Kind, Role
from hostmesh_core.token import JoinToken, hash_secret

DEFAULT_NAMESPACE = "default"
"""Where nobody names one: for a token, and for a grant that has none yet."""
_MAX_USES = 1_000_000
_MAX_TTL_SECONDS = 366 * 86400.0
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What `hostmesh token create` asks for."""

    grant: Grant
    kind: Kind = Kind.AGENT
    uses: int = 1
    ttl_seconds: float = 3600.0

    @classmethod
    def parse(cls, values: Mapping[str, object], *, mesh_domain: str) -> Self:
        """Read the operator API's body. Raises BadInput that names the field."""
        body = RequestBody(values, what="create the token")
        namespace = body.pattern("namespace", body.text("namespace", DEFAULT_NAMESPACE))
        services = tuple(
            _granted(body, text, namespace=namespace, mesh_domain=mesh_domain)
            for text in body.patterns("service")
        )
        claims = claims_of(namespace, accounts=body.patterns("service_account"), services=services)
        grant = Grant(
            claims=claims,
            cidrs=body.cidrs("cidr"),
            labels=body.labels("label"),
            role=body.choice("role", Role, Role.SIDECAR),
            require_mesh=body.flag("require_mesh"),
        )
        request = cls(
            grant=grant,
            kind=body.choice("kind", Kind, Kind.AGENT),
            uses=body.whole("uses", 1, low=1, high=_MAX_USES),
            ttl_seconds=body.number("ttl_seconds", 3600, low=1, high=_MAX_TTL_SECONDS),
        )
        body.done()
        if not claims:
            raise body.refused(
                "service", "a token needs a --service, or a --service-account for a pure client"
            )
        return request


def _granted(body: RequestBody, text: str, *, namespace: str, mesh_domain: str) -> str:
    """Give the name that a registration is held against: of a name of the mesh its first label.

    Raises BadInput for one of another namespace, or of none.
    """
    if text != mesh_domain and not text.endswith(f".{mesh_domain}"):
        return text
    short, _, said = text.removesuffix(mesh_domain).rstrip(".").partition(".")
    if not (short and said) or "." in said:
        raise body.refused(
            "service", f"{text!r} is no name of the mesh: <service>.<namespace>.{mesh_domain}"
        )
    if said != namespace:
        raise body.refused("service", f"{text!r} is of namespace {said}: add --namespace {said}")
    return short


def claims_of(
    namespace: str, *, accounts: tuple[str, ...], services: tuple[str, ...]
) -> tuple[Claim, ...]:
    """Give the claims of accounts and services: every account may register every service.

    Without accounts each service runs under the account of its own name; without services each
    account is a pure client's, which registers nothing.
    """
    if not accounts:
        return tuple(sorted(Claim(namespace, account_of(s), s) for s in services))
    return tuple(sorted({Claim(namespace, a, s) for a in accounts for s in services or ("",)}))


def account_of(service: str) -> str:
    """Give a service's own account: its short name, the first label of a full host name."""
    return service.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One use: which key got which host id."""

    key_sha256: str
    host_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """One token as stored under its id in table `tokens`."""

    id: str
    secret_sha256: str
    grant: Grant
    kind: Kind
    uses: int
    created_at: float
    expires_at: float
    """Seconds since the epoch, as all times here."""
    revoked_at: float = 0.0
    enrolled: tuple[Enrolled, ...] = ()

    @property
    def uses_left(self) -> int:
        """How many hosts may still join with it."""
        return max(0, self.uses - len(self.enrolled))

    def state(self, now: float) -> str:
        """Give the word for tables."""
        if self.revoked_at:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "valid" if self.uses_left else "used"

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        value = {
            "id": self.id,
            "secret_sha256": self.secret_sha256,
            "grant": self.grant.to_json(),
            "kind": self.kind.value,
            "uses": self.uses,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "enrolled": [[use.key_sha256, use.host_id] for use in self.enrolled],
        }
        return json.dumps(value, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read the stored form, which only this class writes."""
        value = json.loads(stored)
        return cls(
            id=value["id"],
            secret_sha256=value["secret_sha256"],
            grant=Grant.from_json(value["grant"]),
            kind=Kind(value["kind"]),
            uses=value["uses"],
            created_at=value["created_at"],
            expires_at=value["expires_at"],
            revoked_at=value["revoked_at"],
            enrolled=tuple(Enrolled(key, host_id) for key, host_id in value["enrolled"]),
        )


def record_of(request: TokenRequest, token: JoinToken, *, now: float) -> TokenRecord:
    """Give what is stored of a new token."""
    return TokenRecord(
        id=token.id,
        secret_sha256=hash_secret(token.secret),
        grant=request.grant,
        kind=request.kind,
        uses=request.uses,
        created_at=now,
        expires_at=now + request.ttl_seconds,
    )


def check(
    record: TokenRecord | None, token: JoinToken, *, key_sha256: str, now: float
) -> TokenRecord | Refusal:
    """Say whether a host with this key may join. A true secret comes before every other answer.

    A key that has joined with the token already may ask again while the token lives: the answer to
    its first try was lost, and nobody else can use what it gets.
    """
    stored = record.secret_sha256 if record else _NOBODY
    known = hmac.compare_digest(stored, hash_secret(token.secret))
    if record is None or not known:
        return Refusal(
            Reason.TOKEN_UNKNOWN,
            "cannot enrol: this control plane knows no such token; make one with: "
            "hostmesh token create",
        )
    match record.state(now):
        case "revoked":
            return _refused(Reason.TOKEN_REVOKED, record, "was revoked")
        case "expired":
            seconds = round(now - record.expires_at)
            return _refused(Reason.TOKEN_EXPIRED, record, f"expired {seconds} s ago")
        case "used" if host_of_key(record, key_sha256) is None:
            count = f"{record.uses} of {record.uses} uses"
            return _refused(Reason.TOKEN_USED, record, f"has no use left ({count})")
        case _:
            return record


def host_of_key(record: TokenRecord, key_sha256: str) -> str | None:
    """Give the host id that this key got by the token, or None."""
    return next((use.host_id for use in record.enrolled if use.key_sha256 == key_sha256), None)


def used(record: TokenRecord, *, key_sha256: str, host_id: str) -> TokenRecord:
    """Give the record after one more use."""
    return replace(record, enrolled=(*record.enrolled, Enrolled(key_sha256, host_id)))


def revoked(record: TokenRecord, *, now: float) -> TokenRecord:
    """Give the record of a token that lets nobody in any more; the first revocation counts."""
    return replace(record, revoked_at=record.revoked_at or now)


def covers(grant: Grant) -> str:
    """Say in one phrase what a grant covers; an account that is not the service's own is named."""
    served = [_served(claim) for claim in grant.claims if claim.service]
    clients = [f"{c.namespace}/{c.service_account}" for c in grant.claims if not c.service]
    parts = []
    if served:
        parts.append("services " + ", ".join(dict.fromkeys(served)))
    if clients:
        parts.append("clients " + ", ".join(dict.fromkeys(clients)))
    if grant.cidrs:
        parts.append("addresses " + ", ".join(grant.cidrs))
    return "; ".join(parts) or "nothing"


def _served(claim: Claim) -> str:
    service = f"{claim.namespace}/{claim.service}"
    own = claim.service_account == account_of(claim.service)
    return service if own else f"{service} as {claim.service_account}"


def _refused(reason: Reason, record: TokenRecord, why: str) -> Refusal:
    return Refusal(
        reason,
        f"cannot enrol: token {record.id} {why}; make another with: hostmesh token create",
    )
