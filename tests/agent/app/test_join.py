"""Joining over real sockets: the true control plane, and every false one."""

import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hostmesh_agent.app import join as joining
from hostmesh_agent.app.join import AlreadyJoined, BadAnswer, ClockOff, Joined
from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges.enrolment_client import (
    AnswerLost,
    EnrolmentRefused,
    EnrolmentUnreachable,
    NotTrusted,
    TooFast,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk, Membership
from hostmesh_controlplane.edges.enrolment import Reply, load_credentials
from hostmesh_controlplane.edges.rate_limit import RateLimit
from hostmesh_core import x509
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Grant
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import Identity
from hostmesh_core.token import JoinToken
from hostmesh_testing import forge
from hostmesh_testing.enrolment import (
    LyingDesk,
    Server,
    ShiftedClock,
    enrolment_server,
)

pytestmark = pytest.mark.process


class _Layout(HostLayout):
    """A layout below a test's own folder."""

    folder = Path()

    @property
    def identity_dir(self) -> str:
        return str(self.folder / "identity")


@pytest.fixture
def layout(tmp_path: Path) -> HostLayout:
    class Layout(_Layout):
        folder = tmp_path

    return Layout()


class _Pauses(ShiftedClock):
    """The agent's clock; it notes its pauses and does not take them."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.paused: list[float] = []

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)


def _join(server: Server, layout: HostLayout, token: str, **changes: object) -> Joined:
    config = changes.pop("config", server.agent_config)
    clock = changes.pop("clock", _Pauses())
    return joining.join(config, layout, token, hostname="web-1", clock=clock)  # type: ignore[arg-type]


def _nothing_changed(layout: HostLayout) -> None:
    assert not Path(layout.identity_dir).exists()


def test_a_host_joins_and_holds_what_it_got(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        joined = _join(server, layout, server.token())
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
        joined = _join(server, layout, token)
        with pytest.raises(AlreadyJoined, match="hostmesh-agent leave") as caught:
            _join(server, layout, token)
        assert joined.host_id[:8] in str(caught.value)
        assert len(server.authority.hosts()) == 1


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
        joined = _join(server, layout, server.token())
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
        assert _join(server, layout, server.token()).host_id


# Who is not believed.


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


FOREIGN = forge.root(name="foreign")
NOW_LIFE = (1_700_000_000.0, 4_000_000_000.0)


def _foreign_root(trust_domain: str = "mesh.internal") -> forge.Issuer:
    made = forge.certificate(
        uris=[f"spiffe://{trust_domain}"],
        authority=True,
        path_length=1,
        name="foreign",
        life=NOW_LIFE,
    )
    return forge.Issuer(made, forge.key("foreign"))


def _serving(
    issuer: forge.Issuer, name: str = "control-plane.mesh.internal"
) -> tuple[bytes, bytes]:
    leaf = forge.certificate(
        uris=["spiffe://mesh.internal/hostmesh/control-plane"],
        dns=[name],
        issuer=issuer,
        name="serving",
        life=NOW_LIFE,
    )
    return forge.key_pem(forge.key("serving")), forge.pem(leaf) + issuer.pem


def test_true_and_foreign_root_with_a_foreign_certificate_never_get_the_token(
    tmp_path: Path, layout: HostLayout
) -> None:
    foreign = _foreign_root()
    with enrolment_server(tmp_path / "true") as true:
        token = true.token()
        true_root = true.authority.roots_pem()
        for order in ([true_root, foreign.pem], [foreign.pem, true_root]):
            desk = _recorder(lambda order=order: order)  # type: ignore[misc]
            with (
                enrolment_server(
                    tmp_path / f"false{len(order[0])}", wrap=desk, shown=_serving(foreign)
                ) as false,
                pytest.raises(NotTrusted, match="the token was not sent"),
            ):
                _join(false, layout, token)
            assert desk.seen == []
        _nothing_changed(layout)
        # The control case: the same token, by the true control plane.
        assert _join(true, layout, token).host_id


def test_a_control_plane_without_the_pinned_root_never_gets_the_token(
    tmp_path: Path, layout: HostLayout
) -> None:
    desk = _recorder(lambda: [_foreign_root().pem])
    with enrolment_server(tmp_path / "true") as true:
        token = true.token()
    with (
        enrolment_server(tmp_path / "false", wrap=desk) as false,
        pytest.raises(NotTrusted, match="the root that the token names is not there"),
    ):
        _join(false, layout, token)
    assert desk.seen == []
    _nothing_changed(layout)


def test_another_host_of_the_mesh_is_no_control_plane(tmp_path: Path, layout: HostLayout) -> None:
    """A workload's certificate is under the true root, and lacks the one name that counts."""
    with enrolment_server(tmp_path / "true") as true:
        stolen = _join(true, layout, true.token())
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
            _join(false, layout, token)
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
    root = _foreign_root()
    pin = x509.spki_sha256(root.certificate)
    token = JoinToken("0" * 16, "5e" * 32, pin).reveal()
    desk = _recorder(lambda: [root.pem])
    with (
        enrolment_server(tmp_path / "cp", wrap=desk, shown=_serving(root, name)) as server,
        pytest.raises(NotTrusted, match="the token was not sent"),
    ):
        _join(server, layout, token)
    assert desk.seen == []


def test_a_serving_certificate_that_ended_points_at_the_clock(
    tmp_path: Path, layout: HostLayout
) -> None:
    with enrolment_server(tmp_path / "cp", clock=ShiftedClock(-7200.0)) as server:
        token = server.token(ttl_seconds=86400)
        with pytest.raises(NotTrusted, match=r"set this host's clock .*nothing was sent"):
            _join(server, layout, token)
        assert server.authority.hosts() == []
    _nothing_changed(layout)


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
            _join(server, layout, token, clock=_Pauses(off))
        assert server.authority.hosts() == []
        _nothing_changed(layout)
        assert _join(server, layout, token, clock=_Pauses(100.0)).host_id


# Who says no.


def test_the_control_planes_own_sentence_is_shown(tmp_path: Path, layout: HostLayout) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        token = server.token()
        _join(server, layout, token)
        IdentityDisk(Path(layout.identity_dir)).forget()
        with pytest.raises(EnrolmentRefused, match=r"has no use left .*hostmesh token create"):
            _join(server, layout, token)
        assert IdentityDisk(Path(layout.identity_dir)).load() is None


@pytest.mark.parametrize("text", ["", "hello", "hm2.a.b.c", "hm1.a.b.c"])
def test_what_is_no_token_opens_no_connection(layout: HostLayout, text: str) -> None:
    config = AgentConfig(control_planes=(Address(host="192.0.2.1", port=1),))
    with pytest.raises(BadInput, match="cannot read the token"):
        joining.join(config, layout, text, hostname="web-1", clock=_Pauses())


# Who does not answer, or nothing that can be used.

TOKEN = JoinToken("0" * 16, "5e" * 32, "ab" * 32).reveal()


def _join_at(layout: HostLayout, *addresses: Address) -> Joined:
    config = AgentConfig(
        control_planes=(Address(host="192.0.2.1", port=1),), enrolment=addresses[0]
    )
    return joining.join(config, layout, TOKEN, hostname="web-1", clock=_Pauses())


def test_a_closed_port_is_refused_and_said(layout: HostLayout) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(EnrolmentUnreachable, match=f"127.0.0.1:{port} for enrolment: refused"):
        _join_at(layout, Address(host="127.0.0.1", port=port))
    _nothing_changed(layout)


def test_a_port_that_drops_everything_is_no_answer(
    layout: HostLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostmesh_agent.edges.enrolment_client._CONNECT_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(EnrolmentUnreachable, match=r"no answer \(firewall\?\)"):
            _join_at(layout, Address(host="127.0.0.1", port=port))


def test_a_name_that_does_not_resolve_is_said(layout: HostLayout) -> None:
    with pytest.raises(EnrolmentUnreachable, match="the name does not resolve"):
        _join_at(layout, Address(host="no-such-host.invalid", port=15013))


@contextmanager
def _answering(reply: bytes, *, tls: bool) -> Iterator[Address]:
    """Run something that is no enrolment listener."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key, chain = _serving(_foreign_root())
    load_credentials(context, key, chain)

    def serve() -> None:
        try:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(2)
                if not tls:
                    accepted.sendall(reply)
                    return
                with context.wrap_socket(accepted, server_side=True) as secure:
                    secure.recv(4096)
                    secure.sendall(reply)
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Address(host="127.0.0.1", port=listener.getsockname()[1])
    finally:
        listener.close()
        thread.join(5)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def _http(body: bytes) -> bytes:
    return OK % (len(body), body)


@pytest.mark.parametrize(
    ("reply", "tls", "words"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", False, "no TLS there", id="an ssh server"),
        pytest.param(b"220 ready\r\n", True, "no HTTP there", id="another protocol inside TLS"),
        pytest.param(_http(b"<html>"), True, "no enrolment listener", id="a web page"),
        pytest.param(_http(b"[]"), True, "no enrolment listener", id="a list"),
        pytest.param(_http(b"x" * 300_000), True, "no enrolment listener", id="too much"),
        pytest.param(b"", True, "cannot reach control plane", id="nothing"),
        pytest.param(_http(b"{}"), True, "the root that the token names", id="no bundle"),
        pytest.param(
            _http(b'{"bundles": {"a": "rubbish", "b": 7}}'),
            True,
            "the root that the token names",
            id="a bundle of rubbish",
        ),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}",
            True,
            "status 302",
            id="a redirect, which is not followed",
        ),
    ],
)
def test_what_answers_something_else_is_named(
    layout: HostLayout,
    reply: bytes,
    tls: bool,  # noqa: FBT001 (a column of the table)
    words: str,
) -> None:
    with (
        _answering(reply, tls=tls) as address,
        pytest.raises((EnrolmentUnreachable, NotTrusted, EnrolmentRefused), match=words),
    ):
        _join_at(layout, address)
    _nothing_changed(layout)


def test_of_several_control_planes_the_first_that_answers_is_taken(
    tmp_path: Path, layout: HostLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with enrolment_server(tmp_path / "cp") as server:
        monkeypatch.setattr("hostmesh_core.ports.ENROLMENT", server.address.port)
        config = AgentConfig(
            control_planes=(
                Address(host="no-such-host.invalid", port=15012),
                Address(host="127.0.0.1", port=15012),
            )
        )
        joined = _join(server, layout, server.token(), config=config)
    assert joined.control_plane == str(server.address)


def test_all_silent_control_planes_are_named(layout: HostLayout) -> None:
    config = AgentConfig(
        control_planes=tuple(Address(host=f"no-{n}.invalid", port=15012) for n in (1, 2))
    )
    with pytest.raises(EnrolmentUnreachable, match=r"no-1.invalid:15013 .*; .*no-2.invalid:15013"):
        joining.join(config, layout, TOKEN, hostname="web-1", clock=_Pauses())


# Answers that get lost, or lie.


class _LosesTheFirst(LyingDesk):
    """Lets the host in and fails before its answer is out."""

    lost = 0

    async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
        reply = await super().enrol(body, address)
        if type(self).lost < 2:
            type(self).lost += 1
            return Reply(503, {"error": "cannot answer now"})
        return reply


def test_a_lost_answer_costs_neither_the_token_nor_a_second_host(
    tmp_path: Path, layout: HostLayout
) -> None:
    clock = _Pauses()
    with enrolment_server(tmp_path / "cp", wrap=_LosesTheFirst) as server:
        joined = _join(server, layout, server.token(), clock=clock)
        assert [host.host_id for host in server.authority.hosts()] == [joined.host_id]
    assert clock.paused == [0.5, 1.0]


class _LosesAll(LyingDesk):
    async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
        await super().enrol(body, address)
        return Reply(503, {"error": "cannot answer now"})


def test_an_answer_that_never_comes_ends_with_its_reason(
    tmp_path: Path, layout: HostLayout
) -> None:
    with (
        enrolment_server(tmp_path / "cp", wrap=_LosesAll) as server,
        pytest.raises(AnswerLost, match="cannot answer now"),
    ):
        _join(server, layout, server.token())
    _nothing_changed(layout)


def test_who_is_asked_to_wait_waits_as_long_as_is_said(tmp_path: Path, layout: HostLayout) -> None:
    clock = _Pauses()
    limit = RateLimit(per_second=0.01, burst=2)
    with (
        enrolment_server(tmp_path / "cp", limit=limit) as server,
        pytest.raises(TooFast, match="too many requests"),
    ):
        _join(server, layout, server.token(), clock=clock)
    assert len(clock.paused) == 3
    assert all(pause > 50 for pause in clock.paused)


def _lying(**changes: object) -> type[LyingDesk]:
    class Desk(LyingDesk):
        async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
            reply = await super().enrol(body, address)
            return Reply(reply.status, {**reply.body, **changes})

    return Desk


CHAIN_OF_OTHERS = forge.pem(
    forge.certificate(uris=["spiffe://mesh.internal/hostmesh/host/" + "f" * 32], life=NOW_LIFE)
).decode()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"host_id": "f" * 32}, id="another host's id"),
        pytest.param({"host_id": "../../etc"}, id="an id that is none"),
        pytest.param({"chain": CHAIN_OF_OTHERS}, id="another key's certificate"),
        pytest.param({"renewal": [0.9, 0.1]}, id="a plan that is none"),
        pytest.param({"chain": "rubbish"}, id="a chain that is none"),
        pytest.param({"bundles": {}}, id="a bundle without the pinned root"),
        pytest.param(
            {"bundles": {"mesh.internal": _foreign_root().pem.decode()}}, id="a foreign bundle"
        ),
    ],
)
def test_an_answer_that_does_not_fit_together_is_not_stored(
    tmp_path: Path, layout: HostLayout, changes: Mapping[str, object]
) -> None:
    with (
        enrolment_server(tmp_path / "cp", wrap=_lying(**changes)) as server,
        pytest.raises((BadAnswer, BadInput), match=r"^cannot (use the control|renew)"),
    ):
        _join(server, layout, server.token())
    _nothing_changed(layout)


def test_no_secret_is_in_an_error_or_on_disk(
    tmp_path: Path, layout: HostLayout, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    with enrolment_server(tmp_path / "cp") as server:
        text = server.token()
        token = JoinToken.parse(text)
        _join(server, layout, text)
        IdentityDisk(Path(layout.identity_dir)).forget()
        with pytest.raises(EnrolmentRefused) as caught:
            _join(server, layout, text)
        shown = f"{caught.value!r} {caught.value.__context__!r} {caplog.text}"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert token.secret not in shown
    assert not any(token.secret.encode() in content for content in files)
