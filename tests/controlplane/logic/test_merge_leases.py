"""What is left of an instance whose host fell silent, and of one that left in order."""

from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_core.model import ServiceState
from hostmesh_testing.catalogs import HTTP_9080, RATINGS, REVIEWS, Mesh, instance, key, service

A, B = "a" * 32, "b" * 32


def test_an_ended_lease_keeps_the_endpoint_out_whatever_the_catalog_says() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    mesh.register(instance("10.0.0.1:9080"))

    step = mesh.end_lease()

    assert mesh.table() == {"10.0.0.2:9080": "dc1"}
    assert "lease or grant ended" in mesh.service().withheld[0].reason
    assert step.records[0][1].ended == (key("10.0.0.1:9080"),)


def test_what_is_withdrawn_from_a_host_is_out_whatever_the_catalog_says() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    web, other = instance("10.0.0.1:9080"), instance("10.0.0.1:7070", host=RATINGS)
    mesh.register(web, other)

    mesh.take(merge.register(mesh.state, A, (other,), withdrawn=(web,)))

    assert mesh.table() == {"10.0.0.2:9080": "dc1"}
    assert mesh.state.record(REVIEWS).ended == (key("10.0.0.1:9080"),)
    assert mesh.table(RATINGS) == {"10.0.0.1:7070": "registered+mtls"}
    mesh.register(web, other)
    assert mesh.table()["10.0.0.1:9080"] == "registered+dc1+mtls"


def test_a_service_whose_only_instance_is_withdrawn_stays_known() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080"))
    mesh.take(merge.register(mesh.state, A, (), withdrawn=(instance("10.0.0.1:9080"),)))
    assert mesh.service().endpoints == ()
    mesh.register()
    assert REVIEWS in mesh.state.services


@pytest.mark.parametrize("way", ["registered again", "dropped by its catalog", "released"])
def test_an_ended_key_returns(way: str) -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    mesh.register(instance("10.0.0.1:9080"))
    mesh.end_lease()

    if way == "registered again":
        mesh.register(instance("10.0.0.1:9080", host_id=B), host_id=B)
    elif way == "dropped by its catalog":
        mesh.catalog("dc1", service("10.0.0.2:9080"))
        mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    else:
        record = replace(mesh.state.record(REVIEWS), ended=())
        mesh.take(merge.set_record(mesh.state, REVIEWS, record))

    assert "10.0.0.1:9080" in mesh.table()
    assert mesh.state.record(REVIEWS).ended == ()


def test_an_ended_key_survives_a_restart_while_its_source_has_not_spoken() -> None:
    mesh = Mesh(certain=False)
    stored = ServiceRecord(ServiceState.MIXED, ended=(key("10.0.0.1:9080"),))
    mesh.take(merge.set_record(mesh.state, REVIEWS, stored))
    mesh.catalog("files", service("10.0.0.3:9080", ports=(HTTP_9080,)))
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))

    assert set(mesh.table()) == {"10.0.0.2:9080", "10.0.0.3:9080"}


def test_a_service_whose_only_instance_fell_silent_stays_known() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080"))
    before = mesh.service()

    mesh.end_lease()

    assert mesh.service().endpoints == ()
    assert (mesh.service().ports, mesh.service().vip4) == (before.ports, before.vip4)
    mesh.register(instance("10.0.0.1:9080"))
    assert mesh.service() == before
    mesh.register()
    assert REVIEWS not in mesh.state.services


def test_a_clean_leave_gives_the_endpoint_back_to_its_catalog() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080"))
    mesh.register(instance("10.0.0.1:9080"))

    mesh.register()

    assert mesh.table() == {"10.0.0.1:9080": "dc1"}
    assert mesh.service().state is ServiceState.MIXED


def test_an_address_that_changed_is_never_a_second_endpoint_of_its_instance() -> None:
    """A catalog lists the old one for a while: in plaintext it would be the same instance again."""
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    mesh.register(instance("10.0.0.1:9080"))
    mesh.register(instance("10.0.0.9:9080"))
    shown = [(str(e.key), e.meshed) for e in mesh.service().endpoints]
    assert shown == [("10.0.0.2:9080", False), ("10.0.0.9:9080", True)]
    mesh.register(instance("10.0.0.1:9080"))
    assert ("10.0.0.1:9080", True) in [(str(e.key), e.meshed) for e in mesh.service().endpoints]
