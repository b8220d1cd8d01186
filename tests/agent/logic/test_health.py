import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.config import HealthCheck, ServiceConfig
from hostmesh_agent.logic.health import AppHealth, next_check, observe, source, where

CHECK = HealthCheck(interval_seconds=2.0, unhealthy_after=2, healthy_after=1)


def after(*results: str, check: HealthCheck = CHECK) -> AppHealth:
    """Give the state after these results: `.` is well, `x` is a failure."""
    state = AppHealth()
    for result in "".join(results):
        state = observe(state, "" if result == "." else "connection refused", check)
    return state


@pytest.mark.parametrize(
    ("results", "healthy"),
    [
        pytest.param("", None, id="nothing is known before the first check"),
        pytest.param(".", True, id="the first result counts when it is good"),
        pytest.param("x", False, id="the first result counts when it is bad"),
        pytest.param(".x", True, id="one lost packet takes nobody out"),
        pytest.param(".xx", False, id="two failures in a row do"),
        pytest.param(".x.x.x", True, id="failures that are not in a row do not"),
        pytest.param(".xx.", True, id="one good answer brings it back"),
    ],
)
def test_thresholds(results: str, healthy: bool | None) -> None:  # noqa: FBT001
    assert after(results).healthy is healthy


def test_three_good_answers_in_a_row_where_three_are_asked_for() -> None:
    check = HealthCheck(healthy_after=3)
    assert after(".xx..", check=check).healthy is False
    assert after(".xx...", check=check).healthy is True


def test_the_reason_is_the_last_failure_s_and_goes_with_it() -> None:
    assert after(".xx").reason == "connection refused"
    assert after(".xx.").reason == ""
    state = observe(after("x"), "no answer within 1 s", CHECK)
    assert state.reason == "no answer within 1 s"


@pytest.mark.parametrize(
    ("results", "interval", "low", "high"),
    [
        pytest.param(".", 2.0, 1.8, 2.2, id="well: about the interval"),
        pytest.param("x", 2.0, 1.8, 2.2, id="down: about the interval"),
        pytest.param(".x", 2.0, 0.45, 0.55, id="in doubt: a quarter of it"),
        pytest.param("x", 0.1, 0.09, 0.11, id="a short interval"),
        pytest.param(".x", 0.5, 0.225, 0.275, id="in doubt, but not sooner than a quarter second"),
        pytest.param(".x", 0.1, 0.09, 0.11, id="in doubt, but not later than the interval"),
    ],
)
def test_the_pace_follows_the_doubt(results: str, interval: float, low: float, high: float) -> None:
    check = HealthCheck(interval_seconds=interval)
    assert next_check(after(results), check, 0.0) == pytest.approx(low)
    assert next_check(after(results), check, 1.0) == pytest.approx(high)


@given(st.text(alphabet=".x", max_size=40))
def test_a_change_needs_its_number_of_results_in_a_row(results: str) -> None:
    states = [after(results[:count]).healthy for count in range(1, len(results) + 1)]
    for place in range(1, len(states)):
        if states[place] != states[place - 1]:
            needed = 1 if states[place] else CHECK.unhealthy_after
            assert len(set(results[place - needed + 1 : place + 1])) == 1


WEB = ServiceConfig(name="web", port=8080)


@pytest.mark.parametrize(
    ("service", "registered", "own", "expected"),
    [
        pytest.param(
            WEB, ["10.0.0.4"], {"10.0.0.4"}, ("10.0.0.4", 8080), id="the address that is dialled"
        ),
        pytest.param(
            WEB,
            ["203.0.113.9", "10.0.0.4"],
            {"10.0.0.4"},
            ("10.0.0.4", 8080),
            id="never one behind NAT",
        ),
        pytest.param(WEB, ["203.0.113.9"], {"10.0.0.4"}, ("127.0.0.1", 8080), id="else loopback"),
        pytest.param(WEB, [], {"10.0.0.4"}, ("127.0.0.1", 8080), id="not registered yet"),
        pytest.param(
            ServiceConfig(name="web", port=8080, listen="127.0.0.1:8080"),
            ["10.0.0.4"],
            {"10.0.0.4"},
            ("127.0.0.1", 8080),
            id="what listen says",
        ),
        pytest.param(
            ServiceConfig(name="web", port=8080, listen="[::1]:8080"),
            [],
            set[str](),
            ("::1", 8080),
            id="what listen says, IPv6",
        ),
        pytest.param(
            ServiceConfig(name="web", port=8080, mesh_port=9000),
            ["10.0.0.4"],
            {"10.0.0.4"},
            ("127.0.0.1", 8080),
            id="explicit mode: Envoy has the outer port, the app is behind it",
        ),
    ],
)
def test_where_the_app_is_asked(
    service: ServiceConfig, registered: list[str], own: set[str], expected: tuple[str, int]
) -> None:
    assert where(service, registered, own) == expected


@pytest.mark.parametrize(
    ("address", "expected"), [("10.0.0.4", "127.0.0.6"), ("127.0.0.1", "127.0.0.6"), ("::1", "::6")]
)
def test_checks_come_from_the_address_that_no_rule_captures(address: str, expected: str) -> None:
    assert source(address) == expected
