"""The embedded authority: what it makes, what it keeps, what it refuses to replace."""

import asyncio
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hostmesh_controlplane.edges import ca_keys
from hostmesh_controlplane.edges.ca_keys import AuthorityDamaged, EmbeddedSigner, Signed
from hostmesh_controlplane.logic.authority import Template
from hostmesh_core import x509
from hostmesh_core.ids import SpiffeId
from hostmesh_testing import forge
from hostmesh_testing.fixed import CountingEntropy

NOW = 1_800_000_000.0
DAY = 86400.0
WEB = SpiffeId("mesh.internal", "/ns/default/sa/web")


def _open(folder: Path, *, trust_domain: str = "mesh.internal", now: float = NOW) -> EmbeddedSigner:
    serial = CountingEntropy().serial
    return EmbeddedSigner(folder / "ca", trust_domain=trust_domain, serial=serial, now=now)


def _signed(signer: EmbeddedSigner, *, now: float = NOW, life: float = 3 * DAY) -> Signed:
    template = Template(WEB, forge.spki(forge.key("web")), now - 300, now + life)
    return asyncio.run(signer.sign(template, now=now))


def _verified(signed: Signed, signer: EmbeddedSigner, *, now: float = NOW) -> x509.CertificateFacts:
    chain = [x509.load_der(der) for der in signed.chain_der]
    return x509.verify_chain(chain, [signer.root], now=now)


def test_a_leaf_carries_its_chain_and_verifies_to_the_root(tmp_path: Path) -> None:
    signer = _open(tmp_path)
    signed = _signed(signer)
    facts = _verified(signed, signer)
    assert facts.spiffe_id == WEB
    assert (facts.serial, facts.not_before, facts.not_after) == (
        signed.serial,
        signed.not_before,
        signed.not_after,
    )
    assert (signed.not_before, signed.not_after) == (NOW - 300, NOW + 3 * DAY)
    assert len(signed.chain_der) == 2
    assert signer.roots_der == (x509.to_der(signer.root),)


def test_what_a_leaf_states(tmp_path: Path) -> None:
    leaf = x509.load_der(_signed(_open(tmp_path)).chain_der[0])
    extensions = {e.oid._name: e for e in leaf.extensions}
    assert extensions["subjectAltName"].critical  # there is no other subject
    assert leaf.subject.rfc4514_string() == ""
    usage = extensions["extendedKeyUsage"].value
    assert {oid._name for oid in usage} == {"serverAuth", "clientAuth"}
    assert not x509.is_authority(leaf)
    assert x509.dns_names_of(leaf) == ()


def test_the_root_states_its_trust_domain(tmp_path: Path) -> None:
    signer = _open(tmp_path, trust_domain="a.example.net")
    assert x509.trust_domain_of_root(signer.root) == "a.example.net"


def test_a_trust_domain_of_any_length_has_a_root(tmp_path: Path) -> None:
    domain = ".".join(["long" * 12] * 4)
    assert x509.trust_domain_of_root(_open(tmp_path, trust_domain=domain).root) == domain


def test_the_authority_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first, again = _open(tmp_path), _open(tmp_path, now=NOW + DAY)
    assert first.roots_der == again.roots_der
    assert _signed(first).chain_der[1] == _signed(again).chain_der[1]


def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    _open(tmp_path)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "ca").iterdir()}
    assert modes == {"root.pem": 0o600, "intermediate.pem": 0o600}
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_a_crash_between_root_and_intermediate_is_finished_by_the_next_start(
    tmp_path: Path,
) -> None:
    root = _open(tmp_path).root
    (tmp_path / "ca" / "intermediate.pem").unlink()
    (tmp_path / "ca" / "intermediate.new").write_bytes(b"half of one")
    signer = _open(tmp_path)
    assert signer.root == root
    assert _verified(_signed(signer), signer).spiffe_id == WEB


def test_the_intermediate_is_made_anew_at_half_its_life_and_old_leaves_hold(
    tmp_path: Path,
) -> None:
    signer = _open(tmp_path)
    before = _signed(signer)
    later = NOW + 190 * DAY
    after = _signed(signer, now=later)
    assert after.chain_der[1] != before.chain_der[1]
    assert _verified(after, signer, now=later).spiffe_id == WEB
    assert _verified(before, signer).spiffe_id == WEB
    assert _signed(_open(tmp_path, now=later), now=later).chain_der[1] == after.chain_der[1]


def test_no_leaf_outlives_its_intermediate(tmp_path: Path) -> None:
    signer = _open(tmp_path)
    signed = _signed(signer, life=10_000 * DAY)
    intermediate = x509.load_der(signed.chain_der[1])
    assert signed.not_after == intermediate.not_valid_after_utc.timestamp()
    assert intermediate.not_valid_after_utc < signer.root.not_valid_after_utc


def _root_gone(folder: Path) -> None:
    (folder / "root.pem").unlink()


def _root_cut(folder: Path) -> None:
    (folder / "root.pem").write_bytes((folder / "root.pem").read_bytes()[:100])


def _root_without_key(folder: Path) -> None:
    text = (folder / "root.pem").read_text()
    (folder / "root.pem").write_text(text[text.index("-----BEGIN CERT") :])


def _root_of_another_key(folder: Path) -> None:
    text = (folder / "root.pem").read_text()
    other = forge.key_pem(forge.key("other")).decode()
    (folder / "root.pem").write_text(other + text[text.index("-----BEGIN CERT") :])


def _intermediate_of_another_root(folder: Path) -> None:
    other = folder.parent / "other"
    _open(other)
    shutil.copy(other / "ca" / "intermediate.pem", folder / "intermediate.pem")


def _root_replaced(folder: Path) -> None:
    other = folder.parent / "other"
    _open(other)
    shutil.copy(other / "ca" / "root.pem", folder / "root.pem")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_root_gone, id="the root is gone"),
        pytest.param(_root_cut, id="the root's file is cut"),
        pytest.param(_root_without_key, id="the root's key is gone"),
        pytest.param(_root_of_another_key, id="the root has another key"),
        pytest.param(_intermediate_of_another_root, id="the intermediate is another root's"),
        pytest.param(_root_replaced, id="the root was replaced"),
    ],
)
def test_damage_is_named_and_nothing_is_made_in_its_place(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    _open(tmp_path)
    folder = tmp_path / "ca"
    damage(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(AuthorityDamaged, match="cannot open the authority") as caught:
        _open(tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert "PRIVATE" not in str(caught.value)
    assert "restore" in str(caught.value)


def test_another_trust_domain_is_refused_with_both_names(tmp_path: Path) -> None:
    _open(tmp_path)
    with pytest.raises(AuthorityDamaged, match=r"cannot use trust_domain b.net: .* mesh.internal"):
        _open(tmp_path, trust_domain="b.net")


def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    signer, pair = _open(tmp_path), ca_keys.make_key_pair()
    shown = f"{pair!r} {signer!r} {vars(signer)!r}"
    assert "PRIVATE" not in shown
    assert pair.key_pem.splitlines()[1].decode() not in shown


@pytest.mark.process
def test_openssl_in_its_strict_mode_agrees(tmp_path: Path) -> None:
    signer = _open(tmp_path)
    leaf, intermediate = (x509.load_der(der) for der in _signed(signer).chain_der)
    files = {"root": [signer.root], "chain": [intermediate], "leaf": [leaf]}
    for name, certificates in files.items():
        (tmp_path / name).write_bytes(x509.to_pem(certificates))
    for purpose in ("sslserver", "sslclient"):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        command += ["-attime", str(int(NOW)), "-CAfile", str(tmp_path / "root")]
        command += ["-untrusted", str(tmp_path / "chain"), str(tmp_path / "leaf")]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
