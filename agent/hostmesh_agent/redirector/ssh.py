"""Which ports ssh uses on this host: they are never captured, whatever the configuration says.

A wrong rule here locks an operator out of a machine that may have no other door. So every source
that can tell is asked, and their answers are added up (host-agent.md rule 10): `sshd -T`, the
socket units (PID 1 owns port 22 then), sockets that sshd owns, and 22. Read as root: others see no
owners.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.redirector.kernel import CannotRun, Kernel
from hostmesh_agent.redirector.plan import NeverPorts

DEFAULT = 22
_NAMES = ("sshd", "dropbear")
_LISTEN, _ESTABLISHED = "0A", "01"
_UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_UNITS = ("ssh.socket", "sshd.socket")
_CONFIGURATIONS = ("/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d")
LOOKS_AGAIN = 12
"""After so many looks the kernel's list is read although sshd has the sockets that it had: one of
them may have begun to listen. To read it costs by all sockets of the host, and milliseconds even
where there is none."""


@dataclass(frozen=True, slots=True)
class Socket:
    """One line of /proc/net/tcp or tcp6."""

    port: int
    """The local port."""
    loopback: bool
    state: str
    uid: int
    inode: int


class SshPorts:
    """Finds the ports; keeps `sshd -T`'s answer while its configuration is the same."""

    def __init__(self, kernel: Kernel, root: str = "") -> None:
        """`root`: a folder that stands for /, in tests."""
        self._kernel = kernel
        self._root = root
        self._stamp: object = None
        self._configured: frozenset[int] = frozenset()
        self._owned: frozenset[int] = frozenset()
        self._looks = 0
        self._open: tuple[list[Socket], frozenset[int]] = [], frozenset()

    def find(self) -> NeverPorts:
        """Look everywhere."""
        stamp = self._configuration_stamp()
        if stamp != self._stamp:
            self._configured = self._ask_sshd() | self._socket_units()
            self._stamp = stamp
        listening, sessions = self._sockets()
        fixed = frozenset({DEFAULT}) | self._configured
        root_owned = {socket.port for socket in listening if socket.uid == 0}
        return NeverPorts(
            inbound=fixed | {socket.port for socket in listening} | sessions,
            outbound=fixed | root_owned,
        )

    def _ask_sshd(self) -> frozenset[int]:
        """Ask sshd itself; where it cannot say (no host key yet), read what is written."""
        if not self._kernel.has("sshd"):
            return frozenset()
        try:
            return ports_of_sshd(self._kernel.run(("sshd", "-T")).splitlines())
        except CannotRun:
            return ports_of_sshd(
                line for path in self._configuration_files() for line in _lines(path)
            )

    def _socket_units(self) -> frozenset[int]:
        found: frozenset[int] = frozenset()
        for unit in _UNITS:
            for folder in _UNIT_FOLDERS:
                base = Path(f"{self._root}{folder}")
                for path in (base / unit, *sorted(base.glob(f"{unit}.d/*.conf"))):
                    found |= ports_of_unit(_lines(path))
        return found

    def _sockets(self) -> tuple[list[Socket], frozenset[int]]:
        """Give the sockets on which some sshd listens, and the local ports of its sessions."""
        owned = _inodes_of_sshd(Path(f"{self._root}/proc"))
        self._looks += 1
        if owned != self._owned or (owned and self._looks >= LOOKS_AGAIN):
            self._owned, self._looks, self._open = owned, 0, self._read_sockets(owned)
        return self._open

    def _read_sockets(self, owned: frozenset[int]) -> tuple[list[Socket], frozenset[int]]:
        files = (Path(f"{self._root}/proc/net/{name}") for name in ("tcp", "tcp6"))
        sockets = [
            socket
            for path in files
            for line in _lines(path)[1:]
            if (socket := parse_socket(line)) is not None and socket.inode in owned
        ]
        # What a user's `ssh -R` opens on loopback is no door of the operator's.
        listening = [
            socket
            for socket in sockets
            if socket.state == _LISTEN and (socket.uid == 0 or not socket.loopback)
        ]
        sessions = (s for s in sockets if s.state == _ESTABLISHED and s.uid == 0)
        return listening, frozenset(session.port for session in sessions)

    def _configuration_files(self) -> list[Path]:
        main, folder = (Path(f"{self._root}{path}") for path in _CONFIGURATIONS)
        return [main, *sorted(folder.glob("*.conf"))]

    def _configuration_stamp(self) -> object:
        units = [
            Path(f"{self._root}{folder}/{unit}") for folder in _UNIT_FOLDERS for unit in _UNITS
        ]
        drop_ins = [path for unit in units for path in unit.parent.glob(f"{unit.name}.d/*.conf")]
        return [
            (str(path), _stamp(path)) for path in self._configuration_files() + units + drop_ins
        ]


def ports_of_sshd(lines: Iterable[str]) -> frozenset[int]:
    """Read `port` and `listenaddress` from `sshd -T` or sshd_config."""
    found: set[int] = set()
    for line in lines:
        words = line.split("#")[0].replace("=", " ").split()
        if len(words) < 2:
            continue
        keyword, value = words[0].lower(), words[1]
        if keyword == "port" and value.isdigit():
            found.add(int(value))
        elif keyword == "listenaddress" and (port := _port_of_address(value)):
            found.add(port)
    return frozenset(found)


def ports_of_unit(lines: Iterable[str]) -> frozenset[int]:
    """Read the TCP ports of a socket unit's ListenStream lines.

    An empty one, which resets the list, is not obeyed: too many ports is the safe side.
    """
    found: set[int] = set()
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "ListenStream":
            value = value.strip()
            port = int(value) if value.isdigit() else _port_of_address(value)
            if port:
                found.add(port)
    return frozenset(found)


def parse_socket(line: str) -> Socket | None:
    """Read one line of /proc/net/tcp or tcp6; None for one that is no socket's."""
    words = line.split()
    if len(words) < 10 or ":" not in words[1]:
        return None
    address, _, port = words[1].rpartition(":")
    # Each 32 bits are printed in this machine's byte order: ::1 ends in 01000000 or 00000001.
    four = len(address) == 8 and "7F" in (address[:2], address[6:])
    six = re.fullmatch("0{24}(0{6}01|010{6})", address) is not None
    return Socket(int(port, 16), four or six, words[3], int(words[7]), int(words[9]))


def _port_of_address(text: str) -> int:
    """Give the port of `host:port` or `[v6]:port`; 0 where there is none."""
    match = re.fullmatch(r"(?:\[[^\]]*\]|[^:/\s]+):(\d{1,5})", text)
    return int(match[1]) if match else 0


def _inodes_of_sshd(proc: Path) -> frozenset[int]:
    found: set[int] = set()
    for process in proc.glob("[0-9]*"):
        try:
            if _is_sshd(process):
                found.update(_socket_inodes(process / "fd"))
        except OSError:  # it ended meanwhile
            continue
    return frozenset(found)


def _is_sshd(process: Path) -> bool:
    """Ask for the program too: any user can give a process of theirs the name."""
    if not (process / "comm").read_text().startswith(_NAMES):
        return False
    exe = process / "exe"
    return exe.readlink().name.startswith(_NAMES) and exe.stat().st_uid == 0


def _socket_inodes(folder: Path) -> Iterator[int]:
    for descriptor in folder.iterdir():
        try:
            link = str(descriptor.readlink())
        except OSError:  # closed meanwhile
            continue
        if link.startswith("socket:["):
            yield int(link[8:-1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
