"""What the catalog edges tell: raw answers with the facts that decide how far to believe them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileText:
    """One file as it was read; `problem` = a sentence why it could not be, then `text` is empty."""

    path: str
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FilesRead:
    """Files of a static source that are new, changed or gone. The first one names all."""

    source: str
    changed: tuple[FileText, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsulFacts:
    """What an answer of Consul says of itself, by its headers. 1.8.7 lacks the last one."""

    index: int
    known_leader: bool = True
    last_contact_ms: int = 0
    filtered_by_acl: bool = False


@dataclass(frozen=True, slots=True)
class ConsulNames:
    """The names of a datacenter's services; only for what is to be watched."""

    source: str
    names: tuple[str, ...]
    facts: ConsulFacts
    left_out: tuple[str, ...] = ()
    """Names that are not watched, because there are too many."""


@dataclass(frozen=True, slots=True)
class ConsulService:
    """The instances of one service, as `/v1/health/service/<name>` lists them (parsed JSON)."""

    source: str
    service: str
    instances: tuple[object, ...]
    facts: ConsulFacts
    sentinel: int | None = None
    """How many servers `/v1/health/service/consul` listed, asked after an answer that lacks an
    instance of the one before; None = not asked, because nothing was lacking."""


@dataclass(frozen=True, slots=True)
class ConsulUnread:
    """The answer about one service cannot be read; its last view stays."""

    source: str
    service: str
    reason: str
    """A sentence that starts with "cannot"."""


@dataclass(frozen=True, slots=True)
class ConsulSentinel:
    """How many servers the sentinel lists: 0 = the token cannot read it, or lost what it read."""

    source: str
    servers: int


@dataclass(frozen=True, slots=True)
class SourceAway:
    """A source does not answer, or no longer lets us read: its last view stays."""

    source: str
    reason: str
    """A sentence that starts with "cannot" and says when the next try is."""


@dataclass(frozen=True, slots=True)
class SourceBack:
    """A source answers again."""

    source: str


@dataclass(frozen=True, slots=True)
class SourceSynced:
    """Everything that a source has was told at least once."""

    source: str


CatalogFact = (
    FilesRead
    | ConsulNames
    | ConsulService
    | ConsulSentinel
    | ConsulUnread
    | SourceAway
    | SourceBack
    | SourceSynced
)
"""What a catalog edge puts on the app's queue."""
