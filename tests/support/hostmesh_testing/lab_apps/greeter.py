"""A server that speaks first, as a mail server does. Run as `python -m … PORT`."""

import socket
import sys

GREETING = b"220 mail ESMTP\r\n"


def main() -> None:
    """Greet everybody and hang up, until killed."""
    server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    while True:
        connection, _ = server.accept()
        connection.sendall(GREETING)
        connection.close()


if __name__ == "__main__":
    main()
