import re

import pytest

from hostmesh_agent.config import PortsConfig
from hostmesh_agent.logic.drain import PATTERN, QUIET_SECONDS, Quiet, Traffic, traffic

OWN = {
    "listener.admin.downstream_cx_active": 1,
    "listener.admin.main_thread.downstream_cx_active": 1,
    "listener.[__]_15021.downstream_cx_active": 4,
    "listener.127.0.0.1_15090.downstream_cx_active": 2,
    "http.admin.downstream_cx_active": 1,
    "http.admin.downstream_rq_active": 1,
    "http.readiness.downstream_cx_active": 4,
    "http.readiness.downstream_rq_total": 900,
    "http.prometheus.downstream_cx_active": 2,
}


def _stats(*, listener: int, cx: int = 0, active: int = 0, total: int = 0) -> dict[str, int]:
    return OWN | {
        "listener.[__]_15006.downstream_cx_active": listener,
        "listener.[__]_15006.worker_0.downstream_cx_active": listener,
        "http.inbound_9080.downstream_cx_active": cx,
        "http.inbound_9080.downstream_rq_active": active,
        "http.inbound_9080.downstream_rq_total": total,
    }


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        pytest.param(_stats(listener=0, total=7), Traffic(begun=7), id="nothing but Envoy's own"),
        pytest.param(_stats(listener=3), Traffic(tcp=3), id="TCP"),
        pytest.param(
            _stats(listener=5, cx=4, active=1, total=9),
            Traffic(tcp=1, idle=3, requests=1, begun=9),
            id="TCP, idle HTTP and a request",
        ),
        pytest.param(
            _stats(listener=1, cx=2, active=3), Traffic(requests=3), id="numbers of two moments"
        ),
        pytest.param(
            _stats(listener=2, cx=1) | {"http.0.0.0.0_9080.downstream_cx_active": 1},
            Traffic(idle=2),
            id="inbound and outbound",
        ),
    ],
)
def test_the_mesh_s_traffic_is_told_apart(stats: dict[str, int], expected: Traffic) -> None:
    assert traffic(stats, PortsConfig()) == expected


def test_every_number_that_is_read_is_asked_for() -> None:
    names = _stats(listener=1)
    assert [name for name in names if not re.search(PATTERN, name)] == []


IDLE, BUSY = Traffic(idle=2, begun=5), Traffic(requests=1, begun=5)


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        pytest.param([(0.0, Traffic(begun=5))], True, id="no connection: at once"),
        pytest.param([(0.0, IDLE), (1.9, IDLE)], False, id="idle, not long enough"),
        pytest.param([(0.0, IDLE), (2.0, IDLE)], True, id="idle for long enough"),
        pytest.param([(0.0, IDLE), (1.5, BUSY), (3.0, IDLE)], False, id="a request came"),
        pytest.param([(0.0, IDLE), (1.5, BUSY), (3.0, IDLE), (3.5, IDLE)], True, id="and went"),
        pytest.param(
            [(0.0, IDLE), (1.5, Traffic(idle=2, begun=6)), (2.5, Traffic(idle=2, begun=6))],
            False,
            id="one came and went between two looks",
        ),
        pytest.param([(0.0, BUSY), (30.0, BUSY)], False, id="a long poll is waited for"),
        pytest.param(
            [(0.0, Traffic(tcp=1)), (30.0, Traffic(tcp=1))], False, id="a TCP connection too"
        ),
    ],
)
def test_it_ends_when_nothing_is_in_use(looks: list[tuple[float, Traffic]], *, over: bool) -> None:
    quiet = Quiet(0.0)
    for now, seen in looks:
        quiet = quiet.after(seen, now)
    now, seen = looks[-1]
    assert QUIET_SECONDS == 2.0
    assert quiet.over(seen, now) is over
