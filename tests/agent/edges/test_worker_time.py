import subprocess
import sys
from collections.abc import Iterator

import pytest

from hostmesh_agent.edges.worker_time import WorkerTime
from hostmesh_core.envoy_silence import WORKER_THREAD

pytestmark = pytest.mark.process
_TURNS = """
import sys
open("/proc/self/comm", "w").write(sys.argv[1])
print("turns", flush=True)
while sys.argv[2] == "busy" or sys.stdin.read():
    pass
"""


@pytest.fixture
def reading(request: pytest.FixtureRequest) -> Iterator[WorkerTime]:
    """A process whose only thread is called so, and turns in a circle or waits."""
    command = [sys.executable, "-c", _TURNS, *request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"turns\n"
        try:
            yield WorkerTime(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize("reading", [(f"{WORKER_THREAD}0", "busy")], indirect=True)
def test_a_busy_worker_is_seen(reading: WorkerTime) -> None:
    before = after = reading.seconds()
    assert before is not None
    while after is not None and after < before + 0.05:
        after = reading.seconds()
    assert after is not None


@pytest.mark.parametrize("reading", [(f"{WORKER_THREAD}0", "waits")], indirect=True)
def test_one_that_waits_for_something_wants_no_processor(reading: WorkerTime) -> None:
    before = reading.seconds()
    subprocess.run(["sleep", "0.3"], check=True)
    after = reading.seconds()
    assert before is not None
    assert after is not None
    assert after - before < 0.1


@pytest.mark.parametrize("reading", [("main", "busy")], indirect=True)
def test_other_threads_do_not_count(reading: WorkerTime) -> None:
    assert reading.seconds() is None


def test_who_has_ended_says_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert WorkerTime(process.pid).seconds() is None
