"""The first process of a lab host: makes the host's own folders, reaps, and ends with the lab.

It runs in new mount, network, pid, uts and ipc namespaces. As pid 1 it takes every process of the
host with it, and it ends when its standard input closes: not even SIGKILL of the lab's owner leaves
a host behind. The line `keep` on standard input lifts that.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PRIVATE = Path("/run/lab")
"""Where the layers of this host's folders are; on its own tmpfs, gone with it."""
HOME = Path("/root")
OVERLAID = ("/etc", "/var/lib", "/var/log")
"""Seen as on the machine, written privately."""


def mount(*argv: str) -> None:
    """Mount inside this process's own mount namespace; the machine sees nothing of it."""
    subprocess.run(["mount", *argv], check=True)  # noqa: S603, S607 - mount(8), our own words


def closed_ancestor(path: Path) -> Path | None:
    """Give the first folder above `path` that only its owner may enter, such as /root."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def expose(paths: Sequence[Path]) -> None:
    """Let processes of any user reach `paths` though they lie in a private folder.

    The folder is covered by an open, empty one that holds these paths and nothing else; root's
    home always is, for what a host's root leaves there is the host's own.
    """
    wanted = {path: closed_ancestor(path) for path in paths if path.exists()}
    closed = {path: above for path, above in wanted.items() if above is not None}
    for number, path in enumerate(closed):
        _bind(path, PRIVATE / f"exposed/{number}")
    for above in sorted({HOME, *closed.values()}):
        mount("-t", "tmpfs", "-o", "mode=0755", "lab-open", str(above))
    # Shorter first: what lies inside another exposed path is there already.
    for number, path in sorted(enumerate(closed), key=lambda item: len(item[1].parts)):
        if not path.exists():
            _bind(PRIVATE / f"exposed/{number}", path)


def _bind(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mount("--rbind", str(source), str(target))


def furnish(hostname: str, exposed: Sequence[Path]) -> None:
    """Give the host its own /run, /dev/shm, /etc, /var/lib and name."""
    mount("-t", "tmpfs", "-o", "mode=0755", "lab-run", "/run")
    mount("-t", "tmpfs", "-o", "mode=1777", "lab-shm", "/dev/shm")  # noqa: S108
    for folder in OVERLAID:
        layers = PRIVATE / folder.strip("/").replace("/", "-")
        for each in ("upper", "work"):
            (layers / each).mkdir(parents=True)
        layer = f"lowerdir={folder},upperdir={layers}/upper,workdir={layers}/work"
        mount("-t", "overlay", "-o", layer, "lab-overlay", folder)
    expose(exposed)
    socket.sethostname(hostname)
    resolver = Path("/etc/resolv.conf")
    resolver.unlink(missing_ok=True)
    # No name server: an unknown name fails at once, and no question leaves the lab.
    resolver.write_text("# a lab host asks no name server\n")
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost {hostname}\n::1 localhost\n")


def hold(control: int) -> None:
    """Reap what is orphaned until `control` closes, or for ever after the line `keep`."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    reap()
    watched = [woken, control]
    while True:
        ready = select.select(watched, [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            reap()
        if control in ready:
            said = os.read(control, 4096)
            if not said:
                return
            if b"keep" in said:
                watched = [woken]


def reap() -> None:
    """Take in every child that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> None:
    """Furnish the host that argv[1] describes in JSON, say `ready`, hold it."""
    wanted = json.loads(sys.argv[1])
    furnish(wanted["hostname"], [Path(path) for path in wanted["expose"]])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    hold(sys.stdin.fileno())


if __name__ == "__main__":
    main()
