"""Scenes for the registry of hosts: agents speak to it, all around it is held in the hand."""

import asyncio
from collections.abc import Awaitable, Callable

from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.hosts import Hosts
from hostmesh_controlplane.edges.host_stream import Refusal, Session
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.fixed import CountingEntropy, ManualClock
from hostmesh_testing.hosts import DOMAIN, HOST, OTHER, FakeAuthorities, FakeLink, FakeMesh, peer
from hostmesh_testing.memory_store import MemoryStore

WEB = f"web.default.{DOMAIN}"
SESSION = b"s" * 16
NEXT_SESSION = b"t" * 16


def web(**fields: object) -> pb.ServiceRegistration:
    message = pb.ServiceRegistration(service="web", workload_port=8080, health=pb.STATUS_HEALTHY)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


class Agent:
    """One agent process as the registry sees it: a session over a stream."""

    def __init__(self, world: "World", host_id: str, session: bytes, address: str) -> None:
        self.world = world
        self.host_id = host_id
        self.session = session
        self.address = address
        self.link = FakeLink()
        self.stream: Session | None = None
        self.refusal: Refusal | None = None
        self.seq = 0
        self.generation = 0

    def connect(self, *, proof: bool = False, last_seen: int = 0, replica: bytes = b"") -> "Agent":
        self.link = FakeLink()
        hello = pb.Hello(
            protocol=1,
            session=self.session,
            last_seen=last_seen,
            replica=replica,
            address_proof=proof,
        )
        number = next(self.world.streams)
        from_ = peer(self.host_id, address=self.address, stream_id=f"s{number}")
        taken = self.world.hosts.accept(from_, hello, self.link)
        if isinstance(taken, Refusal):
            self.refusal = taken
        else:
            self.stream = taken
        return self

    def leave(self) -> None:
        assert self.stream is not None
        self.stream.closed()

    def say(self, **body: object) -> None:
        assert self.stream is not None
        self.seq += 1
        self.stream.received(pb.Up(seq=self.seq, **body))  # type: ignore[arg-type]

    def register(self, *services: pb.ServiceRegistration, **fields: object) -> None:
        self.generation += 1
        message = pb.Register(services=services, generation=self.generation, **fields)  # type: ignore[arg-type]
        self.say(register=message)

    def verdicts(self) -> list[pb.Verdict]:
        return [item.verdict for item in self.link.bodies("verdict")]

    @property
    def welcome(self) -> pb.Welcome:
        return self.link.bodies("welcome")[-1].welcome


class World:
    """A registry with everything around it held in the hand."""

    def __init__(self, store: MemoryStore | None = None, mesh: FakeMesh | None = None) -> None:
        self.authorities = FakeAuthorities(HOST, OTHER)
        self.mesh = mesh or FakeMesh()
        self.store = store or MemoryStore()
        self.clock = ManualClock()
        self.streams = iter(range(1, 1000))
        self.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN, virtual_ranges=("240.240.0.0/16",)),
            self.store,
            self.authorities,
            mesh=self.mesh,
            clock=self.clock,
            entropy=CountingEntropy(),
        )

    def agent(
        self, host_id: str = HOST, *, session: bytes = SESSION, address: str = "10.0.0.4"
    ) -> Agent:
        return Agent(self, host_id, session, address)

    def keys(self, host_id: str = HOST) -> list[str]:
        return [str(key) for i in self.hosts.instances(host_id) for key in i.keys]


Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene, world: Callable[[], World] = World) -> World:
    made: list[World] = []

    async def whole() -> None:
        made.append(world())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made[0].hosts.run())
            await made[0].clock.settle()
            await scene(made[0])
            running.cancel()

    asyncio.run(whole())
    return made[0]
