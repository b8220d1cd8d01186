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
