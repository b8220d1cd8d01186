"""A real MariaDB in a lab host, small, as an ordinary user, with grants by host."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.mesh import APP_UID
from hostmesh_testing.waiting import wait_until

PORT = 3306
PASSWORD = "a-password-of-the-lab"
SMALL = (
    "--innodb-buffer-pool-size=6M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0",
    "--performance-schema=0",
    "--max-allowed-packet=32M",
    "--skip-log-bin",
    "--skip-name-resolve",
)
CLIENT_FILE = "/etc/hostmesh-lab/client.cnf"


@contextmanager
def serving(host: Host, *grants: str) -> Iterator[None]:
    """Run it on PORT for the block; `grants` are the host parts for the user `app`."""
    folder = host.folder / "mariadb"
    folder.mkdir()
    folder.chmod(0o777)
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--skip-test-db"]
    install += ["--auth-root-authentication-method=normal", *SMALL[:2]]
    host.run(install, uid=APP_UID, timeout=90)
    words = ["mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/sock"]
    words += [f"--port={PORT}", "--bind-address=*", f"--pid-file={folder}/pid", *SMALL]
    running = host.spawn("mariadb", words, uid=APP_UID)
    wait_until(lambda: (folder / "sock").exists() and _administer(host, folder, "SELECT 1"))
    for grant in grants:
        made = f"CREATE USER 'app'@'{grant}' IDENTIFIED BY '{PASSWORD}';"
        assert _administer(host, folder, f"{made} GRANT ALL ON shop.* TO 'app'@'{grant}'")
    assert _administer(host, folder, "CREATE DATABASE shop; CREATE TABLE shop.t (b LONGBLOB)")
    yield
    running.stop()


def _administer(host: Host, folder: Path, statement: str) -> bool:
    words = ["mariadb", "--no-defaults", f"--socket={folder}/sock", "--user=root"]
    return host.run(words, uid=APP_UID, check=False, text=statement).returncode == 0


def may_connect(host: Host) -> None:
    """Give a host the client's password, in a file as it should be."""
    host.write(CLIENT_FILE, f"[client]\nuser=app\npassword={PASSWORD}\n", mode=0o644)


def ask(host: Host, name: str, statement: str, *, port: int = PORT) -> str:
    """Run a statement with the stock client; give what it prints, errors included."""
    words = ["mariadb", f"--defaults-file={CLIENT_FILE}", f"--host={name}", f"--port={port}"]
    words += ["--protocol=tcp", "--connect-timeout=5", "--skip-column-names", "--batch", "shop"]
    done = host.run(words, uid=APP_UID, check=False, text=statement)
    return (done.stdout or done.stderr).strip()


def seen_from(host: Host, name: str, *, port: int = PORT) -> str:
    """Give the address that the database sees for a caller, by the grant that let it in."""
    return ask(host, name, "SELECT SUBSTRING_INDEX(USER(), '@', -1), CURRENT_USER()", port=port)


def greeting_seconds(host: Host, address: str, *, port: int = PORT, times: int = 5) -> float:
    """Give how long a caller waits from its connect to the server's first bytes: the median."""
    took = []
    for _ in range(times):
        begun = time.monotonic()
        with inside.connect(host.holder.pid, address, port) as made:
            assert b"MariaDB" in _first(made)
        took.append(time.monotonic() - begun)
    return sorted(took)[times // 2]


def _first(made: socket.socket) -> bytes:
    return made.recv(4096)


def entry(name: str, *addresses: str) -> str:
    """Write the ServiceEntry that lists a database as it was before anybody joined."""
    endpoints = [{"address": address} for address in addresses]
    found = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "hosts": [f"{name}.default.mesh.internal"],
            "resolution": "STATIC",
            "ports": [{"number": PORT, "name": "tcp-db", "protocol": "TCP"}],
            "endpoints": endpoints,
        },
    }
    return json.dumps(found)
