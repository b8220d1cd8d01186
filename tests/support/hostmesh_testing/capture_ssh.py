"""A real sshd in a lab host, a session that types, and new logins again and again."""

import subprocess
import threading
import time
from pathlib import Path

from hostmesh_ctl.demo.hosts import Host
from hostmesh_testing.waiting import wait_until

_OPTIONS = (
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "BatchMode=yes",
    "ConnectTimeout=3",
    "LogLevel=ERROR",
)


class Sshd:
    """The server; its configuration is the host's own /etc/ssh/sshd_config."""

    def __init__(self, host: Host, *ports: int) -> None:
        self.host = host
        self.ports = ports
        host.run(["rm", "-rf", "/etc/ssh/sshd_config.d"])
        host.run(["mkdir", "-p", "/run/sshd", "/etc/ssh", "/etc/lab-ssh"])
        for name in ("host_key", "user_key"):
            host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/etc/lab-ssh/{name}"])
        host.run(["cp", "/etc/lab-ssh/user_key.pub", "/etc/lab-ssh/allowed"])
        lines = [
            "HostKey /etc/lab-ssh/host_key",
            "AuthorizedKeysFile /etc/lab-ssh/allowed",
            "PermitRootLogin yes",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
        ]
        lines += [f"Port {port}" for port in ports]
        host.write("/etc/ssh/sshd_config", "\n".join([*lines, ""]))
        self.running = host.spawn("sshd", ["/usr/sbin/sshd", "-D", "-e"])
        wait_until(self._listens, what="sshd's ports")

    def _listens(self) -> bool:
        shown = self.host.run(["ss", "-Hltn"]).stdout
        return all(f":{port} " in shown for port in self.ports)

    def key(self, folder: Path) -> Path:
        """Copy the user's key out, so that another host can log in with it."""
        target = folder / "user_key"
        target.write_bytes(self.host.path("/etc/lab-ssh/user_key").read_bytes())
        target.chmod(0o600)
        return target


def words(key: Path, address: str, port: int, *command: str) -> list[str]:
    """Give the ssh command line."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return ["ssh", "-i", str(key), *options, "-p", str(port), f"root@{address}", *command]


class Typing:
    """One session that is typed into every 50 ms and echoes each line."""

    def __init__(self, host: Host, key: Path, address: str, port: int) -> None:
        self.lines = 0
        self._stop = threading.Event()
        self._process = subprocess.Popen(
            host.argv(words(key, address, port, "cat")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._type, daemon=True)
        self._thread.start()

    def _type(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        while not self._stop.is_set():
            line = f"line {self.lines}\n".encode()
            self._process.stdin.write(line)
            self._process.stdin.flush()
            if self._process.stdout.readline() != line:
                return
            self.lines += 1
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether it still echoes: a line typed now comes back."""
        before = self.lines
        deadline = time.monotonic() + 5
        while self.lines == before and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.lines > before

    def close(self) -> None:
        """End the session."""
        self._stop.set()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._thread.join(5)


class Logins:
    """A new login every 500 ms."""

    def __init__(self, host: Host, key: Path, places: list[tuple[str, int]]) -> None:
        self.done = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._host, self._key, self._places = host, key, places
        self._thread = threading.Thread(target=self._log_in, daemon=True)
        self._thread.start()

    def _log_in(self) -> None:
        while not self._stop.is_set():
            address, port = self._places[self.done % len(self._places)]
            argv = words(self._key, address, port, "echo", "in")
            done = self._host.run(argv, check=False)
            if done.stdout.strip() != "in":
                self.failed.append(f"{address} {port}: {done.stderr.strip()}")
            self.done += 1
            self._stop.wait(0.5)

    def close(self) -> None:
        """Stop logging in."""
        self._stop.set()
        self._thread.join(15)
