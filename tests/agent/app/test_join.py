"""Joining over real sockets: what a host gets, and how its control plane says no."""

import stat
from pathlib import Path

import pytest

from hostmesh_agent.app import join as joining
from hostmesh_agent.app.join import AlreadyJoined
from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges.enrolment_client import (
    EnrolmentRefused,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk, Membership
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Grant
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import Identity
from hostmesh_testing import forge
from hostmesh_testing.enrolment import (
    enrolment_server,
)
from hostmesh_testing.joiner import (
    Pauses,
    join,
    layout_below,
)

pytestmark = pytest.mark.process


@pytest.fixture
def layout(tmp_path: Path) -> HostLayout:
    return layout_below(tmp_path)


def test_a_host_joins_and_holds_what_it_got(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        joined = join(server, layout, server.token())
        assert joined.trust_domain == "mesh.internal"
        assert joined.default_identity == Identity("default", "reviews")
        record = server.authority.host(joined.host_id)
        assert record is not None
        assert record.hostname == "web-1"
    stored = IdentityDisk(Path(layout.identity_dir)).load()
    assert stored is not None
    assert stored.membership.host_id == joined.host_id
    assert stored.grant == record.grant
    assert stored.bundles == server.authority.bundles
    assert record.host is not None
    assert stored.host.facts.serial == record.host.serial
    for path in Path(layout.identity_dir).rglob("*"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_host_that_joined_is_told_so(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        token = server.token(uses=2)
        joined = join(server, layout, token)
        with pytest.raises(AlreadyJoined, match="hostmesh-agent leave") as caught:
            join(server, layout, server.token())
        assert joined.host_id[:8] in str(caught.value)
        again = join(server, layout, token)
        assert (again.host_id, again.clock_seconds) == (joined.host_id, None)
        assert len(server.authority.hosts()) == 1


class _Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("point", ["store_grant", "store_bundles", "store_renewal", "store_set"])
def test_a_join_that_is_cut_short_asks_again_with_its_key_and_is_the_same_host(
    tmp_path: Path, layout: HostLayout, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def killed(*_: object) -> None:
        raise _Killed

    with enrolment_server(tmp_path / "cp") as server:
        token = server.token()
        with monkeypatch.context() as patched:
            patched.setattr(IdentityDisk, point, killed)
            with pytest.raises(_Killed):
                join(server, layout, token)
        disk = IdentityDisk(Path(layout.identity_dir))
        assert disk.load() is None
        joined = join(server, layout, token)
        assert [host.host_id for host in server.authority.hosts()] == [joined.host_id]
        assert not (Path(layout.identity_dir) / "pending").exists()


def test_a_refused_join_keeps_no_key(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        token = server.token()
        join(server, layout_below(tmp_path / "other"), token)
        with pytest.raises(EnrolmentRefused):
            join(server, layout, token)
    assert list(Path(layout.identity_dir).rglob("*.json")) == []


def test_a_host_whose_certificate_ended_joins_anew(tmp_path: Path, layout: HostLayout) -> None:
    disk = IdentityDisk(Path(layout.identity_dir))
    ended = forge.certificate(
        uris=["spiffe://mesh.internal/hostmesh/host/" + "e" * 32],
        private=forge.key("ended"),
        life=(1_500_000_000.0, 1_600_000_000.0),
    )
    held = CertificateSet.read(forge.key_pem(forge.key("ended")), forge.pem(ended))
    membership = Membership("e" * 32, "mesh.internal", 1_500_000_000.0, "cp:15013")
    disk.store_join(membership, host=held, grant=Grant(), bundles=TrustBundles())
    disk.store_set(Identity("default", "old"), held)
    with enrolment_server(tmp_path / "cp") as server:
        joined = join(server, layout, server.token())
    stored = disk.load()
    assert stored is not None
    assert stored.membership.host_id == joined.host_id != "e" * 32
    assert stored.workloads == {}


def test_a_dead_proxy_in_the_environment_changes_nothing(
    tmp_path: Path, layout: HostLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with enrolment_server(tmp_path / "cp") as server:
        assert join(server, layout, server.token()).host_id


# Who says no.


def test_the_control_planes_own_sentence_is_shown(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        token = server.token()
        join(server, layout, token)
        IdentityDisk(Path(layout.identity_dir)).forget()
        with pytest.raises(EnrolmentRefused, match=r"has no use left .*hostmesh token create"):
            join(server, layout, token)
        assert IdentityDisk(Path(layout.identity_dir)).load() is None


@pytest.mark.parametrize("text", ["", "hello", "hm2.a.b.c", "hm1.a.b.c"])
def test_what_is_no_token_opens_no_connection(layout: HostLayout, text: str) -> None:
    config = AgentConfig(control_planes=(Address(host="192.0.2.1", port=1),))
    with pytest.raises(BadInput, match="cannot read the token"):
        joining.join(config, layout, text, hostname="web-1", clock=Pauses())
