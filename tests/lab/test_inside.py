import sys

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.inside import NoAnswer, ask, connect, listen
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


def test_what_listens_inside_is_served_from_outside(lab: Lab) -> None:
    one, two = lab.host("one"), lab.host("two")
    with listen(one.holder.pid, "::", 8000) as listener:
        for address in (one.ipv4, one.ipv6):
            with connect(two.holder.pid, address, 8000) as made:
                accepted, peer = listener.accept()
                with accepted:
                    assert peer[0].endswith(two.ipv6 if ":" in address else two.ipv4)
                    made.sendall(b"hello")
                    assert accepted.recv(5) == b"hello"
        with pytest.raises(NoAnswer, match="cannot listen on :: port 8000 inside"):
            listen(one.holder.pid, "::", 8000)
