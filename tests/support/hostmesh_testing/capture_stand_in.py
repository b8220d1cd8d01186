"""Stands where Envoy and apps stand, and says who was reached: run as a program in a lab host.

`capture_stand_in.py listen PORT…` answers each connection with `<port> <original destination>`;
on 15021 it answers as a readiness listener does.
`capture_stand_in.py call ADDRESS PORT [SOURCE [SOURCE PORT]]` prints what came, or the error.
"""

import errno
import ipaddress
import socket
import struct
import sys
import threading
from pathlib import Path

PATH = str(Path(__file__))
READINESS = 15021
_ORIGINAL_DST = 80
_IPV4_MAPPED = "::ffff:"


def original_destination(connection: socket.socket) -> str:
    """Give where the caller wanted to go, as netfilter remembers it."""
    if connection.getsockname()[0].startswith(_IPV4_MAPPED):
        raw = connection.getsockopt(socket.SOL_IP, _ORIGINAL_DST, 16)
        port, packed = struct.unpack("!2xH4s8x", raw)
    else:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL_DST, 28)
        port, packed = struct.unpack("!2xH4x16s4x", raw)
    return f"{ipaddress.ip_address(packed)} {port}"


def _answer(connection: socket.socket, port: int) -> None:
    with connection:
        if port == READINESS:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        try:
            wanted = original_destination(connection)
        except OSError:
            wanted = "-"
        connection.sendall(f"{port} {wanted}\n".encode())


def _serve(port: int) -> None:
    server = socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=500
    )
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_answer, args=(connection, port), daemon=True).start()


def listen(ports: list[int]) -> None:
    """Serve for ever."""
    for port in ports[1:]:
        threading.Thread(target=_serve, args=(port,), daemon=True).start()
    _serve(ports[0])


def call(address: str, port: int, source: str = "", source_port: int = 0) -> str:
    """Connect and give the answer's line, or the name of what went wrong."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as calling:
        calling.settimeout(2.0)
        calling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if source or source_port:
                calling.bind((source, source_port))
            calling.connect((address, port))
            return calling.makefile().readline().strip()
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen([int(word) for word in sys.argv[2:]])
    elif sys.argv[1] == "call":
        words = sys.argv[2:]
        source_port = int(words[3]) if len(words) > 3 else 0
        sys.stdout.write(call(words[0], int(words[1]), "".join(words[2:3]), source_port) + "\n")
