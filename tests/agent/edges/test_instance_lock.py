import subprocess
import sys
from pathlib import Path

import pytest

from hostmesh_agent.edges import instance_lock
from hostmesh_core.errors import Refused

pytestmark = pytest.mark.process


def test_a_second_one_waits_and_is_refused_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostmesh_agent.edges.instance_lock.WAIT_SECONDS", 0.2)
    said: list[str] = []
    with (
        instance_lock.held(str(tmp_path), say=said.append),
        pytest.raises(Refused, match="another join or leave of this instance is under way"),
        instance_lock.held(str(tmp_path), say=said.append),
    ):
        raise AssertionError("two hold it")
    assert said == ["waiting for another join or leave of this instance to end"]
    with instance_lock.held(str(tmp_path), say=said.append):
        assert len(said) == 1


HOLDS = """
import sys, time
from hostmesh_agent.edges import instance_lock
with instance_lock.held(sys.argv[1], say=print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        with instance_lock.held(str(tmp_path), say=lambda _: None):
            holder.wait(10)
