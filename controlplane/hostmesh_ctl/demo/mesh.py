"""The programs on lab hosts: a control plane with its operator's commands, agents with theirs."""

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from hostmesh_core.errors import HostmeshError
from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.api_client import DEFAULT_SOCKET, ApiClient
from hostmesh_ctl.demo import inside, processes
from hostmesh_ctl.demo.hosts import Host, program
from hostmesh_ctl.demo.processes import Running
from hostmesh_ctl.output import rows_of

APP_UID = 1001
"""Apps and clients of the lab: an ordinary user, so that its traffic is captured."""
AGENT_UID = 1500
ENVOY_UID = 1337
READY_SECONDS = 30.0
LAYOUT = HostLayout()
JOIN_FILE = "/run/join.token"
"""On the host's own /run: a token never lies on a disk of this machine."""
Row = Mapping[str, object]


class NotInTime(HostmeshError):
    """What the lab waited for did not come."""


def wait_for(
    what: str,
    condition: Callable[[], object],
    *,
    seconds: float = 20.0,
    every: float = 0.05,
) -> float:
    """Poll until `condition` holds; give how long it took, in seconds. Raises NotInTime.

    An error of the lab or the programs means "not yet"; the last one is told at the end.
    """
    began = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - began
            reason = ""
        except HostmeshError as error:
            reason = f": {error}"
        if time.monotonic() - began > seconds:
            raise NotInTime(f"cannot wait longer for {what}: {seconds:g} s{reason}")
        time.sleep(every)


class ControlPlane:
    """`hostmesh-controlplane run` on a host, and `hostmesh` beside it."""

    def __init__(self, host: Host, config: str) -> None:
        self.host = host
        self._process: Running | None = None
        host.write("/etc/hostmesh/controlplane.yaml", config)
        host.path("/etc/hostmesh/catalog").mkdir(exist_ok=True)

    def catalog(self, name: str, text: str) -> None:
        """Write one file of the static catalog; an empty text removes it."""
        inside_path = f"/etc/hostmesh/catalog/{name}"
        if text:
            self.host.write(inside_path, text)
        else:
            self.host.path(inside_path).unlink(missing_ok=True)

    def start(self) -> None:
        """Start it and wait until it answers. Raises NotInTime."""
        argv = [program("hostmesh-controlplane"), "run"]
        argv += ["--config", "/etc/hostmesh/controlplane.yaml"]
        self._process = self.host.spawn("controlplane", argv)
        try:
            wait_for("the control plane", self._answers)
        except NotInTime as error:
            raise NotInTime(f"{error}; it said: {self.process.said()[-1500:]}") from error

    @property
    def process(self) -> Running:
        """Give the running program. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError("the control plane was never started")
        return self._process

    def stop(self) -> None:
        """End it in order."""
        self.process.stop()

    def _answers(self) -> bool:
        self.rows("sources")
        return self.process.alive

    def command(self, *words: str, check: bool = True) -> str:
        """Run `hostmesh …` there and give what it prints. Raises CommandFailed."""
        return self.host.run([program("hostmesh"), *words], check=check).stdout

    @property
    def api(self) -> ApiClient:
        """Give its operator API, asked from outside: cheaper to poll than the command."""
        return ApiClient(str(self.host.path(DEFAULT_SOCKET)))

    def rows(self, *segments: str) -> list[Row]:
        """Give the rows of a list answer. Raises HostmeshError."""
        return rows_of(self.api.get(*segments))

    def endpoints(self, service: str) -> dict[str, Row]:
        """Give a service's endpoints by `address:port`."""
        return {str(row["endpoint"]): row for row in self.rows("endpoints", service)}

    def state(self, service: str) -> str:
        """Give how far a service is in the mesh: plain, mixed or mesh."""
        answer = self.api.get("services", service)
        return str(answer["state"]) if isinstance(answer, dict) else ""

    def token(self, *words: str) -> str:
        """Make a join token: `--service reviews`, or `--service-account client`."""
        return self.command("token", "create", *words).strip()


class Agent:
    """One host's agent with its Envoy and rules, without systemd."""

    def __init__(self, host: Host, config: str) -> None:
        self.host = host
        self._process: Running | None = None
        host.write("/etc/hostmesh/agent.yaml", config)

    @property
    def process(self) -> Running:
        """Give the running parent (`run --all`). Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"no agent was started on {self.host.name}")
        return self._process

    def join(self, token: str) -> str:
        """Enrol with a token from a file; give what `join` prints. Raises CommandFailed."""
        self.host.write(JOIN_FILE, token + "\n", mode=0o600)
        words = ["join", "--enrol-only", "--token-file", JOIN_FILE, *self._users()]
        return self.command(*words)

    def start(self) -> None:
        """Start everything on this host; returns at once."""
        argv = [program("hostmesh-agent"), "run", "--all", *self._users()]
        self._process = self.host.spawn("agent", argv)

    @staticmethod
    def _users() -> list[str]:
        return ["--agent-user", str(AGENT_UID), "--envoy-user", str(ENVOY_UID)]

    def command(self, *words: str, check: bool = True) -> str:
        """Run `hostmesh-agent …` on the host and give what it prints. Raises CommandFailed."""
        argv = [program("hostmesh-agent"), *words]
        return self.host.run(argv, check=check, timeout=200).stdout

    def status(self) -> Mapping[str, object]:
        """Give `hostmesh-agent status`; empty while it does not answer."""
        text = self.command("status", "--output", "json", check=False)
        try:
            answer = json.loads(text)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def wait_ready(self, *, seconds: float = READY_SECONDS) -> float:
        """Wait until nothing is waited for any more; give how long. Raises NotInTime."""
        status: object = {}
        socket_path = str(self.host.path(LAYOUT.control_socket))

        def ready() -> bool:
            nonlocal status
            status = inside.ask_agent(socket_path, "status")
            if not isinstance(status, dict) or status["waiting"]:
                return False
            status = self.status()  # as an operator sees it
            return bool(status) and not status.get("waiting")

        try:
            return wait_for(f"the agent of {self.host.name}", ready, seconds=seconds, every=0.1)
        except NotInTime as error:
            said = self.process.said()[-2500:]
            raise NotInTime(f"{error}; status {json.dumps(status)}; it said: {said}") from error

    def pid(self, *words: str) -> int:
        """Give the pid of the only process whose command line has all `words`; 0 = none."""
        found = processes.inside(self.host.holder.pid, words)
        return found[0] if found else 0

    def agent_pid(self) -> int:
        """Give the agent's own pid: not the parent, not the small processes."""
        pids = processes.inside(self.host.holder.pid, ["hostmesh_agent.main", "run"])
        return next((pid for pid in pids if "--all" not in processes.words_of(pid)), 0)

    def envoy_pids(self) -> list[int]:
        """Give the pids of Envoy, the oldest first; two during a hot restart."""
        return processes.inside(self.host.holder.pid, ["--restart-epoch"])

    def kill(self, pid: int) -> None:
        """SIGKILL one of its processes."""
        if pid:
            processes.send(pid, signal.SIGKILL)

    def admin(self, path: str) -> str:
        """Ask Envoy's admin. Raises NoAnswer."""
        socket_path = self.host.path(LAYOUT.admin_socket)
        status, body = inside.ask_unix(str(socket_path), path)
        if status != 200:
            raise inside.NoAnswer(f"cannot read Envoy's {path}: HTTP {status}")
        return body.decode(errors="replace")

    def stats(self, pattern: str) -> dict[str, int]:
        """Give Envoy's counters and gauges whose names match `pattern`. Raises NoAnswer."""
        text = self.admin(f"/stats?format=json&filter={pattern}")
        stats: Sequence[Mapping[str, object]] = json.loads(text)["stats"]
        return {str(s["name"]): int(str(s["value"])) for s in stats if "value" in s}

    def upstreams(self, service: str, port: int) -> dict[str, str]:
        """Give Envoy's hosts of a cluster with their health flags. Raises NoAnswer."""
        prefix = f"outbound|{port}||{service}::"
        flags: dict[str, str] = {}
        for line in self.admin("/clusters").splitlines():
            address, _, rest = line.removeprefix(prefix).partition("::")
            if line.startswith(prefix) and rest.startswith("health_flags::"):
                flags[address] = rest.removeprefix("health_flags::")
        return flags
