import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hostmesh_core.errors import Refused
from hostmesh_ctl import service_text
from hostmesh_ctl.api_client import ApiClient
from hostmesh_ctl.cli import main
from hostmesh_ctl.commands_mesh import ENDPOINT_COLUMNS

ROW = {"endpoint": "10.0.0.2:80", "port": 80, "health": "healthy", "source": "dc1", "why": "plain"}
SHOWN = {
    "host": "web.default.mesh.internal",
    "state": "mixed",
    "state_set": {"at": "2027-01-15 08:00:00Z", "by": "root (uid 0): service allow-unmeshed"},
    "unmeshed_cidrs": ["10.1.0.0/16"],
    "inbound": "permissive",
    "inbound_own": False,
    "vip4": "240.240.0.1",
    "port_rows": [{"port": 80, "protocol": "tcp", "note": "taken for tcp by default: nobody"}],
    "catalogs": [{"source": "files", "kind": "static", "won": ["namespace"], "endpoints": 2}],
    "conflicts": ["its namespace is default; dc1 says shop"],
    "key_claims": [{"reason": "10.0.0.1:80 belongs to web, which registered it; api claims it"}],
    "endpoint_rows": [ROW],
    "next": "join the other 1",
}


def test_a_service_is_shown_whole() -> None:
    text = service_text.service(SHOWN, ENDPOINT_COLUMNS)
    for said in (
        "state      mixed since 2027-01-15 08:00:00Z by root (uid 0): service allow-unmeshed, "
        "unmeshed endpoints in 10.1.0.0/16 alone",
        "inbound    permissive (mesh-wide)",
        "taken for tcp by default",
        "conflict   its namespace is default; dc1 says shop",
        "key        10.0.0.1:80 belongs to web",
        "next       join the other 1",
    ):
        assert said in text
    assert "namespace" in text
    assert "10.0.0.2:80" in text


def test_a_service_that_is_where_it_should_be_has_no_next_step() -> None:
    assert "next" not in service_text.service(SHOWN | {"next": ""}, ENDPOINT_COLUMNS)


def test_what_a_catalog_says_of_a_service_begins_no_line() -> None:
    forged = "dc1 says x=1\nstate      mesh\x1b[8m"
    row = ROW | {"why": forged}
    shown = SHOWN | {"conflicts": [forged], "next": forged, "endpoint_rows": [row]}
    text = service_text.service(shown, ENDPOINT_COLUMNS)
    assert text.count("dc1 says x=1?state      mesh?[8m") == 3
    assert [line.split()[1] for line in text.splitlines() if line.startswith("state ")] == ["mixed"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            {"withheld": [ROW], "done": "web is in state mesh"},
            ["withheld from meshed clients:", "web is in state mesh"],
            id="done",
        ),
        pytest.param(
            {"withheld": [ROW], "done": "no", "refused": "no"},
            ["would be withheld from meshed clients:", "10.0.0.2:80"],
            id="refused: what it would have done, its sentence goes to stderr",
        ),
        pytest.param(
            {"admitted": [ROW], "dry_run": True, "done": "dry run, nothing changed: web"},
            ["would be reached in plaintext:", "dry run, nothing changed: web"],
            id="a dry run",
        ),
        pytest.param({"done": "0 released"}, ["0 released", "0 released"], id="nothing to show"),
    ],
)
def test_what_a_command_does_is_shown(answer: dict[str, object], expected: list[str]) -> None:
    lines = service_text.effect(answer).splitlines()
    first, last = expected
    assert lines[0] == first
    assert last in lines[-1]


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_refusal_shows_what_would_be_withheld_and_ends_with_1(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise Refused("cannot require mesh for web", {"withheld": [ROW], "refused": "cannot"})

    monkeypatch.setattr(ApiClient, "post", refuse)
    argv = ["--api", str(tmp_path / "none"), "-o", output, "service", "require-mesh", "web"]
    result = CliRunner().invoke(main, argv)
    assert result.exit_code == 1
    assert result.stderr == "hostmesh: cannot require mesh for web\n"
    if output == "json":
        assert json.loads(result.stdout)["withheld"] == [ROW]
    else:
        assert "10.0.0.2:80" in result.stdout


CALLERS = {
    "callers": [
        {
            "address": "10.1.0.9",
            "caller": "",
            "requests": 14,
            "ago": "3 s",
            "seen_at": "web-1",
        }
    ],
    "counted_for": "3 h",
    "mutual_tls_requests": 5,
    "uncounted": ["10.0.0.2:80 has no agent"],
}


def test_callers_are_shown_with_how_far_that_can_be_relied_on() -> None:
    head, columns, row = service_text.callers(CALLERS).splitlines()
    assert head == (
        "callers    1 without mesh in the last 24 h, 5 requests by mTLS; counted for 3 h, not at "
        "1 endpoint(s)"
    )
    assert columns.split("  ")[0] == "ADDRESS"
    assert row.split() == ["10.1.0.9", "-", "14", "3", "s", "ago", "web-1"]
    assert service_text.callers({"callers": []}).startswith("callers    not counted")


def test_a_change_of_mode_shows_callers_and_warnings_and_what_was_done() -> None:
    answer = CALLERS | {"warnings": ["counted for 3 h only"], "done": "web is now strict"}
    text = service_text.mode_change(answer)
    assert text.splitlines()[-2:] == ["warning    counted for 3 h only", "web is now strict"]
    assert "web is now strict" not in service_text.mode_change(answer | {"refused": "no"})
