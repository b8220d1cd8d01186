import pytest

from hostmesh_controlplane.logic.config_kinds.resource import Unusable, read_resource
from hostmesh_controlplane.logic.config_kinds.workload_entry import (
    WorkloadEntrySpec,
    read_workload_entry,
)
from hostmesh_core.documents import load_all
from hostmesh_core.model import Locality

GOOD = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec:
  address: 10.0.0.1
  labels: {app: reviews}
  locality: eu/eu-1/rack7
"""


def read(text: str) -> WorkloadEntrySpec:
    (document,) = load_all(text, file="we.yaml")
    kinds = ("ServiceEntry", "WorkloadEntry")
    return read_workload_entry(read_resource(document, kinds=kinds, file_kind="the catalog"))


def test_a_workload_entry() -> None:
    spec = read(GOOD)
    assert (spec.address, spec.labels) == ("10.0.0.1", {"app": "reviews"})
    assert spec.place == Locality("eu", "eu-1", "rack7")


def test_addresses_get_their_one_canonical_form() -> None:
    assert read(GOOD.replace("10.0.0.1", '"FD77:0::1"')).address == "fd77::1"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("  address: 10.0.0.1\n", "", "spec.address is missing", id="no address"),
        pytest.param("address", "adress", 'mean "address"?', id="misspelt address"),
        pytest.param("app: reviews", "app: 1", "spec.labels.app: expected a text", id="number"),
        pytest.param("app: reviews", "'': x", "a label without a name", id="empty label"),
        pytest.param("locality: eu/", "locality: /", "expected region", id="no region"),
        pytest.param("locality: ", "region: ", 'unknown key "region" in spec', id="no such key"),
    ],
)
def test_wrong_workload_entries(old: str, new: str, words: str) -> None:
    with pytest.raises(Unusable) as caught:
        read(GOOD.replace(old, new, 1))
    assert words in str(caught.value)
    assert "WorkloadEntry default/reviews-1: " in str(caught.value)
