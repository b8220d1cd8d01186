"""False control planes of every kind: none of them ever gets the token."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hostmesh_agent.app.join import ClockOff
from hostmesh_agent.edges.enrolment_client import (
    NotTrusted,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_controlplane.edges.enrolment import Reply
from hostmesh_core import x509
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.token import JoinToken
from hostmesh_testing.enrolment import (
    LyingDesk,
    ShiftedClock,
    enrolment_server,
)
from hostmesh_testing.joiner import (
    Pauses,
    foreign_root,
    join,
    layout_below,
    nothing_changed,
    serving,
)

pytestmark = pytest.mark.process


@pytest.fixture
def layout(tmp_path: Path) -> HostLayout:
    return layout_below(tmp_path)


class _Recording(LyingDesk):
    """Notes every request that reaches it."""

    seen: list[Mapping[str, object]]

    def challenge(self) -> Reply:
        self.seen.append({"challenge": True})
        return super().challenge()

    async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
        self.seen.append(body)
        return await super().enrol(body, address)


def _recorder(extra_roots: Callable[[], list[bytes]]) -> type[_Recording]:
    class Desk(_Recording):
        seen: list[Mapping[str, object]] = []  # noqa: RUF012 (one list per made class)

        def bundle(self) -> Reply:
            pem = b"".join(extra_roots()).decode()
            return Reply(200, {"server_time": 0.0, "bundles": {"mesh.internal": pem}})

    return Desk


def test_true_and_foreign_root_with_a_foreign_certificate_never_get_the_token(
    tmp_path: Path, layout: HostLayout
) -> None:
    foreign = foreign_root()
    with enrolment_server(tmp_path / "true") as true:
        token = true.token()
        true_root = true.authority.roots_pem()
        for order in ([true_root, foreign.pem], [foreign.pem, true_root]):
            desk = _recorder(lambda order=order: order)  # type: ignore[misc]
            with (
                enrolment_server(
                    tmp_path / f"false{len(order[0])}", wrap=desk, shown=serving(foreign)
                ) as false,
                pytest.raises(NotTrusted, match="the token was not sent"),
            ):
                join(false, layout, token)
            assert desk.seen == []
        nothing_changed(layout)
        # The control case: the same token, by the true control plane.
        assert join(true, layout, token).host_id


def test_a_control_plane_without_the_pinned_root_never_gets_the_token(
    tmp_path: Path, layout: HostLayout
) -> None:
    desk = _recorder(lambda: [foreign_root().pem])
    with enrolment_server(tmp_path / "true") as true:
        token = true.token()
    with (
        enrolment_server(tmp_path / "false", wrap=desk) as false,
        pytest.raises(NotTrusted, match="the root that the token names is not there"),
    ):
        join(false, layout, token)
    assert desk.seen == []
    nothing_changed(layout)


def test_another_host_of_the_mesh_is_no_control_plane(tmp_path: Path, layout: HostLayout) -> None:
    """A workload's certificate is under the true root, and lacks the one name that counts."""
    with enrolment_server(tmp_path / "true") as true:
        stolen = join(true, layout, true.token())
        disk = IdentityDisk(Path(layout.identity_dir))
        stored = disk.load()
        assert stored is not None
        assert stored.membership.host_id == stolen.host_id
        disk.forget()
        token, root = true.token(), true.authority.roots_pem()
        desk = _recorder(lambda: [root])
        shown = (stored.host.key_pem, stored.host.chain_pem)
        with (
            enrolment_server(tmp_path / "false", wrap=desk, shown=shown) as false,
            pytest.raises(NotTrusted, match="the token was not sent"),
        ):
            join(false, layout, token)
        assert desk.seen == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("control-plane.other.internal", id="another trust domain's name"),
        pytest.param("*.mesh.internal.", id="a wildcard with a final dot"),
        pytest.param("mesh.internal", id="the domain itself"),
        pytest.param("xcontrol-plane.mesh.internal", id="a longer name"),
        pytest.param("127.0.0.1", id="the address that was dialled"),
    ],
)
def test_a_certificate_of_the_true_root_with_another_name_is_not_believed(
    tmp_path: Path, layout: HostLayout, name: str
) -> None:
    root = foreign_root()
    pin = x509.spki_sha256(root.certificate)
    token = JoinToken("0" * 16, "5e" * 32, pin).reveal()
    desk = _recorder(lambda: [root.pem])
    with (
        enrolment_server(tmp_path / "cp", wrap=desk, shown=serving(root, name)) as server,
        pytest.raises(NotTrusted, match="the token was not sent"),
    ):
        join(server, layout, token)
    assert desk.seen == []


def test_a_serving_certificate_that_ended_points_at_the_clock(
    tmp_path: Path, layout: HostLayout
) -> None:
    with enrolment_server(tmp_path / "cp", clock=ShiftedClock(-7200.0)) as server:
        token = server.token(ttl_seconds=86400)
        with pytest.raises(NotTrusted, match=r"set this host's clock .*nothing was sent"):
            join(server, layout, token)
        assert server.authority.hosts() == []
    nothing_changed(layout)


@pytest.mark.parametrize(
    ("off", "words"),
    [
        pytest.param(150.0, "150 s ahead of", id="ahead"),
        pytest.param(-150.0, "150 s behind", id="behind"),
    ],
)
def test_a_clock_over_two_minutes_off_is_refused_before_the_token_is_sent(
    tmp_path: Path, layout: HostLayout, off: float, words: str
) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        token = server.token()
        with pytest.raises(ClockOff, match=f"clock is {words} the control plane's"):
            join(server, layout, token, clock=Pauses(off))
        assert server.authority.hosts() == []
        nothing_changed(layout)
        assert join(server, layout, token, clock=Pauses(100.0)).host_id
