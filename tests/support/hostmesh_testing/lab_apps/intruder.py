"""Tries what a local user might try; reads attempts as JSON lines, writes what each one got.

Run as `python -m hostmesh_testing.lab_apps.intruder` under the user in question. An outcome is
`open` or the name of the errno. Nothing is changed by an attempt that succeeds: what was created is
removed, what was attached is let go, and of the signals only number 0 is sent to the own processes.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

OPEN = "open"
PTRACE_DETACH, PTRACE_ATTACH, PTRACE_SEIZE = 17, 16, 0x4206
SECONDS = 3.0
_libc = ctypes.CDLL(None, use_errno=True)
_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def connect_unix(name: str) -> None:
    """Connect to an AF_UNIX name; @ begins an abstract one."""
    address = "\0" + name[1:] if name.startswith("@") else name
    failure = OSError(errno.EPROTOTYPE, "no kind")
    for kind in _KINDS:
        with socket.socket(socket.AF_UNIX, kind) as made:
            made.settimeout(SECONDS)
            try:
                made.connect(address)
            except OSError as error:
                failure = error
                if error.errno != errno.EPROTOTYPE:
                    raise
                continue
            return
    raise failure


def send_datagram(name: str) -> None:
    """Send one datagram to an AF_UNIX name, as an Envoy of another epoch would."""
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.sendto(b"\0" * 16, address)


def connect_tcp(target: str) -> None:
    """Connect to `address port`."""
    address, _, port = target.rpartition(" ")
    with socket.create_connection((address, int(port)), timeout=SECONDS):
        return


def http(target: str) -> str:
    """Connect to `address port` and ask for `/`; give the first line, or `closed`."""
    address, _, port = target.rpartition(" ")
    with socket.create_connection((address, int(port)), timeout=SECONDS) as made:
        made.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
        answer = made.recv(4096)
    return answer.split(b"\r\n")[0].decode(errors="replace") if answer else "closed"


def read(path: str) -> None:
    """Read a file, or list a folder."""
    if os.path.isdir(path):  # noqa: PTH112
        os.listdir(path)  # noqa: PTH208
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.read(descriptor, 16)
    finally:
        os.close(descriptor)


def write(path: str) -> None:
    """Open a file for writing, or make and remove a file in a folder."""
    if os.path.isdir(path):  # noqa: PTH112
        made = f"{path}/intruder"
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(made)  # noqa: PTH108
        return
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def attach(target: str) -> None:
    """Take a process over with PTRACE_ATTACH."""
    pid = int(target)
    _checked(_libc.ptrace(PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, 0)
    _libc.ptrace(PTRACE_DETACH, pid, None, None)


def seize(target: str) -> None:
    """Take a process over with PTRACE_SEIZE."""
    _checked(_libc.ptrace(PTRACE_SEIZE, int(target), None, None))


def read_memory(target: str) -> None:
    """Read 8 bytes of a process with process_vm_readv."""
    buffer = ctypes.create_string_buffer(8)
    mine = _Vector(ctypes.cast(buffer, ctypes.c_void_p), 8)
    # Whether the address exists is asked after whether one may ask.
    theirs = _Vector(ctypes.c_void_p(0x10000), 8)
    got = _libc.process_vm_readv(
        int(target), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, ctypes.c_ulong(0)
    )
    if got < 0 and ctypes.get_errno() == errno.EFAULT:
        return
    _checked(got)


def probe_signal(target: str) -> None:
    """Ask whether a signal may be sent."""
    os.kill(int(target), 0)


def terminate(target: str) -> None:
    """Send SIGTERM."""
    os.kill(int(target), signal.SIGTERM)


def attach_shared(target: str) -> None:
    """Attach a System V shared-memory segment for writing."""
    _libc.shmat.restype = ctypes.c_ssize_t
    _checked(_libc.shmat(int(target), None, 0))


ATTEMPTS: dict[str, Callable[[str], str | None]] = {
    "connect": connect_unix,
    "datagram": send_datagram,
    "tcp": connect_tcp,
    "http": http,
    "read": read,
    "write": write,
    "ptrace attach": attach,
    "ptrace seize": seize,
    "process_vm_readv": read_memory,
    "signal 0": probe_signal,
    "signal TERM": terminate,
    "shmat": attach_shared,
}


def outcome(kind: str, target: str) -> str:
    """Make one attempt and give what it got."""
    try:
        return ATTEMPTS[kind](target) or OPEN
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def main() -> None:
    """Answer one line after the other."""
    for line in sys.stdin:
        kind, target = json.loads(line)
        sys.stdout.write(json.dumps([kind, target, outcome(kind, target)]) + "\n")


if __name__ == "__main__":
    main()
