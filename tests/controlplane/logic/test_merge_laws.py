"""Laws of merging, over generated inputs: any order, any repetition, and only what is touched."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import CatalogService, SourceChanged
from hostmesh_controlplane.logic.merge import MergeState
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_controlplane.logic.unite import unite
from hostmesh_controlplane.logic.vips import VipRecord
from hostmesh_core.model import Health, Port, Protocol, RegisteredInstance, ServiceState
from hostmesh_testing.catalogs import RULES, Mesh, instance, listed, service

HOSTS = tuple(f"{name}.default.mesh.internal" for name in ("a", "b", "c"))
ADDRESSES = tuple(f"10.0.0.{number}:{port}" for number in (1, 2, 3) for port in (80, 8080))
ALIASES = ("x.example", "y.example", HOSTS[0])
HOST_IDS = tuple(letter * 32 for letter in "abc")


@dataclass(frozen=True)
class Listing:
    source: str
    host: str
    service: CatalogService | None


@dataclass(frozen=True)
class Registration:
    host_id: str
    instances: tuple[RegisteredInstance, ...]


Fact = Listing | Registration


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    host, source = draw(st.sampled_from(HOSTS)), draw(st.sampled_from(("files", "dc1")))
    if draw(st.integers(0, 5)) == 0:
        return Listing(source, host, None)
    endpoints = [
        listed(
            address,
            health=draw(st.sampled_from(Health)),
            weight=draw(st.integers(1, 3)),
            held=draw(st.booleans()) if source == "dc1" else False,
        )
        for address in sorted(draw(st.sets(st.sampled_from(ADDRESSES), max_size=4)))
    ]
    ports = (Port(80, draw(st.sampled_from(Protocol)), "web"),) if source == "files" else ()
    aliases = tuple(sorted(draw(st.sets(st.sampled_from(ALIASES), max_size=2))))
    listing = service(*endpoints, host=host, ports=ports)
    return Listing(source, host, replace(listing, aliases=aliases))


@st.composite
def registrations(draw: st.DrawFn) -> Registration:
    """What one host registers: its own address, so that no two hosts contend for a key."""
    number = draw(st.integers(0, 2))
    services = draw(st.sets(st.sampled_from(HOSTS), max_size=2))
    ports = (80, 8080)
    return Registration(
        HOST_IDS[number],
        tuple(
            instance(
                f"10.0.0.{number + 1}:{port}",
                host=host,
                host_id=HOST_IDS[number],
                port=Port(80, Protocol.HTTP, "web"),
            )
            for host, port in zip(sorted(services), ports, strict=False)
        ),
    )


facts = st.lists(st.one_of(listings(), registrations()), max_size=8)


def fresh() -> Mesh:
    """A mesh whose services are mixed already: births depend on the order by design, and so does
    the limit of weights that is settled at them.
    """
    mixed = ServiceRecord(ServiceState.MIXED, weight_limit=2)
    mesh = Mesh()
    for number, host in enumerate(HOSTS):
        vip = VipRecord(f"240.240.0.{number + 1}", f"fd48::{number + 1}", 80)
        mesh.take(merge.set_vip(mesh.state, host, vip))
        mesh.take(merge.set_record(mesh.state, host, mixed))
    return mesh


def put(mesh: Mesh, fact: Fact) -> merge.Step:
    if isinstance(fact, Listing):
        event = SourceChanged(fact.source, fact.host, fact.service)
        return mesh.take(merge.source_changed(mesh.state, event))
    return mesh.take(merge.register(mesh.state, fact.host_id, fact.instances))


def last_of_each(said: list[Fact]) -> list[Fact]:
    """Only the last thing that each source says of a service, and each host of itself."""
    found: dict[tuple[str, ...], Fact] = {}
    for fact in said:
        place = (fact.source, fact.host) if isinstance(fact, Listing) else (fact.host_id,)
        found.pop(place, None)
        found[place] = fact
    return list(found.values())


@given(facts, st.randoms(use_true_random=False))
def test_the_order_of_inputs_does_not_matter(said: list[Fact], shuffler: object) -> None:
    final = last_of_each(said)
    shuffled = list(final)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random

    one, other = fresh(), fresh()
    for fact in final:
        put(one, fact)
    for fact in shuffled:
        put(other, fact)

    assert dict(one.state.services) == dict(other.state.services)


@given(facts)
def test_only_the_last_word_counts(said: list[Fact]) -> None:
    one, other = fresh(), fresh()
    for fact in said:
        put(one, fact)
    for fact in last_of_each(said):
        put(other, fact)
    assert dict(one.state.services) == dict(other.state.services)


@given(facts)
def test_saying_it_again_changes_nothing(said: list[Fact]) -> None:
    mesh = fresh()
    for fact in said:
        put(mesh, fact)
        services = mesh.state.services
        again = put(mesh, fact)
        assert again.changes == ()
        assert again.records == ()
        assert mesh.state.services == services


@given(facts)
def test_changes_are_exactly_what_differs_and_the_rest_is_the_same_value(said: list[Fact]) -> None:
    mesh = fresh()
    for fact in said:
        before = mesh.state.services
        step = put(mesh, fact)
        after = mesh.state.services
        told = {change.host: (change.before, change.after) for change in step.changes}
        for host in HOSTS:
            if host in told:
                assert told[host] == (before.get(host), after.get(host))
                assert told[host][0] != told[host][1]
            else:
                assert before.get(host) is after.get(host)


@given(facts)
def test_every_service_is_a_function_of_its_inputs(said: list[Fact]) -> None:
    mesh = fresh()
    for fact in said:
        put(mesh, fact)
    for host, inputs in mesh.state.inputs.items():
        assert mesh.state.services.get(host) == unite(host, inputs, RULES)


@given(facts)
def test_what_no_input_can_break(said: list[Fact]) -> None:
    mesh = fresh()
    for fact in said:
        put(mesh, fact)
    owners: dict[object, str] = {}
    for host, merged in mesh.state.services.items():
        places = [(endpoint.key, endpoint.service_port) for endpoint in merged.endpoints]
        assert len(places) == len(set(places)), "an endpoint is listed once"
        assert places == sorted(places)
        for endpoint in merged.endpoints:
            assert merged.port(endpoint.service_port) is not None
            assert endpoint.meshed == ("registered" in endpoint.sources)
            assert endpoint.identity is None or endpoint.identity in merged.identities
            if endpoint.meshed:
                assert owners.setdefault(endpoint.key, host) == host, "one owner per key"
    names = [name for merged in mesh.state.services.values() for name in merged.aliases]
    assert len(names) == len(set(names)), "a name leads to one service"
    assert not set(names) & set(mesh.state.services), "and its own name is nobody else's alias"
    for host, merged in mesh.state.services.items():
        for endpoint in merged.endpoints:
            assert owners.get(endpoint.key, host) == host, "nobody else lists a registered key"


@given(facts)
def test_leaving_undoes_joining(said: list[Fact]) -> None:
    with_hosts, without = fresh(), fresh()
    for fact in said:
        put(with_hosts, fact)
        if isinstance(fact, Listing):
            put(without, fact)
    for host_id in HOST_IDS:
        with_hosts.register(host_id=host_id)

    assert dict(with_hosts.state.services) == dict(without.state.services)
    assert _indexes(with_hosts.state) == _indexes(without.state)


def _indexes(state: MergeState) -> tuple[object, ...]:
    return (
        dict(state.claims),
        dict(state.listed),
        dict(state.aliases),
        dict(state.instances),
        dict(state.inputs),
    )
