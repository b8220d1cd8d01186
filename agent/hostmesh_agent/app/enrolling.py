"""Enrols a host under its instance's lock: what the whole `join` and `--enrol-only` have in common.

Two at once would make two hosts, and leave the identity of one with the certificate of the other.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app import join
from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import folders, instance_lock, made_folders, mesh_disk, own_processes
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.identity_disk import IdentityDisk, StoredIdentity
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import HostLayout

Say = Callable[[str], None]
Answer = dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Which instance enrols, with what, as whom."""

    config: AgentConfig
    layout: HostLayout
    agent: User
    envoy: User


@contextmanager
def enrolled(place: Place, token_text: str | None, say: Say) -> Iterator[Answer]:
    """Enrol, or find that it was done, and hold the lock for what comes after it.

    `token_text` None = an earlier run used it. Raises BadInput, Refused and what `app.join` raises,
    with nothing left of what was made for it.
    """
    if os.geteuid() != 0:
        _make_folders(place)  # the lock is one of them
    with instance_lock.held(place.layout, say=say):
        _make_folders(place)
        try:
            joined = run_as(place.agent, lambda: _values(_joined(place, token_text, say), place))
        except HostmeshError:
            _undo(place.layout)
            raise
        note_mesh(place.layout, joined)
        yield joined


def is_joined(layout: HostLayout) -> bool:
    """Tell whether an identity that lives is here: then a join can go on without its token."""
    try:
        return _living(layout) is not None
    except HostmeshError:
        return False


def note_mesh(layout: HostLayout, joined: Mapping[str, object]) -> None:
    """Let root note which mesh was joined while it is: later the agent has a hand in it.

    `clock_seconds` None says that this run found the host joined. Raises CannotWrite.
    """
    fresh = joined["clock_seconds"] is not None
    if os.geteuid() == 0 and (fresh or not Path(layout.mesh_file).exists()):
        mesh_disk.write(layout, str(joined["trust_domain"]))


def _make_folders(place: Place) -> None:
    wanted = folders.wanted(place.layout, agent=place.agent, envoy=place.envoy)
    made_folders.make(place.layout, wanted)


def _living(layout: HostLayout) -> StoredIdentity | None:
    return join.living(IdentityDisk(Path(layout.identity_dir)), SystemClock().wall())


def _joined(place: Place, token_text: str | None, say: Say) -> join.Joined:
    """Enrol, or find that it was done. Runs as the agent's user."""
    stored = _living(place.layout)
    if stored is None and token_text is None:
        raise BadInput("cannot join: the token's file is not there, and this host has not joined")
    if stored is not None and token_text is None:
        return join.resumed(stored)
    if stored is None:
        say("enrolling")
    return join.join(place.config, place.layout, str(token_text), hostname=socket.gethostname())


def _values(joined: join.Joined, place: Place) -> Answer:
    return {
        "host_id": joined.host_id,
        "identity": str(joined.default_identity or "several identities"),
        "trust_domain": joined.trust_domain,
        "clock_seconds": joined.clock_seconds,
        "control_plane": str(place.config.control_planes[0]),
        "services": sorted({claim.service for claim in joined.grant.claims if claim.service}),
        "identity_dir": place.layout.identity_dir,
    }


def _undo(layout: HostLayout) -> None:
    """Take the folders away again where nothing came of it, unless the answer was lost alone."""
    kept = any(path.is_file() for path in Path(layout.identity_dir).rglob("*"))
    if not kept and not own_processes.of_instance(layout):
        with suppress(OSError):
            made_folders.remove(layout)
