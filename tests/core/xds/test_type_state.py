import pytest

from hostmesh_core.type_urls import CLUSTER
from hostmesh_core.xds.reports import Nacked, TypeStatus
from hostmesh_core.xds.subscription import Subscription
from hostmesh_core.xds.type_state import TypeState

REFUSED = Nacked(CLUSTER, "3", "n3", ("b", "a"), "bad")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        pytest.param(
            TypeState(CLUSTER),
            TypeStatus(
                CLUSTER,
                wildcard=False,
                subscribed=0,
                sent="",
                acked="",
                nacked=None,
                quarantined=(),
            ),
            id="before the first response there is no version",
        ),
        pytest.param(
            TypeState(CLUSTER, Subscription(wildcard=True, names={"a", "b"}), count=2, acked="2"),
            TypeStatus(
                CLUSTER,
                wildcard=True,
                subscribed=2,
                sent="2",
                acked="2",
                nacked=None,
                quarantined=(),
            ),
            id="the wildcard is not counted among the names",
        ),
        pytest.param(
            TypeState(CLUSTER, quarantine={"b": "1", "a": "1"}, count=3, nacked=REFUSED),
            TypeStatus(
                CLUSTER,
                wildcard=False,
                subscribed=0,
                sent="3",
                acked="",
                nacked=REFUSED,
                quarantined=("a", "b"),
            ),
            id="what was refused is named in order",
        ),
    ],
)
def test_where_a_type_stands(state: TypeState, status: TypeStatus) -> None:
    assert state.status() == status
