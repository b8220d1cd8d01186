import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.runner import orders
from hostmesh_agent.runner.orders import Acknowledge, Follow, Kill, Order, Start, Status
from hostmesh_core.runner_file import RunnerSettings

SETTINGS = RunnerSettings(
    binary="/usr/lib/hostmesh/envoy",
    socket="/r/runner.sock",
    bootstrap_dir="/r/envoy",
    state_dir="/r/hot-restart",
    client_uids=(0,),
    max_concurrency=4,
)


@pytest.mark.parametrize(
    ("message", "order"),
    [
        pytest.param({"do": "status"}, Status(), id="what lives"),
        pytest.param({"do": "follow"}, Follow(), id="what lives and happens"),
        pytest.param(
            {"do": "start", "epoch": 1, "config": "b-1.json", "concurrency": 2, "level": "info"},
            Start(epoch=1, config="b-1.json", concurrency=2, level="info"),
            id="a start",
        ),
        pytest.param(
            {"do": "start", "epoch": 0, "config": "b"},
            Start(epoch=0, config="b", concurrency=1, level="warning"),
            id="a start with defaults",
        ),
        pytest.param(
            {"do": "signal", "epoch": 3, "signal": "TERM"}, Kill(3, "TERM"), id="a signal"
        ),
        pytest.param({"do": "acknowledge", "pid": 7}, Acknowledge(7), id="an acknowledgement"),
        pytest.param({"do": "status", "new": 5}, Status(), id="a field of a later agent"),
    ],
)
def test_reads(message: dict[str, object], order: Order) -> None:
    assert orders.parse(json.dumps({"v": 1, **message}).encode()) == order


START = {"do": "start", "epoch": 0, "config": "b.json"}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"do": "exec", "argv": ["sh"]}, id="a verb that is not there"),
        pytest.param({"do": "status", "v": 2}, id="another version"),
        pytest.param({**START, "config": "../../etc/passwd"}, id="a path"),
        pytest.param({**START, "config": "/etc/passwd"}, id="an absolute path"),
        pytest.param({**START, "config": ".."}, id="the folder above"),
        pytest.param({**START, "config": "-c"}, id="an option"),
        pytest.param({**START, "config": "a\nb"}, id="a line break"),
        pytest.param({**START, "config": "a" * 65}, id="a long name"),
        pytest.param({**START, "config": 5}, id="a number for the name"),
        pytest.param({**START, "epoch": "0"}, id="a text for the epoch"),
        pytest.param({**START, "epoch": -1}, id="a negative epoch"),
        pytest.param({**START, "epoch": True}, id="true for the epoch"),
        pytest.param({**START, "concurrency": 2**40}, id="very many workers"),
        pytest.param({**START, "level": "info --x"}, id="an option in the level"),
        pytest.param({"do": "signal", "epoch": 0, "signal": "STOP"}, id="another signal"),
        pytest.param({"do": "signal", "signal": "TERM"}, id="a signal for nobody"),
        pytest.param({"do": "acknowledge", "pid": "7"}, id="a text for the pid"),
    ],
)
def test_refuses(message: dict[str, object]) -> None:
    with pytest.raises(orders.NotUnderstood, match=r"^cannot "):
        orders.parse(json.dumps({"v": 1, **message}).encode())


@given(st.binary(max_size=200))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        read = orders.parse(line)
    except orders.NotUnderstood:
        read = Status()
    assert isinstance(read, Order)


def test_the_command_line_comes_from_the_settings() -> None:
    order = Start(epoch=1, config="bootstrap-1.json", concurrency=9, level="debug")
    words = " ".join(orders.command_line(SETTINGS, 3, order))
    assert words == (
        "/usr/lib/hostmesh/envoy --config-path /r/envoy/bootstrap-1.json --restart-epoch 1 "
        "--base-id 3 --socket-path /r/hot-restart/s --socket-mode 600 --drain-time-s 45 "
        "--parent-shutdown-time-s 900 --concurrency 4 --log-level debug"
    )


def test_answers_are_lines() -> None:
    assert orders.line(envoys=[]) == b'{"v":1,"envoys":[]}\n'
