"""The second act: an app is killed, a host cut off, a certificate renewed."""

import signal
import ssl
import time

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.account import Cut, Killed
from hostmesh_ctl.demo.stage import FULL_NAME, PORT, SERVICE, NotShown, Server, Stage

GONE_SECONDS = 15.0
"""A host that vanished is out of every peer's endpoints after this long at most."""


def app_killed(stage: Stage, server: Server) -> None:
    """SIGKILL an app behind its living Envoy, and bring it back."""
    stage.incidents.append(Killed(server=server.app.name, at=time.monotonic()))
    server.app.process.signal(signal.SIGKILL)
    gone = stage.until("the dead app out", lambda: not stage.serves(server))
    stage.progress.step(f"SIGKILL of {server.app.name}: out of the endpoints after {gone:.1f} s")
    server.app.start()
    stage.until("the app back", lambda: stage.serves(server) and stage.answers(server))
    stage.progress.step(f"{server.app.name} started again and is back")


def host_cut(stage: Stage, server: Server) -> None:
    """Take a host off the network without a word, and put it back."""
    endpoint = server.app.endpoint

    def gone() -> bool:
        flags = stage.client.upstreams(FULL_NAME, PORT).get(endpoint)
        return flags is None or "failed_eds_health" in flags

    at = time.monotonic()
    server.host.cut()
    stage.incidents.append(Cut(server=server.app.name, at=at, until=time.monotonic()))
    took = stage.until(f"{endpoint} out of the client's Envoy", gone, seconds=GONE_SECONDS + 5)
    stage.progress.step(f"{server.host.name} cut off: out of the client's Envoy after {took:.1f} s")
    if took > GONE_SECONDS:
        raise NotShown(f"cannot show a cut host out in {GONE_SECONDS:.0f} s: it took {took:.1f} s")
    server.host.restore()
    back = stage.until(
        "the host back", lambda: stage.serves(server) and stage.answers(server), seconds=30
    )
    stage.progress.step(f"{server.host.name} on the network again, serving after {back:.1f} s")


def certificate_renewed(stage: Stage, server: Server) -> None:
    """Have a certificate renewed, and see the new one in a TLS handshake."""
    before = serial_seen(stage, server)
    server.agent.command("renew")
    took = stage.until("a new certificate", lambda: serial_seen(stage, server) != before)
    after = serial_seen(stage, server)
    stage.progress.step(
        f"certificate of {server.host.name} renewed: serial {before[:8]}… -> {after[:8]}…, "
        f"seen in a TLS dial after {took:.1f} s"
    )


def serial_seen(stage: Stage, server: Server) -> str:
    """Dial a server's sidecar over TLS and give the serial of what it shows. Raises NoAnswer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only looked at: nothing is sent
    context.set_alpn_protocols(["istio-http/1.1"])
    cp = stage.control_plane.host.holder.pid
    with inside.connect(cp, server.host.ipv4, PORT) as plain:
        try:
            with context.wrap_socket(
                plain, server_hostname=f"outbound_.{PORT}_._.{SERVICE}"
            ) as tls:
                certificate = tls.getpeercert(binary_form=True) or b""
        except OSError as error:
            raise inside.NoAnswer(f"cannot dial {server.host.name} over TLS: {error}") from error
    return serial_of(certificate)


def serial_of(certificate: bytes) -> str:
    """Give the serial number of an X.509 certificate in DER, in hexadecimal."""
    # Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber INTEGER …
    _, at, _ = _element(certificate, 0)
    _, at, _ = _element(certificate, at)
    tag, start, end = _element(certificate, at)
    if tag == 0xA0:
        _, start, end = _element(certificate, end)
    return certificate[start:end].hex()


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Give tag, start and end of the content of the DER element at `at`."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    return data[at], start, start + length
