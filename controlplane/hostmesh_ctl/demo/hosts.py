"""Hosts made of namespaces: each with its own network, processes, /run, /etc, /var/lib, /dev/shm.

A switch namespace holds a bridge; the machine's own network is never touched. Every namespace
belongs to a holder process (see holder.py) and is gone with it, so there is nothing to clean by
name. What could be left after a SIGKILL is a folder; `sweep` removes those of dead owners.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from hostmesh_ctl.demo import commands
from hostmesh_ctl.demo.namespaces import SYSTEM_PATH, Holder, LabUnavailable
from hostmesh_ctl.demo.processes import Running, start_ticks

PREFIX = "hostmesh-lab-"
HOSTS_AT_MOST = 200
MORE_ENVIRONMENT: dict[str, str] = {}
"""What every process of the lab gets besides; for tests of what the environment must not change."""
NEEDED = (
    "ip",
    "bridge",
    "unshare",
    "nsenter",
    "setpriv",
    "mount",
    "iptables",
    "ip6tables",
    "ipset",
)


def check_machine() -> None:
    """Raise LabUnavailable unless this machine can make hosts."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabUnavailable("cannot make hosts out of namespaces: that needs root on Linux")
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        raise LabUnavailable(
            f"cannot make hosts: {', '.join(missing)} not found; install with: "
            "apt-get install iproute2 iptables ipset util-linux mount"
        )


def program(name: str) -> str:
    """Give the path of one of our programs: it lies beside the running Python."""
    return str(Path(sys.executable).parent / name)


class Host:
    """One host of the lab. Commands run inside as root unless `uid` says otherwise."""

    def __init__(self, lab: "Lab", name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.ipv4 = f"10.77.0.{number}"
        self.ipv6 = f"fd77::{number:x}"
        self.port = f"p{number}"
        self._lab = lab
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.holder = Holder(name, lab.exposed, self.folder / "holder.log")
        self.processes: list[Running] = []
        self._connect()

    def _connect(self) -> None:
        self._lab.switch_ip(
            f"link add {self.port} type veth peer name eth0 netns {self.holder.pid}",
            f"link set {self.port} master br0 up",
        )
        self.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6"], check=False)
        batch = [
            "link set lo up",
            "link set eth0 up",
            f"addr add {self.ipv4}/24 dev eth0",
            f"addr add {self.ipv6}/64 dev eth0 nodad",
            "route add default via 10.77.0.254",
            "route add default via fd77::fe",
        ]
        inside = self.holder.enter(network_only=True)
        commands.run([*inside, "ip", "-batch", "-"], text="\n".join(batch) + "\n")

    def argv(self, argv: Sequence[str], *, uid: int = 0) -> list[str]:
        """Give the words that run `argv` inside this host as `uid`, numeric and without groups."""
        who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        return [*self.holder.enter(), *who, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        uid: int = 0,
        check: bool = True,
        timeout: float = 30.0,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run inside to the end; `timeout` in seconds. Raises CommandFailed."""
        inside = self.argv(argv, uid=uid)
        return commands.run(inside, check=check, timeout=timeout, text=text, env=environment())

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        uid: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """Start a background process inside; its output goes to `name`.log of this host."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            outer = subprocess.Popen(  # noqa: S603 - the lab runs what its own code names
                self.argv(argv, uid=uid),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**environment(), **(env or {})},
            )
        running = Running(name, outer, log)
        self.processes.append(running)
        return running

    def path(self, inside: str) -> Path:
        """Give where a file of this host is found from outside."""
        return Path(f"/proc/{self.holder.pid}/root{inside}")

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file inside this host, with its folder."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def add_name(self, name: str, *addresses: str) -> None:
        """Let this host know `name`, above what an agent may manage in /etc/hosts."""
        hosts = self.path("/etc/hosts")
        lines = "".join(f"{address} {name}\n" for address in addresses)
        hosts.write_text(lines + hosts.read_text())

    def cut(self) -> None:
        """Take it off the network without a word to it, as a dead switch port does."""
        self._lab.switch_bridge("link", "set", "dev", self.port, "state", "0")

    def restore(self) -> None:
        """Put it back on the network."""
        self._lab.switch_bridge("link", "set", "dev", self.port, "state", "3")


def environment() -> dict[str, str]:
    """Give the environment of a process in the lab: nothing of the caller's but where Python is."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **MORE_ENVIRONMENT,
    }


def code_paths() -> list[Path]:
    """Give the folders that our programs are made of: environment, interpreter, source trees."""
    paths = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    paths |= {Path(entry) for entry in sys.path if entry}
    return sorted(path for path in paths if path.exists() and path != Path("/usr"))


class Lab:
    """A switch and its hosts, for as long as the `with` block lasts."""

    def __init__(self, *, exposed: Sequence[Path] = (), keep: bool = False) -> None:
        check_machine()
        self.keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.folder.chmod(0o755)
        self.exposed = [*code_paths(), *exposed, self.folder]
        self.hosts: dict[str, Host] = {}
        self._closed = False
        self._handlers: dict[int, object] = {}
        self._switch: Holder | None = None
        self._note()
        atexit.register(self.close)
        self._switch = self._make_switch()
        self._note()

    def _make_switch(self) -> Holder:
        switch = Holder("switch", self.exposed, self.folder / "switch.log")
        batch = [
            "link set lo up",
            "link add br0 type bridge mcast_snooping 0 forward_delay 0",
            "link set br0 up",
            "addr add 10.77.0.254/24 dev br0",
            "addr add fd77::fe/64 dev br0 nodad",
        ]
        inside = switch.enter(network_only=True)
        commands.run([*inside, "ip", "-batch", "-"], text="\n".join(batch) + "\n")
        return switch

    def host(self, name: str) -> Host:
        """Make a host. Raises LabUnavailable."""
        if len(self.hosts) >= HOSTS_AT_MOST:
            raise LabUnavailable(f"cannot make host {name}: {HOSTS_AT_MOST} are enough for a lab")
        made = Host(self, name, len(self.hosts) + 1)
        self.hosts[name] = made
        self._note()
        return made

    def switch_ip(self, *batch: str) -> None:
        """Run ip(8) lines in the switch's network."""
        commands.run(self.switch_argv("ip", "-batch", "-"), text="\n".join(batch) + "\n")

    def switch_bridge(self, *words: str) -> None:
        """Run bridge(8) in the switch's network."""
        commands.run(self.switch_argv("bridge", *words))

    def switch_argv(self, *argv: str) -> list[str]:
        """Give the words that run `argv` in the switch's network: it sees every host's wire."""
        if self._switch is None:
            raise RuntimeError("the switch is not there yet")
        return [*self._switch.enter(network_only=True), *argv]

    def _holders(self) -> Iterator[Holder]:
        yield from (host.holder for host in self.hosts.values())
        if self._switch is not None:
            yield self._switch

    def _note(self) -> None:
        """Write down whose this lab is, for `sweep`."""
        holders = {str(each.pid): start_ticks(each.pid) for each in self._holders()}
        owner = {"pid": os.getpid(), "start": start_ticks(os.getpid()), "keep": self.keep}
        text = json.dumps({**owner, "holders": holders})
        (self.folder / "owner.json").write_text(text)

    def leave_running(self) -> None:
        """Let the hosts outlive this process; `sweep(kept=True)` ends them."""
        self.keep = True
        self._note()
        for holder in self._holders():
            holder.keep()
        self._closed = True

    @property
    def closed(self) -> bool:
        """Tell whether it has ended, or was left to run by itself."""
        return self._closed

    def close(self) -> None:
        """End every process, namespace and file of this lab. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with _undisturbed():
            logs = os.environ.get("HOSTMESH_LAB_LOGS")
            if logs:
                shutil.copytree(self.folder, Path(logs) / self.folder.name, dirs_exist_ok=True)
            for holder in [*self._holders()]:
                holder.close()
            for host in self.hosts.values():
                for running in host.processes:
                    running.reap()
            shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Let TERM and HUP end the block as Ctrl-C does, so that it cleans up.

        Ctrl-C itself too: a shell lets what it starts in the background ignore it.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _leave)
            self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clean up, whatever happened."""
        self.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._handlers.clear()


def _leave(number: int, _: FrameType | None) -> None:
    # Not SystemExit: a test runner takes that for one failed test and goes on.
    raise KeyboardInterrupt(signal.Signals(number).name)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep an impatient second Ctrl-C from stopping the cleaning."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def sweep(*, kept: bool = False) -> list[str]:
    """Remove what labs of dead owners left; with `kept` also the labs that were left running."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = json.loads((folder / "owner.json").read_text())
        except (OSError, ValueError):
            continue  # being made this moment
        if start_ticks(owner["pid"]) == owner["start"] or (owner["keep"] and not kept):
            continue
        for pid, started in owner["holders"].items():
            if start_ticks(int(pid)) == started:
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder.name)
    return removed
