"""A whole `hostmesh-controlplane run` as a process on loopback, with folders of the test's own."""

import hashlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app.join import Joined, join
from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges.identity_disk import IdentityDisk, StoredIdentity
from hostmesh_ctl.api_client import ApiClient
from hostmesh_testing.rooted_layout import RootedLayout, free_ports
from hostmesh_testing.waiting import wait_until

_CONFIG = """\
version: 1
listen:
  xds: "[::]:{xds}"
  enrolment: "[::]:{enrolment}"
  metrics: 127.0.0.1:{metrics}
  api: {root}/api.sock
state_dir: {root}/state
sources:
  - name: files
    kind: static
    path: {root}/catalog
    poll_seconds: 0.1
"""


@dataclass(frozen=True)
class EnrolledHost:
    """A host that joined by `app.join`, and where its identity lies."""

    joined: Joined
    layout: RootedLayout
    token: str

    @property
    def host_id(self) -> str:
        return self.joined.host_id

    @property
    def disk(self) -> IdentityDisk:
        return IdentityDisk(Path(self.layout.identity_dir))

    @property
    def stored(self) -> StoredIdentity:
        stored = self.disk.load()
        assert stored is not None
        return stored


class PlaneProcess:
    """One control plane. Its log is a file, its figures are read over HTTP."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.xds_port, self.enrolment_port, self.metrics_port = free_ports(3)
        self.catalog = root / "catalog"
        self.catalog.mkdir()
        self.config = root / "controlplane.yaml"
        self.config.write_text(
            _CONFIG.format(
                root=root,
                xds=self.xds_port,
                enrolment=self.enrolment_port,
                metrics=self.metrics_port,
            )
        )
        self.socket = str(root / "api.sock")
        self.log_file = root / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "hostmesh_controlplane.cli", "run"),
                    *("--config", str(self.config)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self.is_ready, seconds=20, what=f"a ready control plane: {self.log()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def is_ready(self) -> bool:
        assert self._process is None or self._process.poll() is None, self.log()
        try:
            return self._get("/readyz")[0] == 200
        except OSError:
            return False

    # What it says

    @property
    def api(self) -> ApiClient:
        return ApiClient(self.socket, timeout=10)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def refusals(self) -> dict[str, int]:
        """Give what /metrics counts of refusals, by reason."""
        found = re.findall(
            r'^hostmesh_refusals_total\{reason="([^"]+)"\} (\S+)$', self._get("/metrics")[1], re.M
        )
        return {reason: int(float(count)) for reason, count in found}

    def answers(self) -> dict[str, object]:
        """Give all that the operator API answers, without what passes with time."""
        services = self.api.get("services")
        assert isinstance(services, list)
        hosts = self.api.get("hosts")
        assert isinstance(hosts, list)
        return {
            "services": services,
            "endpoints": [self.api.get("endpoints", row["host"]) for row in services],
            "hosts": [{**row, "certificate_hours_left": None} for row in hosts],
            "tokens": self.api.get("tokens"),
            "sources": self.api.get("sources"),
        }

    def state_files(self) -> dict[str, str]:
        """Give the hash of every file in the state folder (SQLite's index of its log left out)."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((self.root / "state").rglob("*"))
            if path.is_file() and not path.name.endswith("-shm")
        }

    # Hosts

    @property
    def agent_config(self) -> AgentConfig:
        return AgentConfig(
            control_planes=(Address(host="127.0.0.1", port=self.xds_port),),
            enrolment=Address(host="127.0.0.1", port=self.enrolment_port),
        )

    def token(self, **body: object) -> str:
        answer = self.api.post("tokens", body=body)
        assert isinstance(answer, dict)
        return str(answer["token"])

    def enrol(self, name: str, **body: object) -> EnrolledHost:
        """Let a host join, with a token for `body`."""
        token = self.token(**body)
        layout = RootedLayout(root=str(self.root / name))
        Path(layout.state_dir).mkdir(parents=True)
        joined = join(self.agent_config, layout, token, hostname=name)
        return EnrolledHost(joined, layout, token)

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def plane_process() -> Iterator[PlaneProcess]:
    """Make the folders, give a control plane that is not started, end it and remove all."""
    root = Path(tempfile.mkdtemp(prefix="hm-cp-"))
    plane = PlaneProcess(root)
    try:
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(root)
