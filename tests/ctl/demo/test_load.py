import asyncio
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hostmesh_ctl.demo import apps
from hostmesh_ctl.demo.http_client import Answer
from hostmesh_ctl.demo.load import Load, Plan, Target, complaint, plan

GET = Plan(number=3, method="GET", family=4, kept=True)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
GOOD = {"number": "3", "method": "GET", "body_sha256": EMPTY}


@contextmanager
def _app() -> Iterator[apps.HttpServer]:
    server = apps.http_app("a", "::", 0, "")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _load(target: Target, *, rate: float, seconds: float) -> list[dict[str, object]]:
    out = io.StringIO()
    asyncio.run(Load(target, out).run(rate, seconds, asyncio.Event()))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_half_is_kept_half_is_fresh_and_every_mix_of_family_comes() -> None:
    plans = [plan(number, (4, 6)) for number in range(40)]
    mixes = Counter((each.kept, each.family) for each in plans)
    assert mixes == {(kept, family): 10 for kept in (True, False) for family in (4, 6)}
    assert sum(each.method == "POST" for each in plans) == 4


def test_every_request_is_answered_recorded_and_counted() -> None:
    with _app() as server:
        target = Target(host="localhost", port=server.server_address[1], families=(4,))
        records = _load(target, rate=200, seconds=0.3)
    assert len(records) == 60
    assert {record["error"] for record in records} == {""}
    assert {record["server"] for record in records} == {"a"}
    fresh = [record["connection"] for record in records if not record["kept"]]
    kept = {record["connection"] for record in records if record["kept"]}
    assert len(set(fresh)) == 30
    assert len(kept) < 10  # few connections serve the thirty others


def test_a_refused_connection_is_a_record_and_no_retry() -> None:
    with _app() as server:
        port = server.server_address[1]
    records = _load(Target(host="localhost", port=port, families=(4,)), rate=50, seconds=0.1)
    assert len(records) == 5
    assert all(str(record["error"]).startswith("ConnectionRefused") for record in records)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(Answer(200, {}, json.dumps(GOOD).encode()), "", id="the app's own answer"),
        pytest.param(Answer(503, {}, b"no healthy upstream"), "status 503: no healthy", id="503"),
        pytest.param(Answer(200, {}, b"<html>"), "not the app's", id="somebody else answered"),
        pytest.param(Answer(200, {}, b"[]"), "not the app's", id="another shape"),
        pytest.param(
            Answer(200, {}, json.dumps({**GOOD, "number": "4"}).encode()),
            "answers another request",
            id="answers were mixed up",
        ),
    ],
)
def test_an_answer_is_checked_to_the_end(answer: Answer, expected: str) -> None:
    said = complaint(GET, answer)
    assert (expected in said) if expected else not said


def test_what_was_posted_has_to_have_arrived() -> None:
    posted = replace(GET, method="POST")
    lost = Answer(200, {}, json.dumps({**GOOD, "method": "POST"}).encode())
    assert "answers another request" in complaint(posted, lost)
