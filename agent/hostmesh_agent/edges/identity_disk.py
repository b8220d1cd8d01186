"""The host's identity on disk: the only place that reads or writes /var/lib/…/identity.

    host/current -> v-3            host/v-3/{key.pem, chain.pem}
    workloads/<ns>/<sa>/current    the same for each workload
    host.json  grant.json  bundles.json  renewal.json
    pending/request.json             the key of a join that is under way

Key and certificate are one set: a new version is a folder of its own, complete and on disk before
one rename of the link `current` makes it the set, so that after a crash it is the old or the new
one. At most two versions lie there; the older goes when the newer is known to be in use.
The host counts as joined when `host/current` is there, which is therefore written last.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from hostmesh_agent.edges import untrusted_file
from hostmesh_agent.edges.keys import KeyAndRequest
from hostmesh_core import strict_json
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.rotation import Renewal

_VERSION = re.compile(r"v-([0-9]{1,9})")
_LINK = "current"
CALLERS = "callers.json"
"""Beside the identity because it is as private, and goes with it (`edges.callers_file`)."""
_PENDING = "pending"
MOST_BYTES = 16 * 1024 * 1024
"""Of one file: far above what any of them is."""

_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError),
    *(UnsupportedAlgorithm, BadInput),
)
"""What reading files raises that anybody with the agent's user may have written."""


class IdentityUnusable(HostmeshError):
    """What lies on disk cannot be read, or nothing can be written there."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Which host of which mesh this is."""

    host_id: str
    trust_domain: str
    joined_at: float
    """Seconds since the epoch."""
    control_plane: str
    """The address that it enrolled at, for people."""
    token_id: str = ""
    """Which token it joined with, so that the same join run again goes on; no secret."""


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """All that a joined host has on disk."""

    membership: Membership
    host: CertificateSet
    workloads: Mapping[Identity, CertificateSet]
    grant: Grant
    bundles: TrustBundles
    renewal: Renewal


class IdentityDisk:
    """One instance's identity folder (0700, its owner's alone)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> StoredIdentity | None:
        """Give what is there, None before a join. Raises IdentityUnusable.

        A workload's set that cannot be read is left out: it is asked for anew.
        """
        try:
            if not (self._folder / "host" / _LINK).is_symlink():
                return None
            host = _read_set(self._folder / "host")
            return StoredIdentity(
                membership=_membership(_read(self._folder / "host.json"), host),
                host=host,
                workloads=self._workloads(),
                grant=Grant.from_json(json.loads(_read(self._folder / "grant.json"))),
                bundles=TrustBundles.from_json(json.loads(_read(self._folder / "bundles.json"))),
                renewal=Renewal(*json.loads(_read(self._folder / "renewal.json"))),
            )
        except _DAMAGE as error:
            raise IdentityUnusable(
                f"cannot read this host's identity in {self._folder}: {error}; restore it, or join "
                "again: hostmesh-agent leave, then hostmesh-agent join"
            ) from error

    def store_join(
        self,
        membership: Membership,
        *,
        host: CertificateSet,
        grant: Grant,
        bundles: TrustBundles,
        renewal: Renewal = Renewal(),  # noqa: B008 (frozen)
    ) -> None:
        """Store a fresh join, in the place of whatever was there before.

        The pending key goes last: cut short before that, the same join asks again and gets the
        same host.
        """
        self._forget_joined()
        value = {
            "host_id": membership.host_id,
            "trust_domain": membership.trust_domain,
            "joined_at": membership.joined_at,
            "control_plane": membership.control_plane,
            "token_id": membership.token_id,
        }
        self._write_json("host.json", value)
        self.store_grant(grant)
        self.store_bundles(bundles)
        self.store_renewal(renewal)
        self.store_set(None, host)
        self.forget_pending()

    def pending(self, token_id: str) -> KeyAndRequest | None:
        """Give the key that a join with this token has begun with; None = it begins."""
        try:
            kept = json.loads(_read(self._folder / _PENDING / "request.json"))
            if kept["token_id"] != token_id:
                return None
            key, request = kept["key"].encode(), kept["request"].encode()
            return KeyAndRequest(key, bytes.fromhex(kept["request_der"]), request)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # none, or damaged: a new one does as well

    def store_pending(self, token_id: str, key: KeyAndRequest) -> None:
        """Keep the key before the token is sent. Raises IdentityUnusable."""
        value = {
            "token_id": token_id,
            "key": key.key_pem.decode(),
            "request": key.csr_pem.decode(),
            "request_der": key.csr_der.hex(),
        }
        self._write_json(f"{_PENDING}/request.json", value)

    def forget_pending(self) -> None:
        """Remove the key of a join that is done, or that was refused."""
        shutil.rmtree(self._folder / _PENDING, ignore_errors=True)

    def store_set(self, identity: Identity | None, fresh: CertificateSet) -> None:
        """Make `fresh` the set of an identity (None = the host's own).

        The set before stays beside it until `discard_old`; sets before that one go now.
        """
        place = self._place(identity)
        try:
            _make_folder(place, self._folder)
            before = _current(place)
            number = max((n for n in map(_number, place.iterdir()) if n is not None), default=0) + 1
            version = place / f"v-{number}"
            version.mkdir(mode=0o700)
            _write(version / "key.pem", fresh.key_pem)
            _write(version / "chain.pem", fresh.chain_pem)
            _sync_folder(version)
            _sync_folder(place)
            _point(place, version.name)
            _remove_versions(place, keep={version.name, before})
        except OSError as error:
            raise self._unwritable(error) from error

    def discard_old(self, identity: Identity | None) -> None:
        """Remove every key of an identity but the current one's."""
        place = self._place(identity)
        try:
            _remove_versions(place, keep={_current(place)})
        except OSError as error:
            raise self._unwritable(error) from error

    def remove_workload(self, identity: Identity) -> None:
        """Remove all of an identity that this host has no more."""
        shutil.rmtree(self._place(identity), ignore_errors=True)

    def store_grant(self, grant: Grant) -> None:
        """Store what the host may claim."""
        self._write_json("grant.json", grant.to_json())

    def store_bundles(self, bundles: TrustBundles) -> None:
        """Store whom the host trusts."""
        self._write_json("bundles.json", bundles.to_json())

    def store_renewal(self, renewal: Renewal) -> None:
        """Store between which shares of their life certificates are renewed."""
        self._write_json("renewal.json", [renewal.start, renewal.end])

    def forget(self) -> None:
        """Remove the whole identity, its being joined first. Raises IdentityUnusable."""
        self._forget_joined()
        self.forget_pending()

    def _forget_joined(self) -> None:
        try:
            (self._folder / "host" / _LINK).unlink(missing_ok=True)
            for entry in ("host", "workloads"):
                if (self._folder / entry).exists():
                    shutil.rmtree(self._folder / entry)
            for entry in ("host.json", "grant.json", "bundles.json", "renewal.json", CALLERS):
                (self._folder / entry).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _workloads(self) -> dict[Identity, CertificateSet]:
        found: dict[Identity, CertificateSet] = {}
        for link in sorted((self._folder / "workloads").glob(f"*/*/{_LINK}")):
            try:
                identity = Identity.parse(f"{link.parent.parent.name}/{link.parent.name}")
                found[identity] = _read_set(link.parent)
            except _DAMAGE:
                continue
        return found

    def _place(self, identity: Identity | None) -> Path:
        if identity is None:
            return self._folder / "host"
        # Read back as an identity: what is no pair of DNS labels is no path either.
        parsed = Identity.parse(str(identity))
        return self._folder / "workloads" / parsed.namespace / parsed.service_account

    def _write_json(self, name: str, value: object) -> None:
        try:
            place = (self._folder / name).parent
            _make_folder(place, self._folder)
            beside = self._folder / f"{name}.new"
            _write(beside, json.dumps(value, indent=1, sort_keys=True).encode())
            beside.replace(self._folder / name)
            _sync_folder(place)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> IdentityUnusable:
        return IdentityUnusable(
            f"cannot write this host's identity in {self._folder}: {error.strerror or error}; "
            "the set before stays in force"
        )


def _membership(data: bytes, host: CertificateSet) -> Membership:
    """Read host.json. Raises BadInput where a field is not what it should be.

    Root shows it and looks for more by it: its names have to be those of the host's certificate.
    """
    fields = strict_json.Fields({"token_id": "", **json.loads(data)}, where="host.json")
    membership = Membership(
        host_id=fields.text("host_id"),
        trust_domain=fields.text("trust_domain"),
        joined_at=fields.number("joined_at"),
        control_plane=fields.text("control_plane"),
        token_id=fields.text("token_id"),
    )
    fields.end()
    certified = host.facts.spiffe_id
    if certified != SpiffeId.of_host(membership.trust_domain, membership.host_id):
        raise BadInput(f"cannot use host.json: its host is not the certificate's, {certified}")
    return membership


def _read_set(place: Path) -> CertificateSet:
    version = place / _LINK
    return CertificateSet.read(_read(version / "key.pem"), _read(version / "chain.pem"))


def _read(path: Path) -> bytes:
    """Root reads here too (`leave`, `capture compile`), in a folder that is the agent's user's."""
    return untrusted_file.read(str(path), MOST_BYTES)


def _current(place: Path) -> str:
    link = place / _LINK
    return str(link.readlink()) if link.is_symlink() else ""


def _number(entry: Path) -> int | None:
    match = _VERSION.fullmatch(entry.name)
    return int(match[1]) if match else None


def _point(place: Path, version: str) -> None:
    beside = place / f"{_LINK}.new"
    beside.unlink(missing_ok=True)
    beside.symlink_to(version)
    beside.rename(place / _LINK)
    _sync_folder(place)


def _remove_versions(place: Path, *, keep: set[str]) -> None:
    for entry in place.iterdir():
        if _number(entry) is not None and entry.name not in keep:
            shutil.rmtree(entry)
    _sync_folder(place)


def _make_folder(folder: Path, top: Path) -> None:
    """Make `folder` and what is missing between it and `top`, each its owner's alone."""
    missing = [p for p in (folder, *folder.parents) if p.is_relative_to(top) and not p.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, parents=path == top)
        _sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
