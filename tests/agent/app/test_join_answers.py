"""Control planes that do not answer, answer something else, lose their answers, or lie."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hostmesh_agent.app import join as joining
from hostmesh_agent.app.join import BadAnswer, Joined
from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges.enrolment_client import (
    AnswerLost,
    EnrolmentRefused,
    EnrolmentUnreachable,
    NotTrusted,
    TooFast,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_controlplane.edges.enrolment import Reply, load_credentials
from hostmesh_controlplane.edges.rate_limit import RateLimit
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.token import JoinToken
from hostmesh_testing import forge
from hostmesh_testing.enrolment import (
    LyingDesk,
    enrolment_server,
)
from hostmesh_testing.joiner import (
    NOW_LIFE,
    Pauses,
    foreign_root,
    join,
    layout_below,
    nothing_changed,
    only_the_key_is_kept,
    serving,
)

pytestmark = pytest.mark.process


@pytest.fixture
def layout(tmp_path: Path) -> HostLayout:
    return layout_below(tmp_path)


TOKEN = JoinToken("0" * 16, "5e" * 32, "ab" * 32).reveal()


def _join_at(layout: HostLayout, *addresses: Address) -> Joined:
    config = AgentConfig(
        control_planes=(Address(host="192.0.2.1", port=1),), enrolment=addresses[0]
    )
    return joining.join(config, layout, TOKEN, hostname="web-1", clock=Pauses())


def test_a_closed_port_is_refused_and_said(layout: HostLayout) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(EnrolmentUnreachable, match=f"127.0.0.1:{port} for enrolment: refused"):
        _join_at(layout, Address(host="127.0.0.1", port=port))
    nothing_changed(layout)


def test_a_port_that_drops_everything_is_no_answer(
    layout: HostLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostmesh_agent.edges.reach.CONNECT_SECONDS", 0.3)
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
    key, chain = serving(foreign_root())
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
    nothing_changed(layout)


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
        joined = join(server, layout, server.token(), config=config)
    assert joined.control_plane == str(server.address)


def test_all_silent_control_planes_are_named(layout: HostLayout) -> None:
    config = AgentConfig(
        control_planes=tuple(Address(host=f"no-{n}.invalid", port=15012) for n in (1, 2))
    )
    with pytest.raises(EnrolmentUnreachable, match=r"no-1.invalid:15013 .*; .*no-2.invalid:15013"):
        joining.join(config, layout, TOKEN, hostname="web-1", clock=Pauses())


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
    clock = Pauses()
    with enrolment_server(tmp_path / "cp", wrap=_LosesTheFirst) as server:
        joined = join(server, layout, server.token(), clock=clock)
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
        join(server, layout, server.token())
    only_the_key_is_kept(layout)


def test_who_is_asked_to_wait_waits_as_long_as_is_said(tmp_path: Path, layout: HostLayout) -> None:
    clock = Pauses()
    limit = RateLimit(per_second=0.01, burst=2)
    with (
        enrolment_server(tmp_path / "cp", limit=limit) as server,
        pytest.raises(TooFast, match="too many requests"),
    ):
        join(server, layout, server.token(), clock=clock)
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
            {"bundles": {"mesh.internal": foreign_root().pem.decode()}}, id="a foreign bundle"
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
        join(server, layout, server.token())
    only_the_key_is_kept(layout)


def test_no_secret_is_in_an_error_or_on_disk(
    tmp_path: Path, layout: HostLayout, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    with enrolment_server(tmp_path / "cp") as server:
        text = server.token()
        token = JoinToken.parse(text)
        join(server, layout, text)
        IdentityDisk(Path(layout.identity_dir)).forget()
        with pytest.raises(EnrolmentRefused) as caught:
            join(server, layout, text)
        shown = f"{caught.value!r} {caught.value.__context__!r} {caplog.text}"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert token.secret not in shown
    assert not any(token.secret.encode() in content for content in files)
