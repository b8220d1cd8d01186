import pytest

from hostmesh_controlplane.logic.config_kinds.resource import (
    ObjectName,
    Unusable,
    annotations,
    read_resource,
)
from hostmesh_core.documents import load_all

GOOD = "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a}, spec: {}}"


def test_the_object_is_named_by_kind_namespace_and_name() -> None:
    (document,) = load_all(GOOD, file="a.yaml")
    resource = read_resource(document, kinds=("WorkloadEntry",), file_kind="the catalog")
    assert resource.name == ObjectName("WorkloadEntry", "default", "a")
    assert resource.origin == "a.yaml:1"
    assert annotations(resource, ()) == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("[1, 2]", None, id="a list is nobody's"),
        pytest.param("{kind: WorkloadEntry}", None, id="no name is nobody's"),
        pytest.param(
            "{kind: WorkloadEntry, metadata: {name: 1}}", None, id="a number for a name is nobody's"
        ),
        pytest.param("{kind: [], metadata: {name: a}}", None, id="no kind is nobody's"),
        pytest.param(
            "{kind: WorkloadEntry, metadata: {name: a}, sepc: {}}",
            ObjectName("WorkloadEntry", "default", "a"),
            id="a bad body is still this object's",
        ),
    ],
)
def test_a_bad_document_says_whose_it_is_where_it_can(text: str, name: ObjectName | None) -> None:
    (document,) = load_all(text, file="a.yaml")
    with pytest.raises(Unusable) as caught:
        read_resource(document, kinds=("WorkloadEntry",), file_kind="the catalog")
    assert caught.value.name == name
    assert caught.value.problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("just words", 'not "just words"', id="bare text"),
        pytest.param("[1, 2]", "not a list", id="a list"),
    ],
)
def test_a_document_that_holds_no_keys_is_not_given_an_empty_name(text: str, said: str) -> None:
    (document,) = load_all(text, file="a.yaml")
    with pytest.raises(Unusable) as caught:
        read_resource(document, kinds=("WorkloadEntry",), file_kind="the catalog")
    assert [str(problem) for problem in caught.value.problems] == [
        f"cannot use a.yaml:1: expected keys and values, {said}"
    ]
