"""The listener of somebody who wrote himself into a catalog: notes all that is sent to him.

It answers plaintext HTTP, and TLS with a certificate that he made for himself. Each connection is a
JSON line: `hello` (a TLS ClientHello came), `completed` or `refused` (the handshake), `bytes` (what
was readable to him, with or without TLS). Run as `python -m … PORT CHAIN KEY`.
"""

import contextlib
import json
import socket
import socketserver
import ssl
import sys
import threading
from typing import ClassVar

ANSWER = b'{"server": "rogue"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-answered-by: rogue\r\n"
HANDSHAKE_RECORD = 0x16
_ONE_LINE = threading.Lock()


def note(event: str, text: str = "") -> None:
    with _ONE_LINE:
        print(json.dumps({"event": event, "text": text}), flush=True)  # noqa: T201


class Listener(socketserver.BaseRequestHandler):
    """One connection."""

    context: ClassVar[ssl.SSLContext]

    def handle(self) -> None:
        plain: socket.socket = self.request
        plain.settimeout(20)
        with contextlib.suppress(OSError):
            first = plain.recv(1, socket.MSG_PEEK)
            if first and first[0] == HANDSHAKE_RECORD:
                self._tls(plain)
            elif first:
                self._serve(plain)

    def _tls(self, plain: socket.socket) -> None:
        note("hello")
        try:
            secured = self.context.wrap_socket(plain, server_side=True)
        except OSError as error:
            note("refused", str(error))
            return
        note("completed")
        self._serve(secured)

    def _serve(self, connection: socket.socket) -> None:
        heard = b""
        while chunk := connection.recv(65536):
            note("bytes", chunk.decode("latin-1"))
            heard += chunk
            while b"\r\n\r\n" in heard:
                head, _, heard = heard.partition(b"\r\n\r\n")
                connection.sendall(
                    HEAD + f"content-length: {len(ANSWER)}\r\n\r\n".encode() + ANSWER
                )
                if b"connection: close" in head.lower():
                    return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    address_family = socket.AF_INET6


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    context.set_alpn_protocols(["istio-http/1.1", "istio-h2", "istio", "http/1.1", "h2"])
    Listener.context = context
    with Server(("::", int(sys.argv[1])), Listener) as server:
        print("serving", flush=True)  # noqa: T201
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
