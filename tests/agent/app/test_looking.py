"""What a look takes for ours; what it finds is in tests/agent/logic and tests/lab."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hostmesh_agent.app import looking
from hostmesh_agent.edges.users import User
from hostmesh_agent.logic import config_file
from hostmesh_agent.logic.findings import Code
from hostmesh_testing.rooted_layout import RootedLayout

LISTENS = """
import socket, time
server = socket.create_server(("127.0.0.1", {port}))
print("up", flush=True)
time.sleep(60)
"""


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize(("uid", "taken"), [(64012, True), (0, False)])
def test_our_port_is_not_ours_by_a_command_line(tmp_path: Path, uid: int, *, taken: bool) -> None:
    """A stranger on Envoy's port would get what the rules lead there."""
    layout = RootedLayout(instance=f"t{os.getpid()}", root=str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = config_file.parse(
        f"control_planes: [cp1]\ninstance: {layout.instance}\nservices: []\n"
        f"ports: {{inbound: {port}, outbound: 1, status: 2, readiness: 3, prometheus: 4}}\n"
        "capture: {enabled: true}\n",
        file="agent.yaml",
    )
    words = ["hostmesh_agent.main", "envoy", "--instance", layout.instance]
    argv = [sys.executable, "-c", LISTENS.format(port=port), *words]
    with subprocess.Popen(
        argv, user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE
    ) as app:
        try:
            assert app.stdout is not None
            assert app.stdout.readline() == b"up\n"
            found = looking.look(config, User(64010, 64010), layout)
        finally:
            app.kill()
    assert (Code.PORT_TAKEN in {each.code for each in found}) is taken
