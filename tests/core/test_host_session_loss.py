"""One agent, any number of replicas and restarts of them, streams that break anywhere."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.host_session import Body, HostSession, subject
from hostmesh_testing.host_session import agent, health, plane, register


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
