"""An agent instance's paths below a folder of the test's own, and the folders themselves."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostmesh_core.host_layout import HostLayout


@dataclass(frozen=True, slots=True)
class RootedLayout(HostLayout):
    """Everything below `root`, which is short: a unix socket's path has 107 bytes at most."""

    root: str = ""

    @property
    def run_dir(self) -> str:
        return f"{self.root}/run"

    @property
    def log_file(self) -> str:
        return f"{self.root}/log/agent.log"

    @property
    def state_dir(self) -> str:
        return f"{self.root}/state"


@contextmanager
def rooted_layout() -> Iterator[RootedLayout]:
    """Make the folders, and take them away."""
    root = tempfile.mkdtemp(prefix="hm-")
    layout = RootedLayout(root=root)
    for folder in (
        layout.envoy_dir,
        layout.admin_dir,
        layout.hot_restart_dir,
        layout.capture_dir,
        layout.state_dir,
    ):
        Path(folder).mkdir(parents=True)
    try:
        yield layout
    finally:
        shutil.rmtree(root)


def free_ports(count: int) -> list[int]:
    """Give ports that nobody has right now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
