import pytest

from hostmesh_agent.logic import left_services
from hostmesh_core.errors import BadInput


def test_it_reads_what_it_writes() -> None:
    written = left_services.encode(["web", "api", "web"])
    assert left_services.decode(written, where="left.json") == {"web", "api"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"version":1}', id="nothing in it"),
        pytest.param(b'{"version":2,"services":[]}', id="another version's"),
        pytest.param(b'{"version":1,"services":["../web"]}', id="no name"),
        pytest.param(b'{"version":1,"services":[],"more":1}', id="an unknown key"),
    ],
)
def test_what_it_did_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"left\.json"):
        left_services.decode(data, where="left.json")
