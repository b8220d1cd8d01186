from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_core import host_session
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.host_session import Body, HostSession, subject


def agent() -> HostSession[pb.Up, pb.Down]:
    return HostSession(pb.Up)


def plane() -> HostSession[pb.Down, pb.Up]:
    return HostSession(pb.Down)


def register(generation: int) -> pb.Register:
    return pb.Register(generation=generation)


def health(service: str, reason: str = "") -> pb.HealthReport:
    return pb.HealthReport(service=service, workload_port=80, reason=reason)


def names(envelopes: list[pb.Up]) -> list[str]:
    return [str(envelope.WhichOneof("body")) for envelope in envelopes]


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
    ]
    for body in said:
        down.receive(up.send(body))
    acknowledgement = down.acknowledgement()
    assert acknowledgement is not None
    up.receive(acknowledgement)
    up.settle(subject(pb.CertificateRequest(request_id="answered")))
    assert up.resume(last_seen=10) == []
    assert names(up.resume(last_seen=0, other_replica=True)) == [
        "register",
        "health",
        "applied",
        "use",
        "certificate_request",
        "drain",
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


# One agent, any number of replicas and restarts of them, streams that break anywhere.


@dataclass
class Replica:
    """A control plane's memory of the session, and what it handled."""

    name: bytes
    session: HostSession[pb.Down, pb.Up] = field(default_factory=plane)
    handled: list[int] = field(default_factory=list)
    state: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def take(self, envelope: pb.Up) -> None:
        body = self.session.receive(envelope)
        if body is not None:
            self.handled.append(envelope.seq)
            if subject(body)[0] == "register":
                # The register is complete: it says the health of every service.
                self.state = {k: v for k, v in self.state.items() if k[0] != "health"}
            self.state[subject(body)] = body.SerializeToString()


@dataclass
class World:
    """The agent, the replicas, and at most two streams: one in use and one that dies slowly."""

    up: HostSession[pb.Up, pb.Down] = field(default_factory=agent)
    replica_name: bytes = b""
    replicas: dict[int, Replica] = field(default_factory=dict)
    at: int | None = None
    opening: tuple[int, bytes, int, list[pb.Down]] | None = None
    upwards: list[pb.Up] = field(default_factory=list)
    downwards: list[pb.Down] = field(default_factory=list)
    verdicts: list[int] = field(default_factory=list)
    count: int = 0

    def say(self, body: Body) -> None:
        envelope = self.up.send(body)
        if self.at is not None:
            self.upwards.append(envelope)

    def connect(self, number: int) -> None:
        """Open a stream and have it welcomed with nothing in between."""
        self.hello(number)
        self.welcome()

    def hello(self, number: int) -> None:
        """Say Hello on a new stream. The replica uses it from now on, the agent not yet."""
        replica = self.replicas.setdefault(number, Replica(f"{number}/0".encode()))
        last_seen = self.up.seen if self.replica_name == replica.name else 0
        first = replica.session.resume(last_seen)
        if self.at == number:
            self.upwards = []  # the replica drops what the older stream still brings
        self.opening = (number, replica.name, replica.session.seen, list(first))

    def welcome(self) -> None:
        """Welcome arrives: the agent uses the new stream and drops what the older one brings."""
        if self.opening is None:
            return
        number, name, last_seen, self.downwards = self.opening
        self.opening = None
        other = self.replica_name != name
        self.replica_name = name
        self.upwards = list(self.up.resume(last_seen, other_replica=other))
        self.at = number

    def restart(self, number: int) -> None:
        """A replica loses its memory, and the stream with it."""
        self.count += 1
        self.replicas[number] = Replica(f"{number}/{self.count}".encode())
        if self.opening is not None and self.opening[0] == number:
            self.opening = None
        if self.at == number:
            self.cut()

    def cut(self) -> None:
        """The stream in use breaks with all that was on its way."""
        self.at, self.upwards, self.downwards = None, [], []

    def deliver(self, how_many: int) -> None:
        if self.at is None:
            return
        replica = self.replicas[self.at]
        moved = self.opening is not None and self.opening[0] == self.at
        for _ in range(min(how_many, len(self.upwards))):
            envelope = self.upwards.pop(0)
            if moved:
                continue
            replica.take(envelope)
            if (ack := replica.session.acknowledgement()) is not None:
                self.downwards.append(ack)
        for _ in range(min(how_many, len(self.downwards))):
            down = self.downwards.pop(0)
            body = self.up.receive(down)
            if isinstance(body, pb.Verdict):
                self.verdicts.append(body.generation)
            if (acknowledgement := self.up.acknowledgement()) is not None:
                self.upwards.append(acknowledgement)

    def answer(self) -> None:
        """A replica says something of its own, on the newest stream that it has."""
        number, queue = self.at, self.downwards
        if self.opening is not None:
            number, queue = self.opening[0], self.opening[3]
        if number is not None:
            self.count += 1
            replica = self.replicas[number]
            queue.append(replica.session.send(pb.Verdict(generation=self.count)))

    def settled(self) -> None:
        while self.upwards or self.downwards:
            self.deliver(10)


STEPS = st.one_of(
    st.tuples(st.just("connect"), st.integers(0, 2)),
    st.tuples(st.just("hello"), st.integers(0, 2)),
    st.tuples(st.just("welcome"), st.none()),
    st.tuples(st.just("break"), st.none()),
    st.tuples(st.just("restart"), st.integers(0, 2)),
    st.tuples(st.just("deliver"), st.integers(1, 3)),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("register"), st.none()),
    st.tuples(st.just("health"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("applied"), st.sampled_from(["cds", "eds"])),
    st.tuples(st.just("certificate"), st.integers(0, 3)),
)


def said_in(step: tuple[str, object], number: int) -> Body | None:
    """Give what the agent says in a step."""
    kind, detail = step
    bodies: dict[str, Body] = {
        "register": register(number),
        "health": health(str(detail), str(number)),
        "applied": pb.Applied(type_url=str(detail), version=str(number)),
        "certificate": pb.CertificateRequest(request_id=str(detail)),
    }
    return bodies.get(kind)


def perform(world: World, step: tuple[str, object], number: int) -> None:
    match step:
        case ("connect", int(replica)):
            world.connect(replica)
        case ("hello", int(replica)):
            world.hello(replica)
        case ("welcome", _):
            world.welcome()
        case ("break", _):
            world.cut()
        case ("restart", int(replica)):
            world.restart(replica)
        case ("deliver", int(how_many)):
            world.deliver(how_many)
        case ("answer", _):
            world.answer()
        case _:
            body = said_in(step, number)
            assert body is not None
            world.say(body)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(0, 2))
def test_any_pattern_of_loss_ends_in_the_same_state_and_nothing_is_handled_twice(
    steps: list[tuple[str, object]], last: int
) -> None:
    world = World()
    truth: dict[tuple[str, ...], bytes] = {}
    for number, step in enumerate(steps):
        perform(world, step, number)
        said = said_in(step, number)
        if isinstance(said, pb.Register):
            truth = {key: value for key, value in truth.items() if key[0] != "health"}
        if said is not None:
            truth[subject(said)] = said.SerializeToString()
    world.connect(last)
    world.answer()
    world.settled()
    assert world.replicas[last].state == truth
    assert world.verdicts[-1] == world.count, "what the replica says arrives too"
    for replica in world.replicas.values():
        assert replica.handled == sorted(set(replica.handled)), "in order and once"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["hello", "welcome", "answer", "deliver"]), max_size=40))
def test_one_replica_s_bodies_are_handled_once_and_the_last_of_each_subject_arrives(
    steps: list[str],
) -> None:
    world = World()
    world.connect(0)
    for step in steps:
        if step == "hello":
            world.hello(0)
        elif step == "welcome":
            world.welcome()
        elif step == "answer":
            world.answer()
        else:
            world.deliver(1)
    world.connect(0)
    world.settled()
    assert len(world.verdicts) == len(set(world.verdicts))
    assert world.verdicts == sorted(world.verdicts)
    if world.count:
        assert world.verdicts[-1] == world.count
