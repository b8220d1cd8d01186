import os
import subprocess
from pathlib import Path

import pytest

from hostmesh_agent.edges import own_processes
from hostmesh_agent.edges.own_processes import Kind
from hostmesh_testing import own_process
from hostmesh_testing.rooted_layout import RootedLayout

AGENT, ENVOY, STRANGER = 64010, 64011, 64012
MODULE = ["/usr/bin/python3", "-m", "hostmesh_agent.main"]
SCRIPT = ["/opt/hm/bin/python", "/opt/hm/bin/hostmesh-agent"]


@pytest.fixture
def layout(tmp_path: Path) -> RootedLayout:
    return RootedLayout(instance=f"t{os.getpid()}", root=str(tmp_path))


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
        pytest.param(["less", "hostmesh-agent", "run"], "default", None, id="a pager"),
        pytest.param(["sudo", "hostmesh-agent", "run", "--all"], "default", None, id="its sudo"),
        pytest.param([], "default", None, id="a kernel thread"),
    ],
)
def test_what_a_command_line_is(command: list[str], instance: str, kind: Kind | None) -> None:
    assert own_processes.kind_of(command, instance) is kind


@pytest.mark.process
def test_a_process_is_found_and_ended(layout: RootedLayout) -> None:
    child = subprocess.Popen(own_process.words(layout.instance, "run"))
    try:
        (found,) = own_processes.of_instance(layout)
        assert (found.kind, found.pid) == (Kind.AGENT, child.pid)
        own_processes.end([found], seconds=5.0)
        assert not found.alive
        assert own_processes.of_instance(layout) == []
    finally:
        child.kill()
        child.wait()


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize(
    ("words", "uid", "kinds"),
    [
        pytest.param(["run"], STRANGER, [], id="a stranger's agent"),
        pytest.param(["run", "--all"], STRANGER, [], id="a stranger's parent"),
        pytest.param(["run"], AGENT, [Kind.AGENT], id="the agent's own user"),
        pytest.param(["run", "--all"], AGENT, [], id="the agent's user is no parent"),
        pytest.param(["redirect", "show"], AGENT, [], id="and no one-shot that is waited for"),
        pytest.param(["envoy"], ENVOY, [Kind.RUNNER], id="Envoy's own user"),
        pytest.param(["run"], ENVOY, [], id="Envoy's user is no agent"),
    ],
)
def test_our_command_line_does_not_make_a_process_ours(
    layout: RootedLayout, words: list[str], uid: int, kinds: list[Kind]
) -> None:
    for folder, owner in ((layout.identity_dir, AGENT), (layout.hot_restart_dir, ENVOY)):
        Path(folder).mkdir(parents=True)
        os.chown(folder, owner, owner)
    child = subprocess.Popen(
        own_process.words(layout.instance, *words), user=uid, group=uid, extra_groups=[]
    )
    try:
        assert [each.kind for each in own_processes.of_instance(layout)] == kinds
    finally:
        child.kill()
        child.wait()
