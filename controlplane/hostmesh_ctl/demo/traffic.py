"""The app instances and the load client of the demo, and what they have written so far."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hostmesh_ctl.demo.account import Journal
from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.mesh import APP_UID, NotInTime, wait_for
from hostmesh_ctl.demo.processes import Running


def own_file(path: Path) -> Path:
    """Make an empty file that the lab's apps may write."""
    path.touch()
    os.chown(path, APP_UID, APP_UID)
    return path


def lines_of(path: Path) -> Iterator[dict[str, object]]:
    """Read JSON lines; one that is being written this moment is left for the next time."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


class App:
    """An instance of a service: the HTTP app on a host, under an ordinary user."""

    def __init__(self, host: Host, name: str, port: int) -> None:
        self.host = host
        self.name = name
        self.port = port
        self.log = own_file(host.folder / f"{name}.requests")
        self._process: Running | None = None

    @property
    def endpoint(self) -> str:
        """Give `address:port` as catalogs list it."""
        return f"{self.host.ipv4}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens. Raises NotInTime."""
        words = [sys.executable, "-P", "-m", "hostmesh_ctl.demo.apps", "http", "--name", self.name]
        words += ["--port", str(self.port), "--log", str(self.log)]
        started = self.host.spawn(self.name, words, uid=APP_UID)
        said = started.said().count("serving")
        wait_for(f"the app {self.name}", lambda: started.said().count("serving") > said)
        self._process = started

    @property
    def process(self) -> Running:
        """Give the running app. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"the app {self.name} was never started")
        return self._process


class LoadClient:
    """The load client on a host."""

    def __init__(self, host: Host, service: str, port: int, *, rate: float) -> None:
        self.rate = rate
        self.out = own_file(host.folder / "load.requests")
        words = [sys.executable, "-P", "-m", "hostmesh_ctl.demo.load", "--host", service]
        words += ["--port", str(port), "--out", str(self.out), "--rate", str(rate)]
        self._process = host.spawn("load", words, uid=APP_UID)
        wait_for("the load client", lambda: "loading" in self._process.said())

    def records(self, *, since: float = 0.0) -> list[Record]:
        """Give the requests that have begun after `since` and ended."""
        records = [Record(**line) for line in lines_of(self.out)]  # type: ignore[arg-type]
        return [record for record in records if record.start >= since]

    def stop(self) -> list[Record]:
        """Send no more, wait for what is under way, give all records. Raises NotInTime."""
        status = self._process.stop(seconds=15.0)
        if status != 0:
            words = self._process.said()[-1000:]
            raise NotInTime(f"cannot end the load client in order ({status}): {words}")
        return self.records()


def journal_of(apps: list[App]) -> Journal:
    """Give what the apps' own logs say."""
    journal = Journal()
    for app in apps:
        journal.add(app.name, lines_of(app.log))
    return journal
