from hostmesh_testing.catalogs import RULES


def test_rank_is_by_kind_then_by_order_then_by_name() -> None:
    names = ["dc1", "registered", "files", "unknown"]
    assert sorted(names, key=RULES.rank) == ["files", "registered", "dc1", "unknown"]
