import os
import subprocess
import sys

import pytest

from hostmesh_agent.edges import own_processes
from hostmesh_agent.edges.own_processes import Kind

MODULE = ["/usr/bin/python3", "-m", "hostmesh_agent.main"]
SCRIPT = ["/opt/hm/bin/python", "/opt/hm/bin/hostmesh-agent"]


@pytest.mark.parametrize(
    ("command", "instance", "kind"),
    [
        pytest.param([*MODULE, "run", "--all"], "default", Kind.PARENT, id="the parent"),
        pytest.param([*SCRIPT, "run", "--all"], "default", Kind.PARENT, id="by its script"),
        pytest.param([*MODULE, "run"], "default", Kind.AGENT, id="the agent"),
        pytest.param(
            [*MODULE, "run", "--instance", "gw"], "default", None, id="another instance's"
        ),
        pytest.param([*MODULE, "run", "--instance=gw"], "gw", Kind.AGENT, id="a named instance's"),
        pytest.param([*MODULE, "redirect", "watch"], "default", Kind.REDIRECTOR, id="redirector"),
        pytest.param([*MODULE, "envoy"], "default", Kind.RUNNER, id="the runner"),
        pytest.param([*MODULE, "envoy", "compile"], "default", Kind.ONE_SHOT, id="a compile"),
        pytest.param([*SCRIPT, "join", "--token-file", "-"], "default", None, id="a join"),
        pytest.param([*SCRIPT, "leave"], "default", None, id="a leave"),
        pytest.param(
            ["/x/envoy", "--config-path", "/run/hostmesh/default/envoy/b.json"],
            "default",
            Kind.ENVOY,
            id="Envoy",
        ),
        pytest.param(["/x/envoy", "-c", "/etc/envoy.yaml"], "default", None, id="their own Envoy"),
        pytest.param(["vim", "hostmesh-agent.md"], "default", None, id="an editor"),
        pytest.param([], "default", None, id="a kernel thread"),
    ],
)
def test_what_a_command_line_is(command: list[str], instance: str, kind: Kind | None) -> None:
    assert own_processes.kind_of(command, instance) is kind


@pytest.mark.process
def test_a_process_is_found_and_ended() -> None:
    instance = f"t{os.getpid()}"
    words = ["import time; time.sleep(60)", "hostmesh_agent.main", "run", "--instance", instance]
    child = subprocess.Popen([sys.executable, "-c", *words])
    try:
        (found,) = own_processes.of_instance(instance)
        assert (found.kind, found.pid) == (Kind.AGENT, child.pid)
        own_processes.end([found], seconds=5.0)
        assert not found.alive
        assert own_processes.of_instance(instance) == []
    finally:
        child.kill()
        child.wait()
