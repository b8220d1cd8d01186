import pytest

from hostmesh_core import host_session
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.host_session import Body, subject
from hostmesh_testing.host_session import agent, health, names, plane, register


@pytest.mark.parametrize(
    ("older", "newer", "same"),
    [
        pytest.param(register(1), register(2), True, id="a register replaces a register"),
        pytest.param(pb.Renew(), pb.Renew(), True, id="a renewal replaces a renewal"),
        pytest.param(health("a"), health("a", "x"), True, id="health of one service"),
        pytest.param(health("a"), health("b"), False, id="health of two services"),
        pytest.param(
            pb.Applied(type_url="a", version="1"),
            pb.Applied(type_url="a", version="2", stream_id="s"),
            True,
            id="applied versions of one type, whatever the stream",
        ),
        pytest.param(
            pb.Applied(type_url="a"), pb.Applied(type_url="b"), False, id="applied of two types"
        ),
        pytest.param(
            pb.Rejected(type_url="a", name="x"),
            pb.Rejected(type_url="a", name="y"),
            False,
            id="rejections of two resources",
        ),
        pytest.param(
            pb.CertificateRequest(request_id="1"),
            pb.CertificateRequest(request_id="2"),
            False,
            id="two certificate requests",
        ),
        pytest.param(
            pb.Drain(services=["b", "a"]),
            pb.Drain(services=["a", "b"]),
            True,
            id="a drain of the same services in another order",
        ),
        pytest.param(pb.Drain(), pb.Drain(services=["a"]), False, id="drain of all and of one"),
        pytest.param(
            pb.Answer(query_id="1"), pb.Answer(query_id="2"), False, id="answers to two questions"
        ),
        pytest.param(
            pb.Issue(request_id="1"), pb.Issue(request_id="1"), True, id="one issue, repeated"
        ),
    ],
)
def test_a_body_replaces_an_older_one_about_the_same_thing(
    older: Body, newer: Body, *, same: bool
) -> None:
    assert (subject(older) == subject(newer)) is same


def test_what_is_not_acknowledged_is_sent_again_and_what_is_seen_is_dropped() -> None:
    up, down = agent(), plane()
    lost, arrived = up.send(register(1)), up.send(pb.Renew())
    assert down.receive(lost) == register(1)
    again = up.resume(last_seen=1)
    assert names(again) == ["renew"]
    assert down.receive(again[0]) == pb.Renew()
    assert down.receive(arrived) is None


def test_a_newer_body_leaves_a_hole_that_the_receiver_does_not_wait_for() -> None:
    up, down = agent(), plane()
    up.send(register(1))
    up.send(pb.Rejected(name="x"))
    up.send(register(2))
    again = up.resume(last_seen=0)
    assert [envelope.seq for envelope in again] == [2, 3]
    assert [down.receive(envelope) for envelope in again] == [pb.Rejected(name="x"), register(2)]
    assert down.seen == 3


def test_a_register_makes_older_health_reports_moot_because_it_carries_health() -> None:
    up = agent()
    up.send(health("a", "503"))
    up.send(register(1))
    up.send(health("a", "well again"))
    assert names(up.resume(last_seen=0)) == ["register", "health"]


def test_another_replica_is_told_the_state_and_the_open_requests_but_no_past_events() -> None:
    up, down = agent(), plane()
    said: list[Body] = [
        register(1),
        health("a"),
        pb.Applied(type_url="cds", version="7"),
        pb.Use(names=["reviews"]),
        pb.CertificateRequest(request_id="open"),
        pb.CertificateRequest(request_id="answered"),
        pb.Drain(services=["a"]),
        pb.Rejected(name="x"),
        pb.Renew(),
        pb.Answer(query_id="q"),
        pb.Callers(),
    ]
    for body in said:
        down.receive(up.send(body))
    acknowledgement = down.acknowledgement()
    assert acknowledgement is not None
    up.receive(acknowledgement)
    up.settle(subject(pb.CertificateRequest(request_id="answered")))
    assert up.resume(last_seen=11) == []
    assert names(up.resume(last_seen=0, other_replica=True)) == [
        "register",
        "health",
        "applied",
        "use",
        "certificate_request",
        "drain",
        "callers",
    ]


def test_another_replica_counts_its_own_bodies_from_one() -> None:
    up, first, second = agent(), plane(), plane()
    for generation in range(5):
        up.receive(first.send(pb.Verdict(generation=generation)))
    assert up.seen == 5
    up.resume(last_seen=0, other_replica=True)
    assert up.receive(second.send(pb.Verdict(generation=9))) == pb.Verdict(generation=9)
    assert up.seen == 1


def test_a_body_from_the_future_is_acknowledged_and_ignored() -> None:
    down = plane()
    future = pb.Up()
    future.ParseFromString(b"\x08\x01\xa2\x06\x02\x08\x01")  # seq 1, field 100
    assert down.receive(future) is None
    assert down.seen == 1
    acknowledgement = down.acknowledgement()
    assert acknowledgement == pb.Down(ack=1)
    assert down.acknowledgement() is None


def test_an_envelope_carries_the_acknowledgement_so_that_no_bare_one_follows() -> None:
    up, down = agent(), plane()
    down.receive(up.send(pb.Renew()))
    assert down.send(pb.Verdict()).ack == 1
    assert down.acknowledgement() is None


def test_a_bare_acknowledgement_and_a_handshake_are_not_counted() -> None:
    up, down = agent(), plane()
    up.send(pb.Renew())
    assert up.receive(pb.Down(ack=1)) is None
    assert up.receive(pb.Down(welcome=pb.Welcome())) is None
    assert (up.seen, up.unacknowledged) == (0, 0)
    assert down.receive(pb.Up(hello=pb.Hello())) is None


def test_an_acknowledgement_of_what_was_never_sent_acknowledges_no_more_than_was() -> None:
    up = agent()
    up.receive(pb.Down(ack=99))
    up.send(pb.Renew())
    assert names(up.resume(last_seen=0)) == ["renew"]


def test_what_waits_for_a_silent_peer_is_bounded_and_state_is_kept() -> None:
    up = agent()
    up.send(register(1))
    for number in range(host_session.MAX_UNACKNOWLEDGED + 50):
        up.send(pb.Rejected(name=str(number)))
    again = up.resume(last_seen=0)
    assert len(again) == host_session.MAX_UNACKNOWLEDGED
    assert names(again)[0] == "register"
    assert again[-1].rejected.name == str(host_session.MAX_UNACKNOWLEDGED + 49)
