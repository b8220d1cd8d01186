import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from hostmesh_core.xds import store
from hostmesh_core.xds.references import References
from hostmesh_core.xds.resource import Resource
from hostmesh_testing.xds import assignment, cluster, opaque

SMALL = st.text(max_size=5)
RESOURCES = st.lists(
    st.builds(Resource, SMALL, SMALL, SMALL, st.binary(max_size=20)),
    unique_by=lambda item: (item.type_url, item.name),
)


@given(RESOURCES, st.lists(st.tuples(SMALL, SMALL)), st.integers(0, 2**60))
def test_what_is_read_back_is_what_was_written(
    resources: list[Resource], absent: list[tuple[str, str]], sequence: int
) -> None:
    written = store.generation_of(resources, absent=absent, sequence=sequence)
    assert store.decode(store.encode(written)) == written


@given(RESOURCES, st.data())
def test_any_cut_is_noticed(resources: list[Resource], data: st.DataObject) -> None:
    whole = store.encode(store.generation_of(resources))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(store.Damaged, match=r"^cannot use a stored generation"):
        store.decode(whole[:cut])


@given(RESOURCES, st.data())
def test_any_changed_byte_is_noticed(resources: list[Resource], data: st.DataObject) -> None:
    whole = bytearray(store.encode(store.generation_of(resources)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(store.Damaged):
        store.decode(bytes(whole))


STEPS = st.lists(RESOURCES, min_size=1, max_size=4)


def walked(steps: list[list[Resource]]) -> tuple[store.Generation, list[bytes], store.Generation]:
    """Give the first generation, the steps from there as bytes, and the last one."""
    generations = [store.generation_of(found, sequence=n) for n, found in enumerate(steps)]
    pairs = itertools.pairwise(generations)
    data = [store.encode_step(before, after) for before, after in pairs]
    return generations[0], data, generations[-1]


def same(one: store.Generation, other: store.Generation) -> bool:
    return (set(one), one.absent, one.sequence) == (set(other), other.absent, other.sequence)


@given(STEPS)
def test_steps_lead_to_where_they_led(steps: list[list[Resource]]) -> None:
    first, data, last = walked(steps)
    assert same(store.decode_steps(first, b"".join(data)), last)


@given(STEPS, st.data())
def test_a_cut_step_was_never_taken(steps: list[list[Resource]], data: st.DataObject) -> None:
    first, written, last = walked([*steps, [cluster("a", "last")]])
    *whole, cut = written
    keep = data.draw(st.integers(0, len(cut) - 1))
    reached = store.decode_steps(first, b"".join([*whole, cut[:keep]]))
    assert same(reached, store.decode_steps(first, b"".join(whole)))
    assert not same(reached, last)


def test_a_step_from_somewhere_else_is_not_taken() -> None:
    one, two, three = (store.generation_of([cluster("a", str(n))], sequence=n) for n in (1, 2, 3))
    assert store.decode_steps(one, store.encode_step(two, three)) == one


def test_a_step_is_as_large_as_the_change_and_tells_what_became_absent() -> None:
    many = [cluster(str(n)) for n in range(100)]
    before = store.generation_of(many, sequence=1)
    after = store.generation_of([*many[1:], cluster("new")], absent=[(ROUTE, "80")], sequence=2)
    step = store.encode_step(before, after)
    assert len(step) < len(store.encode(before)) / 10
    assert same(store.decode_steps(before, step), after)


def test_bytes_after_the_end_are_noticed() -> None:
    with pytest.raises(store.Damaged, match="bytes that its manifest lacks"):
        store.decode(store.encode(store.generation_of([cluster("a")])) + b"x")


def test_iteration_is_in_the_order_of_sending() -> None:
    items = [opaque(LISTENER, "l"), assignment("a"), cluster("a")]
    assert [item.type_url for item in store.generation_of(items)] == [CLUSTER, ENDPOINT, LISTENER]


def test_changed_names_what_is_new_other_gone_or_newly_absent() -> None:
    before = store.generation_of([cluster("same"), cluster("other"), assignment("gone")])
    after = store.generation_of(
        [cluster("same"), cluster("other", "1"), cluster("new")], absent=[(ROUTE, "80")]
    )
    assert store.changed(before, after) == {
        CLUSTER: {"other", "new"},
        ENDPOINT: {"gone"},
        ROUTE: {"80"},
    }


def test_a_generation_is_open_while_something_referred_to_is_neither_there_nor_absent() -> None:
    clusters = [cluster("a"), cluster("b"), cluster("c"), cluster("d", eds=False)]
    open_one = store.generation_of([*clusters, assignment("a")], absent=[(ENDPOINT, "b")])
    assert store.dangling(open_one) == {(ENDPOINT, "c")}
    closed = store.generation_of([*open_one, assignment("c")], absent=open_one.absent)
    assert store.dangling(closed) == frozenset()


def test_routes_to_missing_clusters_are_found() -> None:
    routes = opaque(ROUTE, "80")

    def references_of(item: Resource) -> References:
        return References(clusters=frozenset({"a", "b"}) if item is routes else frozenset())

    generation = store.generation_of([routes, cluster("a")])
    assert store.dangling_clusters(generation, references_of) == {("80", "b")}


def test_an_empty_generation_serves_nothing() -> None:
    empty = store.Generation()
    assert empty.get(CLUSTER, "a") is None
    assert list(empty.names(CLUSTER)) == []
    assert len(empty) == 0
