import pytest

from hostmesh_core.xds.rejection import blamed

LONG = "outbound|80||a.default.mesh.internal"


@pytest.mark.parametrize(
    ("detail", "names", "bad"),
    [
        pytest.param("no", {"a"}, {"a"}, id="one resource leaves no doubt"),
        pytest.param("no", {"a", "b"}, set(), id="nobody is named"),
        pytest.param("no", set(), set(), id="nothing was sent but removals"),
        pytest.param("Error adding cluster(s) b: bad", {"a", "b"}, {"b"}, id="one is named"),
        pytest.param("b: bad, c: worse", {"a", "b", "c"}, {"b", "c"}, id="two are named"),
        pytest.param(f"Error: {LONG}.", {LONG, "x"}, {LONG}, id="a full stop may follow"),
        pytest.param(f"{LONG}.org: bad", {LONG, "x"}, set(), id="part of a longer name"),
        pytest.param(f"x{LONG}: bad", {LONG, "x"}, set(), id="tail of a longer name"),
        pytest.param("cannot bind port 80", {"80", "81"}, set(), id="a number is no name"),
    ],
)
def test_blamed(detail: str, names: set[str], bad: set[str]) -> None:
    assert blamed(detail, names) == bad
