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

AGE_EVERY_SECONDS = 1.0

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
    """One believed answer that changed which endpoints a service has.

    Additions and losses near in time cancel each other out once and for all: an addition that
    has made up for a loss does so still when it is too old to count itself.
    """

    at: float
    gained: int = 0
    """Additions that have made up for no loss yet."""
    lost: int = 0
    """Losses that no addition made up for yet."""
    endpoints: Endpoints = ()
    """All that it lost."""


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
    def count(self) -> int:
        """How many endpoints the merge is given."""
        return len(self.listed) + len(self.kept)

    @property
    def size(self) -> int:
        """How many endpoints it had before what is being judged."""
        return self.good or len(self.listed) + len(self.kept) + self.recent_loss

    @property
    def recent_loss(self) -> int:
        """How many it lost in the last seconds, net of what it gained."""
        return sum(turn.lost for turn in self.turns)

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
    moving: Map[str, None] = field(default_factory=Map)
    """Hosts with turns or kept by (b): those that a judgement is about."""
    present: int = 0
    """How many endpoints are passed on."""
    total: int = 0
    """The sum of all sizes; the next ones likewise, so that an answer costs what it touches."""
    recent: int = 0
    standing: int = 0
    held: int = 0
    """How many endpoints are kept."""
    keeping: int = 0
    """Of how many services (b) keeps some."""
    crossed: bool = False
    """The last judgement found the recent loss too much: all that moved is kept already."""
    aged_at: float = 0.0
    forgiven: Map[EndpointKey, float] = field(default_factory=Map)
    """Keys that left our own registry, and when."""


def offered(holds: Holds, event: SourceChanged, *, now: float) -> tuple[Holds, list[SourceChanged]]:
    """Take in what a source says of a service; give what to pass on to the merge.

    That is this service, and others where their loss turns out to be part of too large a one, or
    no longer is. `now` is monotonic, in seconds.
    """
    aged = _aged(holds, now)
    known = aged.services.get(event.host, HeldService())
    hosts = frozenset({event.host})
    if event.suspicious:
        after = _stored(aged, event.host, _doubted(aged, known, event.service))
    else:
        believed = _stored(aged, event.host, _believed(aged, known, event.service, now))
        after, judged = _judged(believed, event.host)
        hosts |= judged
    return after, _told(holds, after, hosts)


def accept(holds: Holds) -> tuple[Holds, list[SourceChanged]]:
    """Believe the source: keep nothing, and let what it lost so far count no more."""
    after = holds
    hosts = {host for host, service in holds.services.items() if service.kept or service.turns}
    for host in hosts:
        said = holds.services[host].offered
        after = _stored(after, host, HeldService(said, said))
    return replace(after, crossed=False), _told(holds, after, hosts)


def left_registry(holds: Holds, keys: Iterable[EndpointKey], *, now: float) -> Holds:
    """Take in that these keys left our own registry in order: their catalogs may drop them too."""
    return replace(holds, forgiven=holds.forgiven.update(dict.fromkeys(keys, now)))


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
        turns = _netted(turns, Turn(now, gained, len(lost), lost))
    return replace(
        known,
        offered=said,
        shape=said or known.shape,
        kept=() if known.doubted else _missing(known.kept, said),
        doubted=False,
        turns=turns,
    )


def _judged(holds: Holds, host: str) -> tuple[Holds, frozenset[str]]:
    """Keep what went in the last seconds where it is too much; let go what no longer is.

    Gives also the hosts that were looked at for it.
    """
    if holds.rules.too_much(holds.recent, of=holds.total):
        hosts = {host} if holds.crossed else set(holds.moving)
        for one in hosts:
            service = holds.services.get(one)
            if service is not None:
                holds = _stored(holds, one, _keeping(service))
        return replace(holds, crossed=True), frozenset(hosts)
    holds = replace(holds, crossed=False)
    if not holds.keeping or holds.rules.too_much(holds.standing, of=holds.total):
        return holds, frozenset()
    hosts = {one for one in holds.moving if holds.services[one].good}
    for one in hosts:
        holds = _stored(holds, one, replace(holds.services[one], kept=(), good=0))
    return holds, frozenset(hosts)


def _netted(turns: tuple[Turn, ...], new: Turn) -> tuple[Turn, ...]:
    """Add a turn; what it gained makes up for losses, and the other way round, the oldest first."""
    gained, lost = new.gained, new.lost
    within = min(gained, lost)
    gained, lost = gained - within, lost - within
    netted = []
    for turn in turns:
        made_up, eaten = min(turn.lost, gained), min(turn.gained, lost)
        gained, lost = gained - made_up, lost - eaten
        netted.append(replace(turn, lost=turn.lost - made_up, gained=turn.gained - eaten))
    return (*netted, replace(new, gained=gained, lost=lost))


def _keeping(service: HeldService) -> HeldService:
    """Bring back what a service lost in the last seconds, if it is the poorer for it."""
    if not service.recent_loss:
        return service
    lost = {e.key: e for turn in service.turns if turn.lost for e in turn.endpoints}
    lost.update({e.key: e for e in service.kept})
    return replace(
        service,
        kept=_missing(tuple(lost.values()), service.offered),
        good=max(service.good, len(service.listed) + service.recent_loss),
    )


def _aged(holds: Holds, now: float) -> Holds:
    """Let go what is older than the time that counts; looked for once a second."""
    if now - holds.aged_at < AGE_EVERY_SECONDS:
        return holds
    forgiven = {key: at for key, at in holds.forgiven.items() if now - at < FORGIVEN_SECONDS}
    for host in holds.moving:
        service = holds.services[host]
        turns = tuple(turn for turn in service.turns if now - turn.at <= holds.rules.seconds)
        if turns != service.turns:
            holds = _stored(holds, host, replace(service, turns=turns))
    return replace(holds, forgiven=Map(forgiven), aged_at=now)


def _stored(holds: Holds, host: str, service: HeldService) -> Holds:
    """Replace one service, with the sums."""
    before = holds.services.get(host, HeldService())
    gone = service.offered is None and not service.kept and not service.turns
    if gone:
        service = HeldService()
    services = holds.services.set(host, service)
    moving = holds.moving.set(host, None)
    return replace(
        holds,
        services=services.delete(host) if gone else services,
        moving=moving if service.turns or service.good else moving.delete(host),
        present=holds.present + service.count - before.count,
        total=holds.total + service.size - before.size,
        recent=holds.recent + service.recent_loss - before.recent_loss,
        standing=holds.standing + service.standing_loss - before.standing_loss,
        held=holds.held + len(service.kept) - len(before.kept),
        keeping=holds.keeping + (service.good > 0) - (before.good > 0),
    )


def _told(before: Holds, after: Holds, hosts: Iterable[str]) -> list[SourceChanged]:
    """Give those of `hosts` whose passed view differs."""
    changes = []
    for host in sorted(hosts):
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
