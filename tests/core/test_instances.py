import pytest

from hostmesh_core import instances
from hostmesh_core.errors import BadInput


@pytest.mark.parametrize("name", ["default", "gw", "a", "edge-2", "a" * 20])
def test_a_short_word_names_an_instance(name: str) -> None:
    assert instances.checked(name) == name


@pytest.mark.parametrize(
    "name", ["", "a" * 21, "-a", "a-", "Edge", "a.b", "a/b", "../../etc", "é", "a\n"]
)
def test_a_path_or_anything_else_does_not(name: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot use --instance '.*': expected lower-case letters"):
        instances.checked(name)
