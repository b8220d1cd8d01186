import pytest

from hostmesh_agent.logic import running
from hostmesh_core.errors import BadInput

TEXT = """\
control_planes: [cp1:15012]
services:
  - {name: web, port: 8080}
  - {name: api, port: 9090}
"""


def test_what_left_is_not_served_and_is_remembered() -> None:
    taken = running.read(TEXT, file="agent.yaml", left=["web"])
    assert [service.name for service in taken.config.services] == ["api"]
    assert taken.left == ("web",)
    assert (taken.file, taken.text) == ("agent.yaml", TEXT)


def test_what_left_and_is_listed_no_longer_is_forgotten() -> None:
    assert running.read(TEXT, file="agent.yaml", left=["gone"]).left == ()


def test_a_bad_file_is_refused_with_its_name() -> None:
    with pytest.raises(BadInput, match=r"agent\.yaml:1"):
        running.read("control_plane: [a:1]\n", file="agent.yaml")
