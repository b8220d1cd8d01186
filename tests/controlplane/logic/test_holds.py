from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic import holds
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService, SourceChanged
from hostmesh_controlplane.logic.holds import HoldRules, Holds
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Health
from hostmesh_testing.catalogs import RATINGS, REVIEWS, key, listed, service

LOST_ACL = "the token no longer reads the catalog"


def pool(numbers: range, *, port: int = 80, host: str = REVIEWS) -> CatalogService:
    """A service whose endpoints are 10.0.0.<number>."""
    return service(*(f"10.0.0.{number}:{port}" for number in numbers), host=host)


class Source:
    """One source under test, with what was passed on last."""

    def __init__(self) -> None:
        self.holds = Holds("dc1", HoldRules())
        self.passed: dict[str, CatalogService] = {}
        self.now = 0.0

    def says(
        self, listing: CatalogService | None, *, host: str = REVIEWS, doubt: str = ""
    ) -> list[str]:
        """The source says something; gives the hosts that something is passed on of."""
        event = SourceChanged("dc1", listing.host if listing else host, listing, doubt)
        self.holds, changes = holds.offered(self.holds, event, now=self.now)
        self._take(changes)
        return [change.host for change in changes]

    def accept(self) -> None:
        """An operator believes the source."""
        self.holds, changes = holds.accept(self.holds)
        self._take(changes)

    def _take(self, changes: list[SourceChanged]) -> None:
        for change in changes:
            if change.service is None:
                self.passed.pop(change.host, None)
            else:
                self.passed[change.host] = change.service

    def count(self, host: str = REVIEWS) -> int:
        return len(self.passed[host].endpoints) if host in self.passed else 0

    def held(self, host: str = REVIEWS) -> int:
        return sum(e.held for e in self.passed[host].endpoints) if host in self.passed else 0


def source(*listings: CatalogService) -> Source:
    fresh = Source()
    for listing in listings:
        fresh.says(listing)
    fresh.now = 100.0
    return fresh


def test_a_shrink_in_a_suspicious_answer_is_held_however_small() -> None:
    dc1 = source(pool(range(3)))
    dc1.says(pool(range(2)), doubt=LOST_ACL)

    assert (dc1.count(), dc1.held(), dc1.holds.held) == (3, 1, 1)


def test_an_empty_suspicious_answer_keeps_the_service_with_its_attributes() -> None:
    before = replace(pool(range(3)), aliases=("reviews.service.consul",))
    dc1 = source(before)
    dc1.says(None, doubt=LOST_ACL)

    assert (dc1.count(), dc1.held()) == (3, 3)
    assert dc1.passed[REVIEWS].aliases == ("reviews.service.consul",)


def test_what_was_doubted_is_released_by_a_full_answer() -> None:
    dc1 = source(pool(range(18)))
    dc1.says(None, doubt=LOST_ACL)
    dc1.says(pool(range(18)))

    assert (dc1.count(), dc1.held(), dc1.holds.held) == (18, 0, 0)


def test_what_was_doubted_and_is_credibly_gone_goes() -> None:
    dc1 = source(pool(range(18)))
    dc1.says(None, doubt=LOST_ACL)
    dc1.now += 600
    dc1.says(pool(range(16)))

    assert (dc1.count(), dc1.held()) == (16, 0)


def test_what_was_doubted_and_is_credibly_gone_in_a_mass_is_held_on() -> None:
    dc1 = source(pool(range(18)))
    dc1.says(None, doubt=LOST_ACL)
    dc1.now += 600
    dc1.says(pool(range(6)))

    assert (dc1.count(), dc1.held()) == (18, 12)


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        pytest.param(18, 0, 18, id="all of a pool"),
        pytest.param(18, 12, 6, id="a third of it"),
        pytest.param(18, 13, 0, id="five, but under 30 %"),
        pytest.param(16, 11, 5, id="five, and over 30 %"),
        pytest.param(10, 6, 0, id="40 %, but only four"),
        pytest.param(2, 1, 0, id="one of two"),
        pytest.param(4, 0, 0, id="four of four"),
    ],
)
def test_a_mass_loss_is_held_and_an_ordinary_one_is_not(before: int, after: int, held: int) -> None:
    dc1 = source(pool(range(before)))
    dc1.says(pool(range(after)) if after else None)

    assert dc1.held() == held
    assert dc1.count() == after + held


def test_a_loss_that_arrives_service_by_service_is_one_loss() -> None:
    dc1 = source(pool(range(10)), pool(range(10, 20), host=RATINGS))
    dc1.says(pool(range(7)))
    assert dc1.count() == 7
    dc1.now += 10

    hosts = dc1.says(pool(range(10, 16), host=RATINGS))

    assert sorted(hosts) == [RATINGS, REVIEWS]
    assert (dc1.held(REVIEWS), dc1.held(RATINGS), dc1.holds.held) == (3, 4, 7)


def test_losses_further_apart_than_the_window_are_not_added_up() -> None:
    dc1 = source(pool(range(20)))
    dc1.says(pool(range(16)))
    dc1.now += 31

    dc1.says(pool(range(12)))

    assert (dc1.count(), dc1.held()) == (12, 0)


@pytest.mark.parametrize("first", ["down", "up"])
def test_a_rolling_redeploy_on_new_ports_is_no_loss(first: str) -> None:
    dc1 = source(pool(range(18)))
    old, new = list(range(18)), list[int]()
    for number in range(6):
        steps = [lambda n=number: old.remove(n), lambda n=number: new.append(n)]
        for step in steps if first == "down" else reversed(steps):
            step()
            dc1.now += 1.5
            endpoints = [f"10.0.0.{n}:80" for n in old] + [f"10.0.0.{n}:8080" for n in new]
            dc1.says(service(*endpoints))
            assert dc1.held() == 0

    assert dc1.count() == 18


def test_a_blue_green_redeploy_is_no_loss() -> None:
    dc1 = source(pool(range(10)))
    both = service(*(f"10.0.0.{n}:{port}" for n in range(10) for port in (80, 8080)))
    dc1.says(both)
    dc1.now += 5
    dc1.says(pool(range(10), port=8080))

    assert (dc1.count(), dc1.held()) == (10, 0)


def test_additions_that_grow_old_do_not_make_the_loss_they_made_up_for_count_again() -> None:
    dc1 = source(pool(range(10)))
    dc1.says(service(*(f"10.0.0.{n}:{port}" for n in range(10) for port in (80, 8080))))
    dc1.now += 25
    dc1.says(pool(range(10), port=8080))
    dc1.now += 10  # the additions are too old to count by now, the loss is not
    dc1.says(pool(range(50, 52), host=RATINGS))
    dc1.says(pool(range(9), port=8080))

    assert (dc1.count(), dc1.holds.held) == (9, 0)


def test_new_ones_that_take_the_place_of_held_ones_release_them() -> None:
    dc1 = source(pool(range(18)))
    dc1.says(pool(range(12)))
    assert dc1.held() == 6
    dc1.now += 100

    endpoints = [f"10.0.0.{n}:80" for n in range(12)]
    dc1.says(service(*endpoints, "10.0.0.1:8080"))
    assert dc1.held() == 0  # five of 18 are missing: under 30 %


def test_a_hold_outlives_the_window() -> None:
    dc1 = source(pool(range(18)), pool(range(50, 52), host=RATINGS))
    dc1.says(None)
    dc1.now += 3600
    dc1.says(pool(range(50, 51), host=RATINGS))

    assert dc1.held() == 18
    assert dc1.count(RATINGS) == 1, "an ordinary loss beside it passes"


def test_an_operator_may_accept() -> None:
    dc1 = source(pool(range(18)), pool(range(20, 26), host=RATINGS))
    dc1.says(None)
    dc1.says(pool(range(20, 24), host=RATINGS))
    assert dc1.holds.held == 20

    dc1.accept()

    assert (dc1.count(), dc1.count(RATINGS), dc1.holds.held) == (0, 4, 0)
    dc1.says(pool(range(20, 23), host=RATINGS))
    assert dc1.count(RATINGS) == 3, "what was accepted counts no more"


def test_health_and_additions_are_never_held() -> None:
    dc1 = source(pool(range(6)))
    sick = [listed(f"10.0.0.{n}:80", health=Health.UNHEALTHY) for n in range(6)]
    dc1.says(service(*sick, "10.0.0.9:80"), doubt=LOST_ACL)

    assert (dc1.count(), dc1.held()) == (7, 0)
    assert [e.health for e in dc1.passed[REVIEWS].endpoints].count(Health.UNHEALTHY) == 6


def test_held_endpoints_keep_their_last_health() -> None:
    sick = [listed(f"10.0.0.{n}:80", health=Health.UNHEALTHY) for n in range(3)]
    dc1 = source(service(*sick))
    dc1.says(None, doubt=LOST_ACL)
    assert {e.health for e in dc1.passed[REVIEWS].endpoints} == {Health.UNHEALTHY}


@pytest.mark.parametrize("doubt", ["", LOST_ACL])
def test_what_left_our_own_registry_is_never_held(doubt: str) -> None:
    dc1 = source(pool(range(18)))
    left = [key(f"10.0.0.{n}:80") for n in range(9)]
    dc1.holds = holds.left_registry(dc1.holds, left, now=dc1.now)
    dc1.now += 60

    dc1.says(pool(range(9, 18)), doubt=doubt)

    assert (dc1.count(), dc1.held()) == (9, 0)


def test_leaving_our_registry_is_forgotten_after_a_while() -> None:
    dc1 = source(pool(range(18)))
    left = [key(f"10.0.0.{n}:80") for n in range(9)]
    dc1.holds = holds.left_registry(dc1.holds, left, now=dc1.now)
    dc1.now += 2 * holds.FORGIVEN_SECONDS
    dc1.says(pool(range(9, 18)))

    assert dc1.held() == 9


def test_a_stored_view_is_what_the_first_answer_is_compared_with() -> None:
    dc1 = Source()
    dc1.holds = holds.loaded(dc1.holds, pool(range(18)))
    dc1.says(None)
    assert (dc1.count(), dc1.held()) == (18, 18)


def test_what_was_held_before_a_restart_is_held_after_it() -> None:
    dc1 = source(pool(range(18)))
    dc1.says(pool(range(6)))
    again = Source()
    again.holds = holds.loaded(again.holds, dc1.passed[REVIEWS])
    assert again.holds.held == 12

    again.says(pool(range(6)))
    assert again.holds.held == 12
    again.says(pool(range(18)))
    assert (again.count(), again.holds.held) == (18, 0)


def test_a_new_service_that_goes_again_leaves_nothing_behind() -> None:
    dc1 = source(pool(range(20)))
    dc1.says(pool(range(30, 32), host=RATINGS))
    dc1.says(None, host=RATINGS)
    dc1.now += 60
    dc1.says(pool(range(20)))

    assert RATINGS not in dc1.holds.services
    assert not dc1.holds.moving
    assert dc1.holds.total == 20


numbers = st.frozensets(st.integers(0, 24), max_size=20)
answers = st.lists(
    st.tuples(st.sampled_from([REVIEWS, RATINGS]), numbers, st.booleans(), st.integers(0, 40)),
    max_size=12,
)


@given(answers)
def test_whatever_a_source_says(said: list[tuple[str, frozenset[int], bool, int]]) -> None:
    dc1 = Source()
    truth: dict[str, frozenset[EndpointKey]] = {}
    for host, present, doubted, pause in said:
        dc1.now += pause
        base = 0 if host == REVIEWS else 100
        endpoints = [f"10.0.0.{base + n}:80" for n in sorted(present)]
        listing = service(*endpoints, host=host) if endpoints else None
        dc1.says(listing, host=host, doubt=LOST_ACL if doubted else "")
        truth[host] = frozenset(key(text) for text in endpoints)
        for name in truth:
            passed = dc1.passed[name].endpoints if name in dc1.passed else ()
            free = {e.key for e in passed if not e.held}
            assert free == truth[name], "what is listed is passed on, and nothing else unmarked"
            assert len(passed) == len({e.key for e in passed})
        held = [e for s in dc1.passed.values() for e in s.endpoints if e.held]
        assert dc1.holds.held == len(held)
        known = dc1.holds.services.values()
        assert dc1.holds.total == sum(one.size for one in known)
        assert dc1.holds.recent == sum(one.recent_loss for one in known)
        assert dc1.holds.standing == sum(one.standing_loss for one in known)
        assert dc1.holds.keeping == sum(one.good > 0 for one in known)
    dc1.accept()
    assert dc1.holds.held == 0
    assert {h: frozenset(_keys(s)) for h, s in dc1.passed.items()} == {
        h: keys for h, keys in truth.items() if keys
    }


def _keys(listing: CatalogService) -> list[EndpointKey]:
    endpoints: tuple[CatalogEndpoint, ...] = listing.endpoints
    return [endpoint.key for endpoint in endpoints]
