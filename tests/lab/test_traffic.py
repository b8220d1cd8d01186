"""The load client and its account, on hosts without a mesh: what it must not hide shows here."""

import signal
import time

from hostmesh_ctl.demo.account import Cut, Killed, account
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.traffic import App, LoadClient, journal_of
from hostmesh_testing.waiting import wait_until


def _pair(lab: Lab) -> tuple[App, LoadClient]:
    client, server = lab.host("client"), lab.host("server")
    client.add_name("reviews", server.ipv4, server.ipv6)
    app = App(server, "reviews-1", 9080)
    app.start()
    load = LoadClient(client, "reviews", 9080, rate=60)
    wait_until(lambda: len(load.records()) > 30, what="30 answers")
    return app, load


def test_a_service_that_is_well_answers_all_of_it(lab: Lab) -> None:
    app, load = _pair(lab)
    began = time.monotonic()
    count = len(load.records())
    time.sleep(2.0)
    rate = (len(load.records()) - count) / (time.monotonic() - began)
    made = account(load.stop(), journal_of([app]), [])
    assert made.failed == ()
    assert made.succeeded == made.sent > 100
    assert rate >= 50
    assert {record.family for record in load.records()} == {4, 6}
    assert abs(made.kept - made.fresh) <= 1


def test_a_killed_app_without_a_mesh_fails_and_only_what_it_had_begun_is_excused(lab: Lab) -> None:
    app, load = _pair(lab)
    killed = Killed(server=app.name, at=time.monotonic())
    app.process.signal(signal.SIGKILL)
    time.sleep(1.0)
    app.start()
    wait_until(lambda: not load.records()[-1].error, what="an answer after the restart")
    made = account(load.stop(), journal_of([app]), [killed])
    assert len(made.failed) > 30  # a second of refused connections: the account can say no
    assert len(made.in_flight) <= 3


def test_a_cut_host_without_a_mesh_fails_for_as_long_as_it_is_away(lab: Lab) -> None:
    app, load = _pair(lab)
    at = time.monotonic()
    app.host.cut()
    cut = Cut(server=app.name, at=at, until=time.monotonic())
    time.sleep(1.5)
    app.host.restore()
    wait_until(
        lambda: load.records() and not load.records()[-1].error, seconds=20, what="an answer"
    )
    made = account(load.stop(), journal_of([app]), [cut])
    assert made.longest_wait > 0.5
    posts = [record for record in made.in_flight if record.method == "POST"]
    assert all(record.start <= cut.until + 1.0 for record in posts)
