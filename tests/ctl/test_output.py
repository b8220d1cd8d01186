import click
import pytest

from hostmesh_ctl import output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web\nschön", "web\nschön"),
        ("a\x1b[2Jb\x1b]0;title\x07c", "a?[2Jb?]0;title?c"),
        ("a\r\x00\x7f\x9bb\tc", "a????b?c"),
        (click.style("healthy", fg="green"), "\x1b[32mhealthy\x1b[0m"),
    ],
)
def test_what_hosts_say_does_not_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(click, "echo", said.append)
    output.show({}, "table", table=lambda: text)
    assert said == [shown]


FORGED = "x=1\ndb.default: all meshed\x1b[8m\u202e"
SHOWN = "x=1?db.default: all meshed?[8m?"


def test_a_cell_is_one_cell_whatever_it_holds() -> None:
    rows: list[output.Row] = [
        {"why": FORGED, "state": "healthy"},
        {"why": [FORGED, "b"], "state": "healthy\x1b[0m"},
    ]
    head, *body = output.render(rows, output.columns("why", "state"), empty="").splitlines()
    assert head.split() == ["WHY", "STATE"]
    assert [line.split("  ")[0] for line in body] == [SHOWN, f"{SHOWN}, b"]
    assert click.style("healthy", fg="green") in body[0], "our own colours stay"
    assert "healthy?[0m" in body[1]


def test_a_remark_is_one_line() -> None:
    assert output.line("web", FORGED) == f"web: {SHOWN}"


def test_a_write_answers_in_lines_of_the_control_plane() -> None:
    assert output.done({"done": "host web may more\nit \x1b[8mregistered"}) == (
        "host web may more\nit ?[8mregistered"
    )
    assert output.done({}) == "done"
