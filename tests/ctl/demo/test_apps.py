import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostmesh_ctl.demo import apps


@contextmanager
def serving(server: apps.HttpServer | apps.TcpServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ask(port: int, method: str, path: str, **headers: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    body = b"hello" if method == "POST" else None
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, answer.getheader("x-answered-by"), read


def test_the_http_app_says_who_it_is_and_what_it_saw(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with serving(apps.http_app("a", "127.0.0.1", 0, str(log))) as port:
        certificate = {"x-forwarded-client-cert": "URI=spiffe://x", "x-request-number": "7"}
        status, answered_by, body = _ask(port, "POST", "/p?delay=0.01", **certificate)
    said = json.loads(body)
    assert (status, answered_by) == (200, "a")
    assert said["server"] == "a"
    assert said["path"] == "/p"
    assert said["number"] == "7"
    assert said["client_certificate"] == "URI=spiffe://x"
    assert said["body_sha256"].startswith("2cf24dba")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(event["event"], event["id"]) for event in events] == [("begin", "7"), ("end", "7")]
    assert events[1]["at"] - events[0]["at"] >= 0.01


def test_health_is_no_request_of_the_journal(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with serving(apps.http_app("a", "127.0.0.1", 0, str(log))) as port:
        assert _ask(port, "GET", "/health")[0] == 200
        assert _ask(port, "GET", "/x?status=503")[0] == 503
    assert "begin" in log.read_text()
    assert len(log.read_text().splitlines()) == 2


def test_one_socket_serves_both_families() -> None:
    with serving(apps.http_app("a", "::", 0, "")) as port:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port), timeout=5) as made:
                made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert made.recv(99).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("greets", [True, False], ids=["speaks first", "waits"])
def test_tcp_apps_echo(*, greets: bool) -> None:
    with (
        serving(apps.tcp_app("a", "127.0.0.1", 0, greets=greets)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as made,
    ):
        if greets:
            assert made.recv(99) == b"220 a speaks first\r\n"
        made.sendall(b"ping")
        assert made.recv(99) == b"ping"
