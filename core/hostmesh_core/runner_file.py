"""runner.json: what the Envoy runner may do, written by root. Pure: text in, text out.

The runner reads it (standard library only) and the one-shot `hostmesh-agent envoy compile` writes
it, so the schema lies between the two. Orders that come over the socket never widen it.
"""

import json
from dataclasses import asdict, dataclass, fields

from hostmesh_core.errors import BadInput

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """All that the runner goes by."""

    binary: str
    """Absolute path of Envoy."""
    socket: str
    """Where the runner takes orders."""
    bootstrap_dir: str
    """Orders name a file in this folder, nothing else."""
    state_dir: str
    """The runner's own folder: its lock, the base-id, Envoy's hot-restart sockets."""
    client_uids: tuple[int, ...]
    """Who may give orders, beside root: the agent's user."""
    drain_seconds: int = 45
    """Envoy's --drain-time-s."""
    parent_shutdown_seconds: int = 900
    """Envoy's --parent-shutdown-time-s."""
    admin_socket: str = ""
    """Envoy's admin, asked for a drain before the runner ends it; empty = no drain."""
    own_ports: tuple[int, ...] = ()
    """Ports whose connections a drain does not wait for: readiness and Prometheus."""
    held_ports: tuple[int, ...] = ()
    """Ports that no other user may bind while the runner lives: rules lead there."""
    stop_drain_seconds: float = 10.0
    """How long the runner waits for connections when it is told to end."""
    stop_seconds: float = 5.0
    """From TERM to KILL of each Envoy when the runner itself is told to end."""
    max_concurrency: int = 64
    """No order gets more worker threads."""

    @property
    def hot_restart_socket(self) -> str:
        """Envoy's --socket-path: in a folder of the runner's user alone (mode 0700)."""
        return f"{self.state_dir}/s"

    @property
    def base_id_file(self) -> str:
        """Which base-id this instance has: kept, so that its shared memory is found again."""
        return f"{self.state_dir}/base-id"

    @property
    def lock_file(self) -> str:
        """Held by the one runner of this instance."""
        return f"{self.state_dir}/runner.lock"

    def encode(self) -> str:
        """Give the file's text."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def decode(cls, text: str, *, file: str) -> "RunnerSettings":
        """Read the file's text. Raises BadInput for anything that `encode` does not write."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise BadInput(f"cannot use {file}: not JSON: {error}") from error
        if not isinstance(values, dict) or values.pop("version", None) != VERSION:
            raise BadInput(f"cannot use {file}: expected version {VERSION}; {_HINT}")
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise BadInput(f"cannot use {file}: unknown key {unknown[0]!r}; {_HINT}")
        for name, value in values.items():
            if not _fits(name, value):
                raise BadInput(f"cannot use {file}: {name} cannot be {value!r}; {_HINT}")
        try:
            lists = {name: tuple(values[name]) for name in _LISTS if name in values}
            return cls(**values | lists)
        except TypeError as error:
            raise BadInput(f"cannot use {file}: a key is missing; {_HINT}") from error


_HINT = "write it anew with: hostmesh-agent envoy compile"
_PATHS = ("binary", "socket", "bootstrap_dir", "state_dir", "admin_socket")
_LISTS = ("client_uids", "own_ports", "held_ports")
_SECONDS = ("stop_seconds", "stop_drain_seconds")


def _fits(name: str, value: object) -> bool:
    if name in _PATHS:
        optional = name == "admin_socket" and value == ""
        return optional or (isinstance(value, str) and value.startswith("/"))
    if name in _LISTS:
        return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
    if name in _SECONDS:
        return type(value) in (int, float) and isinstance(value, int | float) and value > 0
    return type(value) is int and value > 0
