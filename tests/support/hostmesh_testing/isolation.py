"""What there is on a lab host that belongs to Hostmesh, found on the host itself as it runs."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostmesh_ctl.demo import processes
from hostmesh_ctl.demo.hosts import Host

FOLDERS = (
    "/etc/hostmesh",
    "/run/hostmesh",
    "/run/hostmesh-controlplane",
    "/var/lib/hostmesh",
    "/var/lib/hostmesh-controlplane",
    "/var/log/hostmesh",
    "/dev/shm",
)
PROCESS_FILES = ("environ", "mem", "maps", "fd", "root", "cwd", "auxv", "syscall")
ON_PROCESSES = ("ptrace attach", "ptrace seize", "process_vm_readv", "signal 0", "signal TERM")
LISTENING = "0A"
_OURS = re.compile(r"hostmesh_agent\.main|hostmesh-agent run|hostmesh-controlplane|--restart-epoch")


@dataclass(frozen=True, slots=True)
class Process:
    """One of ours; its pid as the host itself numbers it."""

    pid: int
    uid: int
    name: str


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt and what it got: `open`, or an errno."""

    kind: str
    target: str
    got: str


def unix_names(host: Host) -> list[str]:
    """Give every name in /proc/net/unix, abstract ones with an @."""
    text = host.run(["cat", "/proc/net/unix"]).stdout
    found = {line.split(maxsplit=7)[7] for line in text.splitlines()[1:] if len(line.split()) > 7}
    return sorted(found)


def listeners(host: Host) -> list[str]:
    """Give every TCP listener as `address port`; those of all addresses by loopback."""
    found = set()
    for table, any_address, loopback in (
        ("tcp", "00000000", "127.0.0.1"),
        ("tcp6", "0" * 32, "::1"),
    ):
        for line in host.run(["cat", f"/proc/net/{table}"]).stdout.splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, port = local.partition(":")
            if state == LISTENING:
                where = loopback if address == any_address or table == "tcp6" else _dotted(address)
                found.add(f"{where} {int(port, 16)}")
    return sorted(found)


def _dotted(address: str) -> str:
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))


def files(host: Host) -> list[str]:
    """Give every folder and file of ours, sockets left out: those are connected to."""
    found = []
    for folder in FOLDERS:
        top = host.path(folder)
        if top.exists():
            inside = [path for path in top.rglob("*") if not path.is_socket()]
            found += [folder, *(_inside(host, path) for path in inside)]
    return sorted(found)


def _inside(host: Host, path: Path) -> str:
    return "/" + str(path.relative_to(host.path("/")))


def segments(host: Host) -> list[str]:
    """Give the ids of all System V shared memory."""
    lines = host.run(["cat", "/proc/sysvipc/shm"]).stdout.splitlines()[1:]
    return [line.split()[1] for line in lines]


def running(host: Host) -> Iterator[Process]:
    """Give every process of ours."""
    for outer in processes.inside(host.holder.pid, []):
        words = " ".join(processes.words_of(outer))
        if _OURS.search(words) and "intruder" not in words:
            status = Path(f"/proc/{outer}/status").read_text()
            pid = re.search(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)
            uid = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
            assert pid is not None
            assert uid is not None
            yield Process(int(pid[1]), int(uid[1]), _named(words))


def _named(words: str) -> str:
    if "--restart-epoch" in words:
        return "envoy"
    for part, name in (
        ("--all", "parent"),
        (".main run", "agent"),
        (".main envoy", "runner"),
        ("redirect watch", "redirector"),
        ("hostmesh-controlplane", "controlplane"),
    ):
        if part in words:
            return name
    return words


def attempts(host: Host, uid: int) -> list[tuple[str, str]]:
    """Give every attempt that `uid` makes on a host. Nobody ends what is his own."""
    made = [("connect", name) for name in unix_names(host)]
    owners = {process.uid for process in running(host) if process.name == "envoy"}
    if uid not in owners:
        made += [("datagram", name) for name in unix_names(host) if "hot-restart" in name]
    made += [("tcp", where) for where in listeners(host)]
    made += [(kind, path) for path in files(host) for kind in ("read", "write")]
    made += [("shmat", segment) for segment in segments(host)]
    for process in running(host):
        made += [("read", f"/proc/{process.pid}/{name}") for name in PROCESS_FILES]
        kinds = [kind for kind in ON_PROCESSES if kind != "signal TERM" or process.uid != uid]
        made += [(kind, str(process.pid)) for kind in kinds]
    return made


def try_all(host: Host, uid: int, wanted: Sequence[tuple[str, str]]) -> list[Tried]:
    """Let a user of the host make the attempts."""
    support = next(path for path in sys.path if path.endswith("support"))
    words = ["env", f"PYTHONPATH={support}", sys.executable]
    words += ["-m", "hostmesh_testing.lab_apps.intruder"]
    text = "".join(json.dumps(pair) + "\n" for pair in wanted)
    said = host.run(words, uid=uid, text=text, timeout=120).stdout
    return [Tried(*json.loads(line)) for line in said.splitlines()]
