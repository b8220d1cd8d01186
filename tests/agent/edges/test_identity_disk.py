"""The identity on disk: after a crash at any moment it is the old set or the new one, whole."""

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hostmesh_agent.edges.identity_disk import IdentityDisk, IdentityUnusable, Membership
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity
from hostmesh_testing import forge

WEB = Identity("default", "web")
MEMBERSHIP = Membership("f" * 32, "mesh.internal", 1_800_000_000.0, "cp1:15013")
GRANT = Grant((Claim("default", "web", "web"),))
BUNDLES = TrustBundles.of({"mesh.internal": [forge.root().der]})


def _set(name: str, uri: str = "spiffe://mesh.internal/ns/default/sa/web") -> CertificateSet:
    made = forge.certificate(uris=[uri], private=forge.key(name))
    return CertificateSet.read(forge.key_pem(forge.key(name)), forge.pem(made))


HOST = _set("host", "spiffe://mesh.internal/hostmesh/host/" + "f" * 32)
ONE, TWO, THREE = _set("one"), _set("two"), _set("three")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "identity"


@pytest.fixture
def joined(folder: Path) -> IdentityDisk:
    disk = IdentityDisk(folder)
    disk.store_join(MEMBERSHIP, host=HOST, grant=GRANT, bundles=BUNDLES)
    return disk


def _keys(folder: Path, identity: Identity = WEB) -> set[bytes]:
    place = folder / "workloads" / identity.namespace / identity.service_account
    return {path.read_bytes() for path in place.rglob("key.pem") if not path.parent.is_symlink()}


def test_before_a_join_there_is_nothing(folder: Path) -> None:
    assert IdentityDisk(folder).load() is None
    folder.mkdir()
    assert IdentityDisk(folder).load() is None


def test_what_is_stored_is_loaded(folder: Path, joined: IdentityDisk) -> None:
    joined.store_set(WEB, ONE)
    stored = IdentityDisk(folder).load()
    assert stored is not None
    assert stored.membership == MEMBERSHIP
    assert (stored.host, stored.grant, stored.bundles) == (HOST, GRANT, BUNDLES)
    assert stored.workloads == {WEB: ONE}


def test_everything_is_its_owners_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        disk = IdentityDisk(folder)
        disk.store_join(MEMBERSHIP, host=HOST, grant=GRANT, bundles=BUNDLES)
        disk.store_set(WEB, ONE)
    finally:
        os.umask(before)
    paths = [folder, *folder.rglob("*")]
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in paths if not path.is_symlink()}
    assert modes == {0o700, 0o600}


def test_the_key_before_stays_until_the_new_one_is_in_use(
    folder: Path, joined: IdentityDisk
) -> None:
    joined.store_set(WEB, ONE)
    joined.store_set(WEB, TWO)
    assert _keys(folder) == {ONE.key_pem, TWO.key_pem}
    joined.discard_old(WEB)
    assert _keys(folder) == {TWO.key_pem}
    stored = joined.load()
    assert stored is not None
    assert stored.workloads[WEB] == TWO


def test_there_are_never_more_than_two_versions(folder: Path, joined: IdentityDisk) -> None:
    for fresh in (ONE, TWO, THREE):
        joined.store_set(WEB, fresh)
    assert _keys(folder) == {TWO.key_pem, THREE.key_pem}


def test_what_a_crash_left_half_written_is_swept_away(folder: Path, joined: IdentityDisk) -> None:
    joined.store_set(WEB, ONE)
    half = folder / "workloads" / "default" / "web" / "v-7"
    half.mkdir()
    (half / "key.pem").write_bytes(b"half")
    joined.store_set(WEB, TWO)
    assert _keys(folder) == {ONE.key_pem, TWO.key_pem}
    stored = joined.load()
    assert stored is not None
    assert stored.workloads[WEB] == TWO


def test_a_workload_is_removed_with_its_keys(folder: Path, joined: IdentityDisk) -> None:
    joined.store_set(WEB, ONE)
    joined.remove_workload(WEB)
    joined.remove_workload(Identity("default", "never-there"))
    assert _keys(folder) == set()


def test_what_changes_alone_is_replaced_alone(joined: IdentityDisk) -> None:
    wider = Grant((*GRANT.claims, Claim("default", "api", "api")))
    two_roots = TrustBundles.of({"mesh.internal": [forge.root().der, forge.root(name="n").der]})
    joined.store_grant(wider)
    joined.store_bundles(two_roots)
    stored = joined.load()
    assert stored is not None
    assert (stored.grant, stored.bundles, stored.host) == (wider, two_roots, HOST)


def test_forgetting_leaves_no_key(folder: Path, joined: IdentityDisk) -> None:
    joined.store_set(WEB, ONE)
    joined.forget()
    assert joined.load() is None
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    joined.forget()


def test_a_new_join_takes_the_place_of_an_old_one_whole(joined: IdentityDisk) -> None:
    joined.store_set(WEB, ONE)
    other = Membership("f" * 32, "mesh.internal", 1.0, "cp2:15013")
    joined.store_join(other, host=HOST, grant=Grant(), bundles=BUNDLES)
    stored = joined.load()
    assert stored is not None
    assert (stored.membership, stored.workloads, stored.grant) == (other, {}, Grant())


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(Identity("..", ".."), id="that climbs"),
        pytest.param(Identity("default", "a/b"), id="with a slash"),
        pytest.param(Identity("", "web"), id="of no namespace"),
    ],
)
def test_no_folder_is_made_for_an_identity(
    folder: Path, joined: IdentityDisk, identity: Identity
) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(Exception, match="cannot read identity"):
        joined.store_set(identity, ONE)
    assert sorted(folder.parent.rglob("*")) == before


def _cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:20])


def _gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _other_key(folder: Path) -> None:
    (folder / "host" / "current" / "key.pem").write_bytes(ONE.key_pem)


def _value(name: str, **more: object) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**value, **more}))

    return write


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_value("host.json", host_id=5), id="a number for the host"),
        pytest.param(_value("host.json", host_id="e" * 32), id="another host than certified"),
        pytest.param(_value("host.json", trust_domain=["a"]), id="a list for the domain"),
        pytest.param(_value("host.json", trust_domain="\x1b[2J"), id="an escape for the domain"),
        pytest.param(_value("host.json", control_plane=None), id="nothing for the address"),
        pytest.param(_value("host.json", joined_at="now"), id="a word for the time"),
        pytest.param(_value("host.json", more=1), id="one key more"),
        pytest.param(_value("grant.json", claims=[5]), id="a number for a claim"),
        pytest.param(_cut("host/current/key.pem"), id="the key is cut"),
        pytest.param(_cut("host/current/chain.pem"), id="the chain is cut"),
        pytest.param(_gone("host/current/key.pem"), id="the key is gone"),
        pytest.param(_other_key, id="the key is another's"),
        pytest.param(_cut("host.json"), id="the membership is cut"),
        pytest.param(_gone("grant.json"), id="the grant is gone"),
        pytest.param(_cut("bundles.json"), id="the bundles are cut"),
    ],
)
def test_damage_is_said_with_the_way_out(
    folder: Path, joined: IdentityDisk, damage: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(
        IdentityUnusable, match=r"cannot read this host's identity .*leave"
    ) as caught:
        joined.load()
    assert "PRIVATE" not in str(caught.value)


def test_a_damaged_workload_is_left_out_and_the_rest_stands(
    folder: Path, joined: IdentityDisk
) -> None:
    joined.store_set(WEB, ONE)
    joined.store_set(Identity("default", "api"), TWO)
    (folder / "workloads/default/web/current/key.pem").write_bytes(b"")
    (folder / "workloads/default/.hidden").mkdir()
    stored = joined.load()
    assert stored is not None
    assert set(stored.workloads) == {Identity("default", "api")}


def test_a_disk_that_takes_nothing_is_said_and_the_old_set_stays(
    joined: IdentityDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined.store_set(WEB, ONE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(IdentityUnusable, match=r"No space left on device; the set before stays"):
        joined.store_set(WEB, TWO)
    monkeypatch.undo()
    stored = joined.load()
    assert stored is not None
    assert stored.workloads[WEB] == ONE


class _Crash(BaseException):
    """The machine stops here."""


def _crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """Stop at the so-manieth call that changes something on disk; tells how many there were."""
    count = [0]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            count[0] += 1
            if count[0] == step:
                raise _Crash
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "mkdir", "open", "rename", "replace", "symlink", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return lambda: count[0]


def test_a_crash_at_any_moment_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    step, seen = 0, set()
    while True:
        step += 1
        folder = tmp_path / str(step)
        disk = IdentityDisk(folder)
        disk.store_join(MEMBERSHIP, host=HOST, grant=GRANT, bundles=BUNDLES)
        disk.store_set(WEB, ONE)
        disk.store_set(WEB, TWO)
        with pytest.MonkeyPatch.context() as patch:
            happened = _crash_at(patch, step)
            with suppress(_Crash):
                disk.store_set(WEB, THREE)
                disk.discard_old(WEB)
            done = happened() < step
        stored = IdentityDisk(folder).load()
        assert stored is not None
        assert stored.workloads[WEB] in (TWO, THREE), f"crash at step {step}"
        seen.add(stored.workloads[WEB].facts.serial)
        # And the next renewal goes well, whatever was left lying about.
        disk.store_set(WEB, ONE)
        disk.discard_old(WEB)
        assert _keys(folder) == {ONE.key_pem}
        if done:
            break
    assert step > 15
    assert len(seen) == 2


def test_a_crash_during_a_join_leaves_a_host_that_has_not_joined_or_has(tmp_path: Path) -> None:
    step, seen = 0, set()
    while True:
        step += 1
        folder = tmp_path / str(step)
        with pytest.MonkeyPatch.context() as patch:
            happened = _crash_at(patch, step)
            with suppress(_Crash):
                IdentityDisk(folder).store_join(MEMBERSHIP, host=HOST, grant=GRANT, bundles=BUNDLES)
            done = happened() < step
        stored = IdentityDisk(folder).load()
        seen.add(stored is not None)
        if stored is not None:
            assert (stored.host, stored.grant, stored.bundles) == (HOST, GRANT, BUNDLES)
        IdentityDisk(folder).store_join(MEMBERSHIP, host=HOST, grant=GRANT, bundles=BUNDLES)
        if done:
            break
    assert step > 15
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["host.json", "grant.json", "host/current/key.pem"])
def test_a_pipe_in_a_file_s_place_keeps_nobody_waiting(
    folder: Path, joined: IdentityDisk, name: str
) -> None:
    """Root reads here when it leaves, in a folder that is the agent's user's."""
    del joined
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(IdentityUnusable, match="no regular file"):
        IdentityDisk(folder).load()
