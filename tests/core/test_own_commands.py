import pytest

from hostmesh_core import own_commands


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "undo     hostmesh-agent leave", "undo     hostmesh-agent leave --instance gw", id="row"
        ),
        pytest.param(
            "back with: hostmesh-agent resume web",
            "back with: hostmesh-agent resume --instance gw web",
            id="before an argument",
        ),
        pytest.param(
            "`hostmesh-agent capture compile`; then hostmesh-agent redirect apply.",
            "`hostmesh-agent capture compile --instance gw`; then hostmesh-agent redirect apply "
            "--instance gw.",
            id="programs with verbs, two in one sentence",
        ),
        pytest.param(
            "end `hostmesh-agent run --all` with SIGTERM",
            "end `hostmesh-agent run --all --instance gw` with SIGTERM",
            id="run --all",
        ),
        pytest.param(
            f"{'hostmesh-agent leave':<46}next: x",
            f"{'hostmesh-agent leave --instance gw':<46}next: x",
            id="columns stay",
        ),
        pytest.param(
            "hostmesh-agent status    (again)",
            "hostmesh-agent status --instance gw  (again)",
            id="no room for the column",
        ),
        pytest.param(
            "hostmesh-agent leave --instance gw", "hostmesh-agent leave --instance gw", id="named"
        ),
        pytest.param(
            "hostmesh-agent: cannot join: hostmesh-agents leave, hostmesh-agent run --all: ended",
            "hostmesh-agent: cannot join: hostmesh-agents leave, hostmesh-agent run --all: ended",
            id="no commands: who speaks",
        ),
    ],
)
def test_names_the_instance_in_each_command(text: str, said: str) -> None:
    assert own_commands.of_instance(text, "gw") == said
    assert own_commands.of_instance(text, "default") == text
