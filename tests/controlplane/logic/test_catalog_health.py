import pytest

from hostmesh_controlplane.logic.catalog_health import Word, bounded, set_aside
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Endpoint, Health

WELL, ILL = Health.HEALTHY, Health.UNHEALTHY
WEB = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/web")


def at(number: int) -> tuple[int, EndpointKey]:
    return 80, EndpointKey.of(f"10.0.0.{number}", 80)


def numbers(found: frozenset[tuple[int, EndpointKey]]) -> set[int]:
    return {int(key.address.rpartition(".")[2]) for _, key in found}


@pytest.mark.parametrize(
    ("words", "beside", "expected"),
    [
        pytest.param({1: Word(WELL, WELL), 2: Word(WELL, WELL)}, (), set(), id="all is well"),
        pytest.param({1: Word(WELL, ILL), 2: Word(WELL, WELL)}, (), set(), id="half: followed"),
        pytest.param({1: Word(WELL, ILL)}, (), {1}, id="the only one stays"),
        pytest.param({1: Word(WELL, ILL)}, (80,), set(), id="the only one beside unmeshed ones"),
        pytest.param({1: Word(WELL, ILL)}, (81,), {1}, id="beside means on the same port"),
        pytest.param(
            {n: Word(WELL, ILL, since=10.0 - n) for n in range(1, 6)},
            (),
            {1, 2, 3},
            id="of all five the first two that were named are out",
        ),
        pytest.param(
            {n: Word(WELL, ILL, since=5.0) for n in range(1, 4)},
            (80,),
            {3},
            id="beside unmeshed ones half is rounded up; of equals the smaller key",
        ),
        pytest.param(
            {1: Word(ILL, ILL), 2: Word(WELL, ILL), 3: Word(WELL, WELL)},
            (),
            set(),
            id="what is ill by its own word does not count",
        ),
        pytest.param(
            {1: Word(ILL, ILL), 2: Word(WELL, ILL)}, (), {2}, id="the last that is well stays"
        ),
        pytest.param({1: Word(WELL, Health.DEGRADED)}, (), set(), id="degraded takes nothing out"),
    ],
)
def test_whose_catalogs_word_is_not_followed(
    words: dict[int, Word], beside: tuple[int, ...], expected: set[int]
) -> None:
    found = set_aside({at(n): word for n, word in words.items()}, beside=beside)
    assert numbers(found) == expected


def test_each_port_by_itself() -> None:
    words = {(port, EndpointKey.of("10.0.0.1", port)): Word(WELL, ILL) for port in (80, 81)}
    assert len(set_aside(words, beside=(81,))) == 1


def test_an_instance_that_stays_says_why_and_what_was_said() -> None:
    key = EndpointKey.of("10.0.0.1", 80)
    ill = Endpoint(key, 80, 80, identity=WEB, health=ILL, reasons=("dc1: critical",))
    words = {(80, key): Word(Health.DEGRADED, ILL)}
    (one,), (said,) = bounded([ill], words, mesh=True)
    assert one.health is Health.DEGRADED
    assert one.reasons[0] == "dc1: critical"
    assert one.reasons[1].startswith("not followed: ")
    assert said.startswith("catalogs call 1 registered instance(s) unhealthy beyond half")


def test_in_state_mesh_unmeshed_endpoints_are_nobody_beside() -> None:
    key = EndpointKey.of("10.0.0.1", 80)
    ill = Endpoint(key, 80, 80, identity=WEB, health=ILL)
    plain = Endpoint(EndpointKey.of("10.0.0.2", 80), 80, 80)
    words = {(80, key): Word(WELL, ILL)}
    assert bounded([ill, plain], words, mesh=False) == ([ill, plain], [])
    assert bounded([ill, plain], words, mesh=True)[0][0].health is WELL
