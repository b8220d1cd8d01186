import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from hostmesh_ctl import commands_hosts
from hostmesh_ctl.cli import main

ANSWERS: dict[str, tuple[int, object]] = {
    "/v1/endpoints/reviews": (
        200,
        [
            {
                "endpoint": "10.77.0.3:9080",
                "port": 9080,
                "health": "healthy",
                "source": "static+registered",
                "meshed_text": "yes",
                "identity": "default/reviews",
                "weight": 1,
                "why": "",
            }
        ],
    ),
    "/v1/services": (200, []),
    "/v1/proxy-status": (
        200,
        [
            {
                "host": "a" * 32,
                "name": "web-1",
                "type": "LDS",
                "detail": "bad listener\nweb-2 CDS: fine\x1b[8m",
            }
        ],
    ),
    "/v1/services/forged": (404, {"error": "cannot find forged\nhostmesh: \x1b[8mdone"}),
    "/v1/mtls": (
        200,
        [
            {
                "service": "web",
                "state": "mixed",
                "meshed": 1,
                "endpoints": 2,
                "inbound": "permissive",
                "plaintext_callers": 0,
                "counted_since": 0.0,
                "next": "hostmesh service strict web",
            }
        ],
    ),
    "/v1/services/web/strict": (
        409,
        {
            "error": "cannot make web strict: 1 caller came",
            "callers": [{"address": "10.1.0.9", "requests": 14, "ago": "3 s"}],
            "refused": "cannot make web strict: 1 caller came",
        },
    ),
    "/v1/services/web/permissive": (200, {"done": "web is now permissive", "after": "permissive"}),
    "/v1/services/web/require-mesh": (409, {"error": "cannot require the mesh of web: 2 healthy"}),
    "/v1/tokens": (
        200,
        {"token": "hm1.id.secret.pin", "id": "id", "covers": "default/web", "uses": 1},
    ),
}


class _Fake(BaseHTTPRequestHandler):
    more = 0
    """Bytes that are promised and never come."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = ANSWERS.get(self.path, (404, {"error": "cannot find " + self.path}))
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload) + self.more))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _answer  # noqa: N815 (the base class names them)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def _api(path: Path) -> Iterator[None]:
    server = ThreadingUnixStreamServer(str(path), _Fake)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        path.unlink()


def _run(tmp_path: Path, *argv: str) -> Result:
    with _api(tmp_path / "api.sock"):
        return CliRunner().invoke(main, ["--api", str(tmp_path / "api.sock"), *argv])


def test_a_table_for_people(tmp_path: Path) -> None:
    result = _run(tmp_path, "endpoints", "reviews")
    assert result.exit_code == 0
    head, row = result.stdout.splitlines()
    named = ["ENDPOINT", "PORT", "HEALTH", "SOURCE", "ORIGIN", "SINCE", "MESHED"]
    assert head.split()[:7] == named
    shown = ["10.77.0.3:9080", "9080", "healthy", "static+registered", "-", "-", "yes"]
    assert row.split()[:7] == shown


def test_an_answer_that_breaks_off_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Fake, "more", 5)
    result = _run(tmp_path, "services")
    assert result.exit_code == 1
    assert result.stderr.startswith("hostmesh: cannot talk to the control plane at ")


def test_what_hosts_and_catalogs_say_begins_no_line_of_its_own(tmp_path: Path) -> None:
    shown = _run(tmp_path, "proxy-status").stdout.splitlines()
    assert shown[-1] == "web-1 LDS: bad listener?web-2 CDS: fine?[8m"
    refused = _run(tmp_path, "service", "show", "forged").stderr
    assert refused == "hostmesh: cannot find forged?hostmesh: ?[8mdone\n"
    exact = _run(tmp_path, "proxy-status", "--output", "json").stdout
    assert json.loads(exact) == ANSWERS["/v1/proxy-status"][1], "machines get what was said"


@pytest.mark.parametrize("where", ["before", "after"])
def test_json_for_machines_wherever_the_option_stands(tmp_path: Path, where: str) -> None:
    option, command = ["--output", "json"], ["endpoints", "reviews"]
    argv = [*option, *command] if where == "before" else [*command, *option]
    assert json.loads(_run(tmp_path, *argv).stdout) == ANSWERS["/v1/endpoints/reviews"][1]


def test_nothing_there_names_the_next_command(tmp_path: Path) -> None:
    assert "hostmesh sources" in _run(tmp_path, "services").stdout


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        pytest.param(["service", "require-mesh", "web"], 1, "2 healthy", id="refused is 1"),
        pytest.param(["endpoints", "nothing"], 2, "cannot find", id="an unknown name is 2"),
        pytest.param(["host", "grant", "h"], 2, "--help", id="a grant without a change is 2"),
        pytest.param(["token", "create", "--ttl", "1y"], 2, "as in 1h", id="a bad duration is 2"),
        pytest.param(["no-such-verb"], 2, "No such command", id="an unknown verb is 2"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, argv: list[str], status: int, said: str) -> None:
    result = _run(tmp_path, *argv)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_token_goes_to_stdout_and_its_story_to_stderr(tmp_path: Path) -> None:
    result = _run(tmp_path, "token", "create", "--service", "web")
    assert result.stdout == "hm1.id.secret.pin\n"
    assert "secret" not in result.stderr


@pytest.mark.parametrize("where", ["stdout", "file"])
def test_a_token_for_machines_has_its_secret_or_the_file_that_holds_it(
    tmp_path: Path, where: str
) -> None:
    target = tmp_path / "web.token"
    out = ["--out", str(target)] if where == "file" else []
    result = _run(tmp_path, "token", "create", "--service", "web", *out, "--output", "json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["id"], answer["covers"], answer["uses"]) == ("id", "default/web", 1)
    if where == "file":
        assert answer["file"] == str(target)
        assert target.read_text() == "hm1.id.secret.pin\n"
        assert "secret" not in result.output
    else:
        assert answer["token"] == "hm1.id.secret.pin"
        assert "secret" not in result.stderr


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "web.token"
    target.write_text("an older one, readable by all")
    target.chmod(0o644)
    result = _run(tmp_path, "token", "create", "--service", "web", "--out", str(target))
    assert result.exit_code == 0
    assert target.read_text() == "hm1.id.secret.pin\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", 90.0, id="seconds"),
        pytest.param("1.5h", 5400.0, id="a fraction"),
        pytest.param("2d", 172800.0, id="days"),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert commands_hosts.seconds(text) == expected


def test_who_calls_is_shown_before_the_refusal(tmp_path: Path) -> None:
    result = _run(tmp_path, "service", "strict", "web")
    assert result.exit_code == 1
    assert "10.1.0.9" in result.stdout
    assert result.stderr == "hostmesh: cannot make web strict: 1 caller came\n"


@pytest.mark.parametrize(
    ("verb", "status", "outcome"), [("strict", 1, "refused"), ("permissive", 0, "permissive")]
)
def test_all_is_a_row_for_each_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, status: int, outcome: str
) -> None:
    listed = [{"host": "web", "state": "mixed"}, {"host": "old", "state": "plain"}]
    monkeypatch.setitem(ANSWERS, "/v1/services", (200, listed))
    result = _run(tmp_path, "service", verb, "--all")
    assert result.exit_code == status
    rows = [line.split()[:2] for line in result.stdout.splitlines()[1:]]
    assert rows == [["web", outcome], ["old", "left"]]


@pytest.mark.parametrize("status", [503, 500])
def test_all_says_how_far_it_came_when_the_control_plane_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    names = ("first", "web", "sick", "next", "old")
    listed = [{"host": name, "state": "plain" if name == "old" else "mixed"} for name in names]
    monkeypatch.setitem(ANSWERS, "/v1/services", (200, listed))
    monkeypatch.setitem(ANSWERS, "/v1/services/first/strict", (200, {"after": "strict"}))
    monkeypatch.setitem(
        ANSWERS, "/v1/services/sick/strict", (status, {"error": "cannot store it: disk full"})
    )
    result = _run(tmp_path, "service", "strict", "--all", "--output", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [(row["service"], row["outcome"]) for row in rows] == [
        ("first", "strict"),
        ("web", "refused"),
        ("sick", "failed"),
        ("next", "not tried"),
        ("old", "left"),
    ]
    assert rows[2]["why"] == "cannot store it: disk full"
    assert "hostmesh service strict --all" in rows[3]["why"]


@pytest.mark.parametrize("argv", [["strict"], ["permissive", "web", "--all"]])
def test_a_mode_is_for_one_service_or_for_all(tmp_path: Path, argv: list[str]) -> None:
    result = _run(tmp_path, "service", *argv)
    assert result.exit_code == 2
    assert "name one, or say --all" in result.stderr


def test_the_report_promises_nothing_where_nobody_counts(tmp_path: Path) -> None:
    head, row = _run(tmp_path, "mtls", "report").stdout.splitlines()
    assert "PLAINTEXT CALLERS IN 24 H" in head
    assert row.split()[:7] == ["web", "mixed", "1", "of", "2", "permissive", "-"]
