"""A catalog that answers less than the truth never empties a pool (DESIGN 5).

Between a source and the merge: what a source lists no more is kept, and marked, where
(a) the very answer is suspicious: it is not believed, and the next one is judged afresh; or
(b) the source lost too much at once: over all of its services, net of additions per service (a
rolling redeploy is no loss), within the last seconds (a loss that arrives service by service is
one loss: once it is too much, what went in that time comes back).
Never held: health, additions, what left our own registry in order. A hold ends when the source
lists the endpoints again, when new ones took their place, or when an operator accepts what it says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from immutables import Map

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService, SourceChanged
from hostmesh_core.ids import EndpointKey

FORGIVEN_SECONDS = 900.0
"""How long a key that left our own registry may also leave its catalogs without counting."""

Endpoints = tuple[CatalogEndpoint, ...]


@dataclass(frozen=True, slots=True)
class HoldRules:
    """When a loss is too much: both the share and the count, within the time."""

    seconds: float = 30.0
    share: float = 0.3
    count: int = 5

    def too_much(self, lost: int, *, of: int) -> bool:
        """Whether losing so many of so many is more than a source may do without being asked."""
        return lost >= self.count and lost >= self.share * of


@dataclass(frozen=True, slots=True)
class Turn:
    """One believed answer that changed which endpoints a service has."""

    at: float
    had: int
    """How many it had before."""
    lost: Endpoints = ()


@dataclass(frozen=True, slots=True)
class HeldService:
    """One service of one source: what the source says, and what is kept beside it."""

    offered: CatalogService | None = None
    shape: CatalogService | None = None
    """The last service that was listed at all: its attributes stand for what is kept."""
    kept: Endpoints = ()
    doubted: bool = False
    """Kept by (a): the source has not yet said credibly that they are gone."""
    good: int = 0
    """How many endpoints it had when (b) began to keep some; 0 = it does not."""
    turns: tuple[Turn, ...] = ()
    """Those of the last seconds, the oldest first."""

    @property
    def listed(self) -> Endpoints:
        """What the source lists."""
        return self.offered.endpoints if self.offered else ()

    @property
    def passed(self) -> CatalogService | None:
        """What the merge is given."""
        if not self.kept or self.shape is None:
            return self.offered
        held = (replace(endpoint, held=True) for endpoint in self.kept)
        endpoints = sorted((*self.listed, *held), key=lambda e: (e.key, e.service_port))
        return replace(self.offered or self.shape, endpoints=tuple(endpoints))

    @property
    def size(self) -> int:
        """How many endpoints it had before what is being judged."""
        if self.good:
            return self.good
        return self.turns[0].had if self.turns else len(self.listed) + len(self.kept)

    @property
    def recent_loss(self) -> int:
        """How many it lost in the last seconds, net of what it gained."""
        return max(0, self.turns[0].had - len(self.listed)) if self.turns else 0

    @property
    def standing_loss(self) -> int:
        """How many it lacks of what it had when (b) began."""
        return max(0, self.good - len(self.listed)) if self.good else self.recent_loss


@dataclass(frozen=True, slots=True)
class Holds:
    """All services of one source."""

    source: str
    rules: HoldRules = HoldRules()
    services: Map[str, HeldService] = field(default_factory=Map)
    moving: frozenset[str] = frozenset()
    """Hosts with turns or kept by (b): those that a judgement looks at."""
    total: int = 0
    """The sum of all sizes."""
    held: int = 0
    """How many endpoints are kept."""
    forgiven: Map[EndpointKey, float] = field(default_factory=Map)
    """Keys that left our own registry, and when."""


def offered(holds: Holds, event: SourceChanged, *, now: float) -> tuple[Holds, list[SourceChanged]]:
    """Take in what a source says of a service; give what to pass on to the merge.

    That is this service, and others where their loss turns out to be part of too large a one, or
    no longer is. `now` is monotonic, in seconds.
    """
    aged = _aged(holds, now)
    known = aged.services.get(event.host, HeldService())
    if event.suspicious:
        after = _stored(aged, event.host, _doubted(aged, known, event.service))
    else:
        after = _judged(_stored(aged, event.host, _believed(aged, known, event.service, now)))
    return after, _told(holds, after, {event.host})


def accept(holds: Holds) -> tuple[Holds, list[SourceChanged]]:
    """Believe the source: keep nothing, and let what it lost so far count no more."""
    after = holds
    hosts = {host for host, service in holds.services.items() if service.kept or service.turns}
    for host in hosts:
        said = holds.services[host].offered
        after = _stored(after, host, HeldService(said, said))
    return after, _told(holds, after, hosts)


def left_registry(holds: Holds, keys: Iterable[EndpointKey], *, now: float) -> Holds:
    """Take in that these keys left our own registry in order: their catalogs may drop them too."""
    forgiven = {key: at for key, at in holds.forgiven.items() if now - at < FORGIVEN_SECONDS}
    return replace(holds, forgiven=Map({**forgiven, **dict.fromkeys(keys, now)}))


def loaded(holds: Holds, service: CatalogService) -> Holds:
    """Take in a service of the stored view: what the source's first answer is compared with.

    What was held then is held on, until the source has spoken.
    """
    listed = tuple(e for e in service.endpoints if not e.held)
    kept = tuple(replace(e, held=False) for e in service.endpoints if e.held)
    known = HeldService(
        offered=replace(service, endpoints=listed) if listed or not kept else None,
        shape=service,
        kept=kept,
        good=len(service.endpoints) if kept else 0,
    )
    return _stored(holds, service.host, known)


def _doubted(holds: Holds, known: HeldService, said: CatalogService | None) -> HeldService:
    """Take additions and health from a suspicious answer, and keep whatever it lacks."""
    kept = _missing((*known.kept, *_counting(holds, known.listed, said)), said)
    return replace(
        known, offered=said, shape=said or known.shape, kept=kept, doubted=bool(kept), good=0
    )


def _believed(
    holds: Holds, known: HeldService, said: CatalogService | None, now: float
) -> HeldService:
    """Take a credible answer: what was kept only because of doubt is lost by it now."""
    doubtful = known.kept if known.doubted else ()
    before = (*_counting(holds, known.listed, said), *doubtful)
    lost = _missing(before, said)
    gained = len(_keys(said) - {endpoint.key for endpoint in (*known.listed, *known.kept)})
    turns = known.turns
    if known.shape is not None and (lost or gained):
        turns = (*turns, Turn(now, len(before), lost))
    return replace(
        known,
        offered=said,
        shape=said or known.shape,
        kept=() if known.doubted else _missing(known.kept, said),
        doubted=False,
        turns=turns,
    )


def _judged(holds: Holds) -> Holds:
    """Keep what went in the last seconds where it is too much; let go what no longer is."""
    moving = {host: holds.services[host] for host in holds.moving}
    recent = sum(service.recent_loss for service in moving.values())
    if holds.rules.too_much(recent, of=holds.total):
        for host, service in moving.items():
            holds = _stored(holds, host, _keeping(service))
        return holds
    standing = sum(service.standing_loss for service in moving.values())
    if not holds.rules.too_much(standing, of=holds.total):
        for host, service in moving.items():
            if service.good:
                holds = _stored(holds, host, replace(service, kept=(), good=0))
    return holds


def _keeping(service: HeldService) -> HeldService:
    """Bring back all that a service lost in the last seconds, if it is the poorer for it."""
    if not service.recent_loss:
        return service
    lost = {e.key: e for turn in service.turns for e in turn.lost}
    lost.update({e.key: e for e in service.kept})
    return replace(
        service,
        kept=_missing(tuple(lost.values()), service.offered),
        good=max(service.good, service.turns[0].had),
    )


def _aged(holds: Holds, now: float) -> Holds:
    """Let turns go that are older than the time that counts."""
    for host in holds.moving:
        service = holds.services[host]
        turns = tuple(turn for turn in service.turns if now - turn.at <= holds.rules.seconds)
        if turns != service.turns:
            holds = _stored(holds, host, replace(service, turns=turns))
    return holds


def _stored(holds: Holds, host: str, service: HeldService) -> Holds:
    """Replace one service, with the sums."""
    before = holds.services.get(host, HeldService())
    gone = service.offered is None and not service.kept and not service.turns
    if gone:
        service = HeldService()
    services = holds.services.set(host, service)
    moving = service.turns or service.good
    return replace(
        holds,
        services=services.delete(host) if gone else services,
        moving=holds.moving | {host} if moving else holds.moving - {host},
        total=holds.total + service.size - before.size,
        held=holds.held + len(service.kept) - len(before.kept),
    )


def _told(before: Holds, after: Holds, hosts: Iterable[str]) -> list[SourceChanged]:
    """Give the services whose passed view differs, of `hosts` and of those that were judged."""
    changes = []
    for host in sorted({*hosts, *before.moving, *after.moving}):
        old = before.services.get(host, HeldService()).passed
        new = after.services.get(host, HeldService()).passed
        if old != new:
            changes.append(SourceChanged(after.source, host, new))
    return changes


def _counting(holds: Holds, listed: Endpoints, said: CatalogService | None) -> Endpoints:
    """Leave out what is gone and also left our own registry: its going counts for nothing."""
    present = _keys(said)
    return tuple(e for e in listed if e.key in present or e.key not in holds.forgiven)


def _missing(endpoints: Endpoints, said: CatalogService | None) -> Endpoints:
    present = _keys(said)
    return tuple(endpoint for endpoint in endpoints if endpoint.key not in present)


def _keys(service: CatalogService | None) -> frozenset[EndpointKey]:
    return frozenset(e.key for e in service.endpoints) if service else frozenset()
