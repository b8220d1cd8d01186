import asyncio
import contextlib

import pytest

from hostmesh_agent.edges import status_http


async def _metrics() -> str:
    return "hostmesh_agent_up 1\n"


def _answers(waiting_for: str) -> status_http.Answers:
    return status_http.Answers(
        ready=lambda: waiting_for, status=lambda: {"state": "ready"}, metrics=_metrics
    )


async def _exchange(request: bytes, waiting_for: str = "") -> str:
    async with status_http.serve("127.0.0.1", 0, _answers(waiting_for)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.decode()


@pytest.mark.parametrize(
    ("line", "waiting_for", "status", "body"),
    [
        pytest.param("GET /healthz/ready HTTP/1.1", "", "200 OK", "ready", id="ready"),
        pytest.param(
            "GET /healthz/ready HTTP/1.1", "no Envoy yet", "503", "no Envoy", id="not ready: why"
        ),
        pytest.param("GET /status HTTP/1.1", "", "200", '{"state": "ready"}', id="status"),
        pytest.param("GET /metrics?x=1 HTTP/1.1", "", "200", "hostmesh_agent_up 1", id="metrics"),
        pytest.param("GET /config_dump HTTP/1.1", "", "404", "cannot", id="nothing else"),
        pytest.param("POST /status HTTP/1.1", "", "405", "only answers GET", id="no writes"),
    ],
)
def test_answers(line: str, waiting_for: str, status: str, body: str) -> None:
    answer = asyncio.run(_exchange(line.encode() + b"\r\n\r\n", waiting_for))
    head, _, text = answer.partition("\r\n\r\n")
    assert status in head.splitlines()[0]
    assert body in text


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\r\n\r\n", id="not HTTP"),
        pytest.param(b"GET /" + b"x" * 20_000 + b"\r\n\r\n", id="a request beyond the limit"),
    ],
)
def test_what_is_no_request_gets_no_answer(request_: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        assert asyncio.run(_exchange(request_)) == ""
