import pytest

from hostmesh_agent.redirector import shared
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.saved import Table
from hostmesh_agent.redirector.shared import Before

NOTED = Before(
    world="boot 7",
    source=True,
    tables={
        "nat": {Family.V4: frozenset({"OUTPUT", "DOCKER"}), Family.V6: frozenset()},
        "filter": {Family.V6: frozenset({"INPUT"})},
    },
)


def test_what_is_written_is_what_is_read() -> None:
    assert Before.decode(NOTED.encode(), where="shared") == NOTED


def test_what_an_older_version_noted_of_its_one_table_stays() -> None:
    old = (
        b'{"version":1,"world":"boot 7","source":true,'
        b'"nat":[{"family":4,"chains":["DOCKER","OUTPUT"]},{"family":6,"chains":[]}]}'
    )
    assert Before.decode(old, where="shared").tables == {"nat": NOTED.tables["nat"]}


def test_a_table_that_was_not_there_is_none() -> None:
    assert NOTED.chains("nat", Family.V6) == frozenset()
    assert Before(world="", source=False, tables={"nat": {}}).chains("nat", Family.V6) is None


@pytest.mark.parametrize(
    ("rules", "policy", "had", "goes"),
    [
        pytest.param((), "ACCEPT", None, {"OUTPUT"}, id="it came with us"),
        pytest.param((), "ACCEPT", {"OUTPUT"}, set(), id="it was there before"),
        pytest.param(("-j ACCEPT",), "ACCEPT", None, set(), id="somebody put a rule there since"),
        pytest.param((), "DROP", None, set(), id="somebody set its policy since"),
    ],
)
def test_which_chains_go_with_us(
    rules: tuple[str, ...], policy: str, had: set[str] | None, goes: set[str]
) -> None:
    table = Table({"OUTPUT": rules}, frozenset({"OUTPUT"}), {"OUTPUT": policy})
    before = None if had is None else frozenset(had)
    there = frozenset({"OUTPUT", "SOMEBODYS"})
    assert shared.made("nat", table, there, before) == goes
