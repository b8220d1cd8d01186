import pytest

from hostmesh_controlplane.logic import weights
from hostmesh_controlplane.logic.catalog import CatalogEndpoint
from hostmesh_testing.catalogs import instance, key, listed, service

KEY = key("10.0.0.1:80")


def said(**by_source: int) -> list[tuple[str, CatalogEndpoint]]:
    return [(name, listed("10.0.0.1:80", weight=weight)) for name, weight in by_source.items()]


@pytest.mark.parametrize(
    ("words", "limit", "weight", "sentence"),
    [
        pytest.param(said(dc1=1), 0, 1, "", id="nobody says anything"),
        pytest.param(said(dc1=65535), 0, 65535, "", id="no limit yet"),
        pytest.param(said(dc1=20), 20, 20, "", id="as large as the largest was"),
        pytest.param(said(dc1=65535), 20, 20, "counts with weight 20, not 65535 as dc1", id="more"),
        pytest.param(said(files=900, dc1=5), 20, 900, "dc1 says 5", id="a file is not bound"),
        pytest.param(said(registered=50), 20, 50, "", id="a registration is not bound"),
        pytest.param(said(dc1=2), 20, 2, "", id="less is less"),
    ],
)
def test_the_weight_that_counts(
    words: list[tuple[str, CatalogEndpoint]], limit: int, weight: int, sentence: str
) -> None:
    trusted = frozenset({"files", "registered"})
    found, sentences = weights.settled(KEY, words, limit=limit, unlimited=trusted)
    assert found == weight
    assert bool(sentences) == bool(sentence)
    assert sentence in "".join(sentences)


def test_the_limit_is_the_largest_weight_that_is_there() -> None:
    listing = service(listed("10.0.0.1:80", weight=7), "10.0.0.2:80")
    assert weights.largest((("dc1", listing),), (instance("10.0.0.3:80"),)) == 7
    assert weights.largest((), ()) == 1
