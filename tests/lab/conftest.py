"""The lab: real Envoy, real Consul, hosts made of namespaces. Nothing here is mocked."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo import consul_binary
from hostmesh_ctl.demo.hosts import Lab, sweep
from hostmesh_testing import lab_mesh

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rootless = pytest.mark.skip(reason="this machine gives no root: the lab needs it")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(rootless)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for `consul_bin` once for every Consul of CONSUL_BINS, or for the one found."""
    if "consul_bin" in metafunc.fixturenames:
        named = [text for text in os.environ.get("CONSUL_BINS", "").split(":") if text]
        metafunc.parametrize("consul_choice", named or ["found"], scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After each test: no Envoy of its mesh has rejected anything or waits for something."""
    result = yield
    lab_mesh.LIVING[:] = [mesh for mesh in lab_mesh.LIVING if not mesh.lab.closed]
    complaints = [line for mesh in lab_mesh.LIVING for line in mesh.complaints()]
    assert complaints == [], f"after {item.name}"
    return result


@pytest.fixture(scope="session")
def consul_bin(consul_choice: str) -> Path:
    """A real Consul. Missing is a failure, never a skip."""
    return (
        consul_binary.find(os.environ, print) if consul_choice == "found" else Path(consul_choice)
    )


@pytest.fixture(scope="session", autouse=True)
def _swept() -> None:
    sweep()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab for one test, in which the test's Consul can be run."""
    with_consul = "consul_bin" in request.fixturenames
    exposed = [request.getfixturevalue("consul_bin")] if with_consul else []
    with Lab(exposed=exposed) as made:
        yield made
