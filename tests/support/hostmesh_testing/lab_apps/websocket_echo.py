"""A stock WebSocket server: says who called, then echoes.

Run as `python -m hostmesh_testing.lab_apps.websocket_echo PORT`.
"""

import socket
import sys

from websockets.sync.server import ServerConnection, serve


def _echo(connection: ServerConnection) -> None:
    headers = connection.request.headers if connection.request else {}
    connection.send(headers.get("x-forwarded-client-cert", "nobody"))
    for message in connection:
        connection.send(message)


def main() -> None:
    address = ("::", int(sys.argv[1]))
    both = socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
    with serve(_echo, sock=both) as server:
        print("serving", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
