import pytest

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER
from hostmesh_core.xds.subscription import Subscription, is_legacy_wildcard


def test_names_and_the_wildcard_come_and_go_apart() -> None:
    wanted = Subscription()
    wanted.add(["*", "a"])
    assert wanted.covers("b")
    wanted.remove(["*", "never asked for"])
    assert not wanted.covers("b")
    assert wanted.covers("a")


@pytest.mark.parametrize(
    ("wanted", "names", "among"),
    [
        pytest.param(Subscription(wildcard=True), ["b", "a"], ["a", "b"], id="wildcard"),
        pytest.param(Subscription(names={"a", "b", "c"}), ["c", "x"], ["c"], id="few of many"),
        pytest.param(Subscription(names={"a"}), ["a", "b", "c"], ["a"], id="many of few"),
    ],
)
def test_among(wanted: Subscription, names: list[str], among: list[str]) -> None:
    assert wanted.among(names) == among


@pytest.mark.parametrize(
    ("type_url", "first", "asked", "everything"),
    [
        pytest.param(LISTENER, True, False, True, id="a first request that names nothing"),
        pytest.param(CLUSTER, False, False, False, id="a later one"),
        pytest.param(CLUSTER, True, True, False, id="a first one that names something"),
        pytest.param(ENDPOINT, True, False, False, id="a type that is always named"),
    ],
)
def test_the_wildcard_that_is_not_said(
    type_url: str,
    first: bool,  # noqa: FBT001
    asked: bool,  # noqa: FBT001
    everything: bool,  # noqa: FBT001
) -> None:
    assert is_legacy_wildcard(type_url, first=first, asked=asked) is everything
