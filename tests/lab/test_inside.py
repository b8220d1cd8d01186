import sys

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.inside import NoAnswer, ask, connect
from hostmesh_testing.waiting import wait_until


def test_a_hosts_own_loopback_is_asked_from_outside(lab: Lab) -> None:
    one, two = lab.host("one"), lab.host("two")
    server = [sys.executable, "-m", "http.server", "8000", "--bind", "127.0.0.1"]
    running = one.spawn("web", server)
    wait_until(lambda: "Serving" in running.said())
    assert ask(one.holder.pid, "/", port=8000)[0] == 200
    with pytest.raises(NoAnswer, match=r"cannot connect to 127\.0\.0\.1 port 8000"):
        ask(two.holder.pid, "/", port=8000)
    # The thread that entered is gone: this process is where it was.
    with pytest.raises(NoAnswer):
        connect(one.holder.pid, "127.0.0.1", 8001)
