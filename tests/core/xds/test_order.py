from hostmesh_core import type_urls
from hostmesh_core.xds import order

OTHER = "type.googleapis.com/example.Opaque"


def test_additions_follow_what_refers_to_what_and_strangers_come_last() -> None:
    shuffled = [OTHER, *reversed(type_urls.ORDER)]
    assert order.additions(shuffled) == [*type_urls.ORDER, OTHER]


def test_removals_are_the_reverse() -> None:
    assert order.removals(type_urls.ORDER) == list(reversed(type_urls.ORDER))
