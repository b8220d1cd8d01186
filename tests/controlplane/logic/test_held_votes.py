from hostmesh_controlplane.logic.held_votes import (
    Vote,
    Votes,
    controls,
    forget,
    held_keys,
    judged,
)
from hostmesh_core.model import Health
from hostmesh_testing.catalogs import REVIEWS, Mesh, instance, key, listed, service

DEAD, ALIVE, CONTROL = key("10.0.0.1:80"), key("10.0.0.2:80"), key("10.0.0.3:80")
HELD = (DEAD, ALIVE)


def rounds(*outcomes: dict[str, bool]) -> list[Vote]:
    votes, told = Votes(), list[Vote]()
    for outcome in outcomes:
        accepted = {key(f"{text}:80"): accepts for text, accepts in outcome.items()}
        votes, now = judged(votes, REVIEWS, held=HELD, accepted=accepted)
        told += now
    return told


GONE = {"10.0.0.1": False, "10.0.0.2": True, "10.0.0.3": True}
BACK = GONE | {"10.0.0.1": True}
BLIND = dict.fromkeys(GONE, False)


def test_one_that_refuses_twice_beside_a_control_is_voted_out_once() -> None:
    assert rounds(GONE) == []
    assert rounds(GONE, GONE, GONE) == [Vote(REVIEWS, DEAD, refuses=True)]


def test_a_prober_that_reaches_nothing_decides_nothing() -> None:
    assert rounds(BLIND, BLIND, BLIND) == []
    assert rounds(GONE, BLIND, BLIND) == []


def test_another_held_one_that_accepts_is_a_control() -> None:
    only_held = {"10.0.0.1": False, "10.0.0.2": True}
    assert rounds(only_held, only_held) == [Vote(REVIEWS, DEAD, refuses=True)]


def test_an_accepted_connection_starts_afresh_or_takes_the_vote_back() -> None:
    assert rounds(GONE, BACK, GONE) == []
    assert rounds(GONE, GONE, BACK, BACK) == [
        Vote(REVIEWS, DEAD, refuses=True),
        Vote(REVIEWS, DEAD, refuses=False),
    ]


def test_what_is_held_no_more_is_forgotten() -> None:
    votes, _ = judged(Votes(), REVIEWS, held=HELD, accepted={DEAD: False, ALIVE: True})
    assert forget(votes, {REVIEWS: (DEAD,)}) == votes
    assert forget(votes, {}) == Votes()


def test_held_is_what_no_source_lists_and_no_host_registers() -> None:
    mesh = Mesh()
    held = [listed(f"10.0.0.{n}:9080", held=True) for n in (1, 2, 3)]
    mesh.catalog("dc1", service(*held, "10.0.0.4:9080"))
    mesh.catalog("files", service("10.0.0.2:9080"))
    mesh.register(instance("10.0.0.3:9080"))

    assert held_keys(mesh.state.inputs[REVIEWS]) == (key("10.0.0.1:9080"),)


def test_controls_are_a_few_sound_ones() -> None:
    mesh = Mesh()
    sick = listed("10.0.0.1:80", health=Health.UNHEALTHY)
    held = listed("10.0.0.2:80", held=True)
    mesh.catalog("dc1", service(sick, held, *(f"10.0.0.{n}:80" for n in range(3, 9))))
    assert [one.address for one in controls(mesh.service())] == [
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.5",
    ]
