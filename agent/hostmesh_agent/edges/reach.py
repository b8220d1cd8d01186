"""Tries a control plane's ports apart, and says in words what came of each."""

import socket
import ssl

from hostmesh_agent.config import Address

CONNECT_SECONDS = 5.0
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "refused (nothing listens there)"),
    (TimeoutError, "no answer (firewall?)"),
    (socket.gaierror, "the name does not resolve"),
    (ConnectionResetError, "the connection was cut"),
    (ssl.SSLError, "no TLS there"),
)


def why(error: Exception) -> str:
    """Say what an error of a connection means."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError):
        return str(error.strerror or type(error).__name__)
    return f"no HTTP there ({type(error).__name__})"


def attempt(address: Address, *, purpose: str) -> str:
    """Give why a port cannot be reached; empty = it can."""
    try:
        with socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS):
            return ""
    except OSError as error:
        return f"cannot reach control plane {address} for {purpose}: {why(error)}"
