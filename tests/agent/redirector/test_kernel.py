import pytest

from hostmesh_agent.redirector.kernel import CannotRun, Tools, loaded_legacy_tables

pytestmark = pytest.mark.process


def test_a_tool_gets_its_input_and_gives_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Tools().run(("cat",), "hello") == "hello"
    assert Tools().run(("sh", "-c", "echo $PATH $LC_ALL")).split()[1:] == ["C"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(("no-such-tool",), "cannot run no-such-tool: it is not installed", id="none"),
        pytest.param(("sh", "-c", "echo no >&2; exit 3"), "status 3: no", id="a failure"),
    ],
)
def test_what_does_not_work_is_said(argv: tuple[str, ...], said: str) -> None:
    with pytest.raises(CannotRun) as raised:
        Tools().run(argv)
    assert said in str(raised.value)


def test_a_tool_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostmesh_agent.redirector.kernel.LIMIT_SECONDS", 0.1)
    with pytest.raises(CannotRun, match="no end in"):
        Tools().run(("sleep", "5"))


def test_whether_a_tool_is_there() -> None:
    assert Tools().has("cat")
    assert not Tools().has("no-such-tool")


def test_without_legacy_iptables_nothing_is_loaded() -> None:
    assert loaded_legacy_tables("/nowhere/ip_tables_names") == frozenset()
