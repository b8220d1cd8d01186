import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from hostmesh_agent.edges.envoy_admin import AdminRefused, AdminUnreachable, EnvoyAdmin

Scenario = Callable[[EnvoyAdmin], Awaitable[object]]


class FakeAdmin:
    """Answers what it was told to, by method and path, and keeps what was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, bytes]], *, silent: bool = False) -> None:
        self.answers = answers
        self.silent = silent
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        self.asked.append(f"{method} {path}")
        if self.silent:
            await reader.read()
        else:
            status, body = self.answers.get(f"{method} {path}", (404, b"unknown"))
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
        writer.close()


def run(fake: FakeAdmin, folder: Path, scenario: Scenario) -> object:
    path = str(folder / "admin.sock")

    async def main() -> object:
        async with await asyncio.start_unix_server(fake.serve, path):
            try:
                return await scenario(EnvoyAdmin(path, timeout_seconds=0.3))
            finally:
                await asyncio.sleep(0.01)  # the fake sees its connection end

    return asyncio.run(main())


def test_gives_stats_by_name_zeros_too(tmp_path: Path) -> None:
    stats = {"stats": [{"name": "a", "value": 0}, {"name": "b", "value": 5}, {"histograms": {}}]}
    fake = FakeAdmin({"GET /stats?format=json&filter=%5Ea": (200, json.dumps(stats).encode())})
    assert run(fake, tmp_path, lambda admin: admin.stats("^a")) == {"a": 0, "b": 5}


@pytest.mark.parametrize(
    ("asked", "scenario"),
    [
        pytest.param("GET /ready", lambda admin: admin.is_ready(), id="readiness"),
        pytest.param("GET /server_info", lambda admin: admin.server_info(), id="server info"),
        pytest.param(
            "GET /stats?format=json&usedonly",
            lambda admin: admin.stats(used_only=True),
            id="used stats",
        ),
        pytest.param("GET /stats/prometheus", lambda admin: admin.prometheus(), id="Prometheus"),
        pytest.param("GET /clusters?format=json", lambda admin: admin.clusters(), id="clusters"),
        pytest.param("GET /listeners?format=json", lambda admin: admin.listeners(), id="listeners"),
        pytest.param("GET /certs", lambda admin: admin.certs(), id="certificates"),
        pytest.param(
            "GET /config_dump?resource=a&include_eds",
            lambda admin: admin.config_dump(resource="a", with_endpoints=True),
            id="a dump",
        ),
        pytest.param("GET /config_dump", lambda admin: admin.config_dump(), id="a whole dump"),
        pytest.param(
            "POST /healthcheck/fail", lambda admin: admin.fail_health_check(), id="not ready"
        ),
        pytest.param(
            "POST /drain_listeners?graceful&skip_exit",
            lambda admin: admin.drain_listeners(),
            id="a graceful drain that does not end Envoy",
        ),
        pytest.param(
            "POST /drain_listeners?graceful&skip_exit&inboundonly",
            lambda admin: admin.drain_listeners(inbound_only=True),
            id="a drain of what comes in",
        ),
        pytest.param(
            "POST /logging?level=debug", lambda admin: admin.set_log_level("debug"), id="the level"
        ),
    ],
)
def test_asks_for(tmp_path: Path, asked: str, scenario: Scenario) -> None:
    fake = FakeAdmin({asked: (200, b"{}")})
    run(fake, tmp_path, scenario)
    assert fake.asked == [asked]


def test_ready_is_the_status_code(tmp_path: Path) -> None:
    fake = FakeAdmin({"GET /ready": (503, b"INITIALIZING")})
    assert run(fake, tmp_path, lambda admin: admin.is_ready()) is False


@pytest.mark.parametrize(
    ("fake", "error", "words"),
    [
        pytest.param(
            FakeAdmin({"GET /certs": (500, b"broken\n")}),
            AdminRefused,
            r"cannot get /certs from Envoy's admin: 500 broken",
            id="an error status",
        ),
        pytest.param(
            FakeAdmin({"GET /certs": (200, b"no json")}),
            AdminUnreachable,
            "cannot read Envoy's answer to /certs",
            id="no JSON",
        ),
        pytest.param(
            FakeAdmin({"GET /certs": (200, b"[]")}),
            AdminUnreachable,
            "not an object",
            id="no object",
        ),
        pytest.param(
            FakeAdmin({}, silent=True),
            AdminUnreachable,
            "no answer in 0.3 s",
            id="an Envoy that hangs",
        ),
    ],
)
def test_raises_its_own_errors(
    tmp_path: Path, fake: FakeAdmin, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(fake, tmp_path, lambda admin: admin.certs())


def test_no_envoy_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AdminUnreachable, match=r"^cannot reach Envoy's admin"):
        asyncio.run(EnvoyAdmin(str(tmp_path / "none.sock")).server_info())


def test_counters_are_asked_for_as_cheaply_as_can_be(tmp_path: Path) -> None:
    asked = "GET /stats?format=json&type=Counters&usedonly&filter=%5Ea"
    stats = {"stats": [{"name": "a.b", "value": 3}]}
    fake = FakeAdmin({asked: (200, json.dumps(stats).encode())})
    assert run(fake, tmp_path, lambda admin: admin.counters("^a")) == {"a.b": 3}


@pytest.mark.parametrize(
    ("options", "epoch"),
    [({"restart_epoch": 2}, 2), ({}, 0), (None, None), ({"restart_epoch": "x"}, None)],
)
def test_the_epoch_is_that_of_who_answers(
    tmp_path: Path, options: object, epoch: int | None
) -> None:
    said = json.dumps({"command_line_options": options}).encode()
    fake = FakeAdmin({"GET /server_info": (200, said)})
    assert run(fake, tmp_path, lambda admin: admin.epoch()) == epoch
