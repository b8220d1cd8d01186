"""The record of a host: stored and read again, found by what people call it."""

from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import host_record
from hostmesh_controlplane.logic.host_record import HostRecord, IssuedLast
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity

LAST = IssuedLast("ab12", 1000.0, "k" * 64)


def _host(host_id: str, hostname: str, **changes: object) -> HostRecord:
    record = HostRecord(
        host_id=host_id,
        hostname=hostname,
        grant=Grant((Claim("default", "web", "web"),)),
        token_id="0" * 16,
        enrolled_at=5.0,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


WEB1 = _host("a1b2" + "0" * 28, "web-1")
WEB2 = _host("a1ff" + "0" * 28, "web-2")
OLD = _host("cccc" + "0" * 28, "web-1", revoked_at=9.0)
TWIN_A, TWIN_B = _host("dd01" + "0" * 28, "twin"), _host("dd02" + "0" * 28, "twin")
ALL = [WEB1, WEB2, OLD, TWIN_A, TWIN_B]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(WEB1.host_id, WEB1, id="a whole id"),
        pytest.param("a1b2", WEB1, id="the beginning of an id"),
        pytest.param("web-2", WEB2, id="a name"),
        pytest.param("web-1", WEB1, id="a name whose other host was revoked"),
        pytest.param(OLD.host_id, OLD, id="the id of a revoked host"),
        pytest.param("dd01", TWIN_A, id="the beginning of an id where the name is shared"),
    ],
)
def test_a_host_is_found_by(text: str, found: HostRecord) -> None:
    assert host_record.find(ALL, text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("web-3", "cannot find host 'web-3'; did you mean \"web-2\"?", id="a typo"),
        pytest.param("a1", "cannot find host", id="too short a beginning"),
        pytest.param("", "cannot find host", id="nothing"),
        pytest.param("twin", "cannot tell which host is meant by 'twin'", id="a shared name"),
    ],
)
def test_no_host_is_found_by(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        host_record.find(ALL, text)
    assert words in str(caught.value)


def test_an_ambiguous_beginning_lists_the_ids() -> None:
    near = _host("a1b2" + "1" * 28, "x")
    with pytest.raises(BadInput, match="write the id") as caught:
        host_record.find([*ALL, near], "a1b2")
    assert WEB1.host_id in str(caught.value)
    assert near.host_id in str(caught.value)


LEFT = _host("c" * 32, "web-9", enrolled_at=1.0)
AGAIN = _host("d" * 32, "web-9", enrolled_at=2.0)


@pytest.mark.parametrize(
    ("connected", "expected"),
    [
        pytest.param({AGAIN.host_id}, AGAIN, id="it left and joined again"),
        pytest.param(
            set(), f"{LEFT.host_id} (away), {AGAIN.host_id} (away, joined last)", id="away"
        ),
        pytest.param({LEFT.host_id}, f"{LEFT.host_id} (connected)", id="the newest is not there"),
        pytest.param({LEFT.host_id, AGAIN.host_id}, "(connected, joined last)", id="two of a name"),
    ],
)
def test_of_two_records_of_a_name_the_newest_is_meant_where_it_alone_is_there(
    connected: set[str], expected: HostRecord | str
) -> None:
    hosts = [LEFT, AGAIN, *ALL]
    if isinstance(expected, HostRecord):
        assert host_record.find(hosts, "web-9", connected=connected.__contains__) == expected
        return
    with pytest.raises(BadInput) as caught:
        host_record.find(hosts, "web-9", connected=connected.__contains__)
    assert expected in str(caught.value)
    assert "write the id" in str(caught.value)


def test_what_is_stored_is_read_again() -> None:
    record = _host(
        "a" * 32,
        "web-1",
        host=LAST,
        workloads=((Identity("default", "web"), LAST), (Identity("x", "y"), LAST)),
        revoked_at=7.0,
        revoked_why="stolen",
        enrolled_from="10.0.0.7",
    )
    assert HostRecord.from_bytes(record.to_bytes()) == record
    assert HostRecord.from_bytes(WEB1.to_bytes()) == WEB1


def test_the_last_certificate_of_each_identity_is_known() -> None:
    web = Identity("default", "web")
    record = _host("a" * 32, "web-1", host=LAST, workloads=((web, replace(LAST, serial="2")),))
    assert record.issued(None) == LAST
    last = record.issued(web)
    assert last is not None
    assert last.serial == "2"
    assert record.issued(Identity("default", "other")) is None


def test_a_host_has_the_id_that_its_certificate_states() -> None:
    assert str(WEB1.spiffe_id("mesh.internal")).endswith(f"/hostmesh/host/{WEB1.host_id}")


def test_hours_left_are_those_of_the_host_certificate() -> None:
    record = _host("a" * 32, "web-1", host=replace(LAST, not_after=7200.0))
    assert record.hours_left(0.0) == 2
    assert record.hours_left(9000.0) == 0
    assert WEB1.hours_left(0.0) == 0
