import os
import sys

import pytest

from hostmesh_agent import parent
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="users are chosen by root alone")
USERS = ["--agent-user", "64001", "--envoy-user", "64002:64009"]


@ROOT
def test_numbers_will_do_for_users() -> None:
    options = parent.parse(["run", "--all", *USERS])
    assert (options.agent, options.envoy) == (User(64001, 64001), User(64002, 64009))
    assert options.config == "/etc/hostmesh/agent.yaml"


@ROOT
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["--agent-user", "nobody-like-that", "--envoy-user", "64002"],
            "cannot find user nobody-like-that: .* name another with --agent-user",
            id="an agent's user that is not there",
        ),
        pytest.param(
            ["--agent-user", "64001", "--envoy-user", "nobody-like-that"],
            "cannot find user nobody-like-that: .* name another with --envoy-user",
            id="an Envoy's user that is not there",
        ),
        pytest.param(
            ["--agent-user", "0", "--envoy-user", "64002"],
            "cannot run as root throughout",
            id="root for the agent",
        ),
        pytest.param(
            ["--agent-user", "64001", "--envoy-user", "64001"],
            "cannot run agent and Envoy both as uid 64001",
            id="one user for both",
        ),
    ],
)
def test_refuses_users(words: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parent.parse(["run", "--all", *words])


@pytest.mark.parametrize("name", ["../../etc", "Edge", "", "a/b", "a" * 21])
def test_an_instance_is_a_word_and_no_path(name: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot use --instance "):
        parent.parse(["run", "--all", "--instance", name, *USERS])


def options(*words: str) -> parent.Options:
    made = User(64001, 64001), User(64002, 64002)
    layout = HostLayout("edge") if "edge" in words else HostLayout()
    return parent.Options(layout, "/etc/a.yaml", "info", *made)


@ROOT
def test_keeps_three_programs_each_as_its_own_user() -> None:
    redirector, runner, agent = parent.programs(options())
    assert (redirector.user, runner.user, agent.user) == (
        None,
        User(64002, 64002),
        User(64001, 64001),
    )
    assert redirector.argv[3:] == ("redirect", "watch", "--instance", "default")
    assert runner.argv[3:] == ("envoy", "--instance", "default")
    assert runner.socket == "/run/hostmesh/default/admin/runner.sock"
    assert agent.argv[:5] == (sys.executable, "-m", "hostmesh_agent.main", "run", "--instance")
    assert "--all" not in agent.argv


def test_each_instance_has_records_of_its_own() -> None:
    mine = {program.record for program in parent.programs(options())}
    others = {program.record for program in parent.programs(options("edge"))}
    assert not mine & others


def test_an_ordinary_user_runs_everything_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    runner, agent = parent.programs(options())
    assert (runner.name, agent.name) == ("runner", "agent")
    assert runner.user is None
    assert agent.user is None
