import pytest

from hostmesh_controlplane.logic.source_limits import SHOWN, Remarks, bounded, left_out
from hostmesh_testing.catalogs import service

MANY = service(*(f"10.0.0.{n}:80" for n in range(1, 11)))


def test_a_service_within_its_limits_is_as_it_was() -> None:
    assert bounded(MANY, known=None, most=10, room=10) is MANY


@pytest.mark.parametrize(
    ("most", "room", "key"), [(3, 100, "max_endpoints_per_service"), (100, 3, "max_endpoints")]
)
def test_what_is_passed_on_already_keeps_its_place(most: int, room: int, key: str) -> None:
    known = service("10.0.0.9:80", "10.0.0.8:80")
    found = bounded(MANY, known=known, most=most, room=room)
    kept = [str(endpoint.key) for endpoint in found.endpoints]
    assert kept == ["10.0.0.1:80", "10.0.0.8:80", "10.0.0.9:80"]
    assert found.problems == (
        f"{MANY.host}: endpoints are left out, 3 are as many as {key} allows",
    )


def test_no_room_is_no_endpoint() -> None:
    assert bounded(MANY, known=None, most=10, room=-5).endpoints == ()


def test_names_that_are_left_out_are_named_in_one_sentence() -> None:
    assert left_out((), most=5) == ""
    said = left_out(tuple(f"flood-{n}" for n in range(4000)), most=5)
    assert said.startswith("4000 Consul services are left out (flood-0, flood-1, flood-2, …): ")
    assert "max_services 5" in said


def test_remarks_are_few_whatever_comes() -> None:
    remarks = Remarks()
    told = set()
    for number in range(5000):
        remarks.put(f"s{number}", f"cannot take s{number:04}")
        told.add(remarks.texts)
    assert len(remarks.texts) == SHOWN + 1
    assert remarks.texts[-1] == "1000 or more other Consul services cannot be taken either"
    assert len(told) <= SHOWN + 5  # each is a line in the log
    remarks.put("s0", "cannot take it for another reason")
    assert "cannot take it for another reason" in remarks.texts
    for number in range(5000):
        remarks.drop(f"s{number}")
    assert remarks.texts == ()
