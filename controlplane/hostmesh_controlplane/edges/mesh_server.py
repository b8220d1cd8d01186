"""The one gRPC server of :15012, for ADS and the host stream: mutual TLS, without exception.

The serving certificate and the roots that clients are verified against are asked for at every
handshake, so a rotation needs no restart and touches no stream.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import grpc.aio

from hostmesh_core.errors import HostmeshError
from hostmesh_core.rpc import SERVER_OPTIONS

Handlers = Sequence[grpc.GenericRpcHandler]

STOP_SECONDS = 0.2
"""What is being written may leave when the server stops. No longer: the streams never end by
themselves, and their agents are to go to another replica."""


class CannotListen(HostmeshError):
    """An address of the listener cannot be used."""


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """What the listener shows, and whom it believes. All PEM."""

    key_pem: bytes
    chain_pem: bytes
    """Leaf first, then the intermediates, no root."""
    roots_pem: bytes
    """Client certificates must chain to one of these."""


@asynccontextmanager
async def serve(
    addresses: Sequence[str],
    *,
    current: Callable[[], ServingCertificate],
    handlers: Handlers,
) -> AsyncIterator[tuple[int, ...]]:
    """Serve on every address (`host:port`, IPv6 in brackets, port 0 = any) until left.

    Gives the ports bound. `current` is called from gRPC's own threads at every handshake and must
    be quick and thread-safe. Raises CannotListen.
    """
    server = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(handlers))
    ports = []
    for address in addresses:
        try:
            ports.append(server.add_secure_port(address, _credentials(current)))
        except RuntimeError as error:
            await server.stop(None)
            raise CannotListen(
                f"cannot listen on {address} for xDS: it is in use, or no address of this "
                "machine; change listen.xds in controlplane.yaml"
            ) from error
    await server.start()
    try:
        yield tuple(ports)
    finally:
        await server.stop(STOP_SECONDS)


def _credentials(current: Callable[[], ServingCertificate]) -> grpc.ServerCredentials:
    # One for each address: the state of what was given last belongs to one listener.
    given = current()

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        latest = current()
        if latest == given:
            return None
        given = latest
        return _configuration(latest)

    # None means unchanged; the stubs do not know that.
    fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], newer)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(given), fetch, require_client_authentication=True
    )


def _configuration(serving: ServingCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(serving.key_pem, serving.chain_pem)], serving.roots_pem
    )
