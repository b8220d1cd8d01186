"""A host of `web` tries certificates, tokens and streams that are not its own: 0 successes."""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable
from contextlib import closing

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from hostmesh_agent.app.join import join
from hostmesh_agent.edges import host_client, keys, xds_upstream
from hostmesh_agent.edges.enrolment_client import NotTrusted
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_core import names, type_urls, x509
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import HostmeshError
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.token import JoinToken
from hostmesh_testing import certificates, forge
from hostmesh_testing.entitlement_world import VICTIM_PORT, World
from hostmesh_testing.meshed_host import meshed_host, refused_xds
from hostmesh_testing.plane_process import plane_process
from hostmesh_testing.rooted_layout import RootedLayout
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

WEB = Identity("default", "web")
DOMAIN = "mesh.internal"


# Certificates over the own stream.


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        pytest.param(Identity("default", "payments"), "identity", id="another service's"),
        pytest.param(Identity("shop", "web"), "identity", id="of another namespace"),
        pytest.param(Identity("hostmesh-system", "web"), "identity", id="of the root namespace"),
        pytest.param(Identity("default", "*"), "reserved", id="of a pattern"),
        pytest.param(Identity("", "web"), "reserved", id="of no namespace"),
        pytest.param(
            Identity("default/sa/web/../../../hostmesh", "host"), "reserved", id="of a path"
        ),
        pytest.param(
            Identity("hostmesh/host", "0" * 32), "reserved", id="of a host, as a workload"
        ),
        pytest.param(Identity("default", "WEB"), "reserved", id="of capitals"),
    ],
)
def test_a_workload_certificate_that_is_not_its_own(
    world: World, identity: Identity, reason: str
) -> None:
    with world.refusal(reason, world.attacker.host_id, f"reason={reason}"):
        issued = world.attacker.certificate(keys.new_key().csr_der, identity)
    assert issued.chain_der == ()
    assert "cannot issue a certificate" in issued.refused


VICTIM_HOST = "spiffe://mesh.internal/hostmesh/host/" + "7" * 32


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("spiffe://mesh.internal/ns/default/sa/payments", id="another service"),
        pytest.param(VICTIM_HOST, id="another host"),
        pytest.param("spiffe://mesh.internal/hostmesh/control-plane", id="the control plane"),
        pytest.param("spiffe://other.example/ns/default/sa/web", id="another trust domain"),
    ],
)
@pytest.mark.parametrize("whose", [WEB, None], ids=["as a workload", "as the host"])
def test_what_a_request_names_is_never_believed(
    world: World, uri: str, whose: Identity | None
) -> None:
    forged = forge.request(
        forge.key(f"{uri} {whose}"), uris=[uri], dns=["control-plane.mesh.internal"], subject="root"
    )
    issued = world.attacker.certificate(forge.der(forged), whose)
    assert not issued.refused
    facts = x509.facts_of(x509.load_der(issued.chain_der[0]))
    own = SpiffeId.of_host(DOMAIN, world.attacker.host_id)
    assert facts.spiffe_id == (SpiffeId.of_workload(DOMAIN, WEB) if whose else own)
    text = issued.chain_der[0]
    assert b"control-plane" not in text
    assert b"payments" not in text


def _stolen_key() -> bytes:
    """Ask with somebody's public key and without its private half."""
    honest = bytearray(keys.new_key().csr_der)
    honest[-1] ^= 1  # the signature is the last thing
    return bytes(honest)


@pytest.mark.parametrize(
    ("csr", "said"),
    [
        pytest.param(_stolen_key, "cannot", id="whose signature is not its key's"),
        pytest.param(lambda: b"", "cannot", id="that is empty"),
        pytest.param(lambda: b"\x30\x82" + b"\0" * 64, "cannot", id="that is garbage"),
    ],
)
def test_a_request_without_possession(world: World, csr: Callable[[], bytes], said: str) -> None:
    with world.refusal("malformed", world.attacker.host_id, "reason=malformed"):
        issued = world.attacker.certificate(csr(), WEB)
    assert issued.chain_der == ()
    assert said in issued.refused


def test_the_host_s_own_key_is_not_for_a_workload(world: World) -> None:
    private = load_pem_private_key(world.victim.credentials.key_pem, password=None)
    csr = forge.der(forge.request(private))  # type: ignore[arg-type]
    with world.refusal("key", world.victim.host_id, "reason=key"):
        issued = world.victim.certificate(csr, Identity("default", "payments"))
    assert "every certificate needs a key of its own" in issued.refused


# Tokens, at the enrolment listener.


def _post(port: int, path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    """Speak to the enrolment listener as one who trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    with closing(connection):
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def _enrol(world: World, token: str, *, nonce: str = "") -> tuple[int, dict[str, object]]:
    port = world.plane.enrolment_port
    challenge = nonce or _post(port, "/v1/challenge", {})[1]["nonce"]
    csr = keys.new_key().csr_pem.decode()
    return _post(port, "/v1/enrol", {"nonce": challenge, "token": token, "csr": csr})


def _forged(token: str) -> str:
    parsed = JoinToken.parse(token)
    return JoinToken(parsed.id, "f" * 64, parsed.pin).reveal()


def test_a_token_that_is_used_up(world: World) -> None:
    with world.refusal("token_used", "reason=token_used"):
        status, answer = _enrol(world, world.victim.host.token)
    assert (status, "host_id" in answer) == (403, False)


def test_a_token_with_another_secret(world: World) -> None:
    with world.refusal("token_unknown", "reason=token_unknown"):
        status, answer = _enrol(world, _forged(world.plane.token(service=["payments"])))
    assert (status, "host_id" in answer) == (403, False)


def test_a_token_that_was_revoked(world: World) -> None:
    token = world.plane.token(service=["payments"])
    world.plane.api.post("tokens", JoinToken.parse(token).id, "revoke")
    with world.refusal("token_revoked", "reason=token_revoked"):
        assert _enrol(world, token)[0] == 403


def test_a_token_that_has_expired(world: World) -> None:
    token = world.plane.token(service=["payments"], ttl_seconds=1)
    time.sleep(1.1)
    with world.refusal("token_expired", "reason=token_expired"):
        assert _enrol(world, token)[0] == 403


def test_a_request_that_is_replayed(world: World) -> None:
    token = world.plane.token(service=["web"], uses=5)
    nonce = str(_post(world.plane.enrolment_port, "/v1/challenge", {})[1]["nonce"])
    assert _enrol(world, token, nonce=nonce)[0] == 200
    with world.refusal("challenge", "reason=challenge"):
        status, answer = _enrol(world, token, nonce=nonce)
    assert (status, "host_id" in answer) == (409, False)


def test_a_request_that_is_no_request(world: World) -> None:
    with world.refusal("malformed", "reason=malformed"):
        assert _enrol(world, "hm1.not.a.token")[0] in (400, 403)


def test_a_token_of_another_control_plane(world: World) -> None:
    with plane_process() as other:
        other.start()
        token = other.token(service=["payments"])
        elsewhere = RootedLayout(root=str(world.plane.root / "strayed"))
        hosts = world.plane.api.get("hosts")
        with pytest.raises(NotTrusted, match="the root that the token names is not there"):
            join(world.plane.agent_config, elsewhere, token, hostname="strayed")
        with world.refusal("token_unknown", "reason=token_unknown"):
            assert _enrol(world, token)[0] == 403
        assert world.plane.api.get("hosts") == hosts

        # And the other way round: that control plane's host is nobody here.
        stranger = other.enrol("stranger", service=["web"])
        stored = stranger.stored
        mixed = Credentials(
            stored.host.key_pem,
            stored.host.chain_pem,
            world.attacker.credentials.roots_pem,
            world.attacker.credentials.target_name,
        )
        assert _refused_everywhere(world, mixed)


# Streams, at :15012.


def _refused_host(world: World, credentials: Credentials) -> str:
    hello = pb.Hello(protocol=1, session=b"s" * 16)

    async def attempt() -> str:
        try:
            async with host_client.connect(world.attacker.address, credentials, lambda: hello):
                raise AssertionError("the stream was welcomed")
        except HostmeshError as error:
            return str(error)

    return world.loop.do(attempt())


def _refused_everywhere(world: World, credentials: Credentials) -> tuple[str, str]:
    address = world.attacker.address
    return _refused_host(world, credentials), refused_xds(world.loop, address, credentials)


def test_a_workload_certificate_opens_neither_stream(world: World) -> None:
    workload = world.attacker.workload_credentials(WEB)
    spiffe = "spiffe://mesh.internal/ns/default/sa/web"
    with world.refusal("not_a_host", spiffe, "why=not_a_host"):
        assert "only a host's own certificate may register" in _refused_host(world, workload)
    with world.refusal("not_a_host", spiffe, "refused xds", "why=not_a_host"):
        said = refused_xds(world.loop, world.attacker.address, workload)
    assert "only a host's own certificate may ask for xDS" in said


def test_a_certificate_of_a_foreign_authority_opens_neither_stream(world: World) -> None:
    own = world.attacker.credentials
    foreign = certificates.authority(DOMAIN)
    for host in (world.attacker.host_id, world.victim.host_id):
        leaf = foreign.leaf(uris=(str(SpiffeId.of_host(DOMAIN, host)),))
        forged = Credentials(leaf.key_pem, leaf.chain_pem, own.roots_pem, own.target_name)
        assert all("cannot" in said for said in _refused_everywhere(world, forged))


def test_a_leaf_signs_nobody(world: World) -> None:
    """A host's own certificate as the issuer of another's."""
    own = world.attacker.credentials
    chain = x509.load_pem_chain(own.chain_pem)
    private = load_pem_private_key(own.key_pem, password=None)
    issuer = forge.Issuer(chain[0], private)  # type: ignore[arg-type]
    now = time.time()
    made = forge.certificate(
        uris=[str(SpiffeId.of_host(DOMAIN, world.victim.host_id))],
        issuer=issuer,
        life=(now - 60, now + 3600),
        name="made by a leaf",
    )
    key_pem = forge.key_pem(forge.key("made by a leaf"))
    forged = Credentials(key_pem, forge.pem(made) + own.chain_pem, own.roots_pem, own.target_name)
    assert all("cannot" in said for said in _refused_everywhere(world, forged))


def test_no_certificate_opens_no_stream(world: World) -> None:
    own = world.attacker.credentials
    bare = grpc.ssl_channel_credentials(own.roots_pem)
    options = (("grpc.ssl_target_name_override", own.target_name),)
    with grpc.secure_channel(world.attacker.address, bare, options=options) as channel:
        ready = grpc.channel_ready_future(channel)
        with pytest.raises(grpc.FutureTimeoutError):
            ready.result(timeout=2)


def test_a_revoked_host_loses_its_streams_and_opens_none(world: World) -> None:
    revoked = world.plane.enrol("thief", service=["web"], cidr=["127.0.0.1/32"])
    with meshed_host(world.loop, revoked, world.attacker.address) as thief:
        world.plane.api.post("hosts", revoked.host_id, "revoke", body={"reason": "stolen"})
        wait_until(lambda: thief.revoked, what="the word about the revocation")
        wait_until(lambda: not thief.connected(), what="the end of its stream")
        with world.refusal("host_revoked", revoked.host_id, "why=host_revoked"):
            assert "it is revoked" in _refused_host(world, thief.credentials)
        with world.refusal("host_revoked", revoked.host_id, "refused xds", "why=host_revoked"):
            said = refused_xds(world.loop, world.attacker.address, thief.credentials)
        assert "it is revoked" in said


# What is served and believed on the own streams.


def test_another_host_s_inbound_is_not_served_whatever_node_says(world: World) -> None:
    asked = (f"inbound|{VICTIM_PORT}||", "*")
    for node in ("", world.victim.host_id):
        clusters, _ = world.attacker.resources(type_urls.CLUSTER, *asked, node=node)
        assert "inbound|8080||" in clusters, "its own is served"
        assert f"inbound|{VICTIM_PORT}||" not in clusters
        listeners, _ = world.attacker.resources(type_urls.LISTENER, "*", node=node)
        inbound = listeners[names.VIRTUAL_INBOUND]
        assert b"inbound|8080|" in inbound
        assert f"{VICTIM_PORT}".encode() not in inbound


def test_no_secret_is_served_to_anybody(world: World) -> None:
    served, _ = world.attacker.resources(
        type_urls.SECRET, "default:default/payments", "default:default/web", "ROOTCA:mesh.internal"
    )
    assert served == {}


def test_a_report_about_another_host_s_stream_is_not_believed(world: World) -> None:
    async def held() -> None:
        request = DeltaDiscoveryRequest(type_url=type_urls.CLUSTER, resource_names_subscribe=["*"])
        victim = world.victim
        async with xds_upstream.connect(victim.address, victim.credentials) as stream:
            await stream.send(request)
            await stream.receive()
            applied = pb.Applied(
                type_url=type_urls.CLUSTER, version="999", stream_id=stream.stream_id
            )
            world.attacker.service.applied(applied.type_url, applied.version, applied.stream_id)
            await asyncio.sleep(0.5)
            rows = await asyncio.to_thread(world.plane.api.get, "proxy-status", host=victim.host_id)
            assert isinstance(rows, list)
            (row,) = [one for one in rows if one["stream"] == stream.stream_id]
            assert (row["applied"], row["state"]) == (0, "pending")

    with world.refusal("not_own_stream", world.attacker.host_id, world.victim.host_id):
        world.loop.do(held())
