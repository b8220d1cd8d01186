"""Nonces: each is good for one request, and for a minute."""

from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic.challenges import LIFE_SECONDS, Challenges


def test_a_nonce_is_taken_back_once() -> None:
    asked = Challenges().asked("a", now=0.0)
    left = asked.answered("a", now=1.0)
    assert left is not None
    assert left.answered("a", now=1.0) is None


def test_a_nonce_that_nobody_gave_is_none() -> None:
    assert Challenges().answered("a", now=0.0) is None
    assert Challenges().asked("a", now=0.0).answered("b", now=0.0) is None


def test_a_nonce_ends_after_a_minute() -> None:
    asked = Challenges().asked("a", now=0.0)
    assert asked.answered("a", now=LIFE_SECONDS - 0.1) is not None
    assert asked.answered("a", now=LIFE_SECONDS) is None


def test_one_answer_leaves_the_others() -> None:
    asked = Challenges().asked("a", now=0.0).asked("b", now=1.0)
    left = asked.answered("a", now=2.0)
    assert left is not None
    assert left.answered("b", now=2.0) is not None


def test_a_flood_costs_so_much_and_no_more_and_the_newest_stay() -> None:
    challenges = Challenges()
    for n in range(10_050):
        challenges = challenges.asked(str(n), now=0.0)
    assert len(challenges.open) == 10_000
    assert challenges.answered("10049", now=0.0) is not None
    assert challenges.answered("0", now=0.0) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.floats(0, 30)), max_size=40))
def test_no_nonce_is_ever_good_twice(steps: list[tuple[bool, str, float]]) -> None:
    challenges, now, count = Challenges(), 0.0, 0
    good: list[str] = []
    given_out: dict[str, str] = {}
    for ask, name, wait in steps:
        now += wait
        if ask:
            count += 1
            given_out[name] = f"{name}{count}"
            challenges = challenges.asked(given_out[name], now=now)
        elif name in given_out:
            left = challenges.answered(given_out[name], now=now)
            if left is not None:
                good.append(given_out[name])
                challenges = left
    assert len(good) == len(set(good))
