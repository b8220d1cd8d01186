from collections.abc import Iterator

import pytest

from hostmesh_testing.bad_calls import CATALOG, Running
from hostmesh_testing.plane_process import plane_process


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with plane_process() as plane:
        (plane.catalog / "services.yaml").write_text(CATALOG)
        plane.start()
        host = plane.enrol("web-1", service=["web"], cidr=["10.9.0.0/24"])
        plane.token(service=["web"], uses=3)
        yield Running(plane, host)
