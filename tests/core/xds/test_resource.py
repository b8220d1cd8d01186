from hostmesh_core.type_urls import CLUSTER, ENDPOINT
from hostmesh_core.xds.resource import resource, version_of


def test_equal_bytes_have_one_version_whatever_they_are() -> None:
    one, other = resource(CLUSTER, "a", b"x"), resource(ENDPOINT, "b", b"x")
    assert one.version == other.version == version_of(b"x")


def test_other_bytes_have_another_version() -> None:
    assert version_of(b"x") != version_of(b"y")


def test_a_version_is_the_same_on_every_machine_and_for_ever() -> None:
    """Agents keep them on disk across releases: another hash would send everything again."""
    assert version_of(b"hostmesh") == "8f2d7c7dbeb328c452f6"
