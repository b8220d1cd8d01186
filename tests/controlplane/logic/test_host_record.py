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
AGAIN = _host("d" * 32, "web-9", enrolled_at=2.0, enrolled_from="10.0.0.9")
NEWEST = f"{AGAIN.host_id} (named web-9, {{}}, joined from 10.0.0.9, joined last)"


@pytest.mark.parametrize(
    ("connected", "expected"),
    [
        pytest.param({AGAIN.host_id}, AGAIN, id="it left and joined again"),
        pytest.param(
            set(),
            f"{LEFT.host_id} (named web-9, away), {NEWEST.format('away')}",
            id="away",
        ),
        pytest.param({LEFT.host_id}, "(named web-9, connected)", id="the newest is not there"),
        pytest.param({LEFT.host_id, AGAIN.host_id}, NEWEST.format("connected"), id="two of a name"),
    ],
)
def test_who_only_reads_means_the_newest_of_a_name_where_it_alone_is_there(
    connected: set[str], expected: HostRecord | str
) -> None:
    def read() -> HostRecord:
        is_there = connected.__contains__
        return host_record.find([LEFT, AGAIN, *ALL], "web-9", connected=is_there, only_read=True)

    if isinstance(expected, HostRecord):
        assert read() == expected
        return
    with pytest.raises(BadInput) as caught:
        read()
    assert expected in str(caught.value)
    assert "write the id" in str(caught.value)


VICTIM = _host("7f3a1b2c" + "0" * 24, "db1", enrolled_at=1.0)


@pytest.mark.parametrize(
    ("rogue", "text"),
    [
        pytest.param("7f3a1b2c", "7f3a1b2c", id="the beginning of another's id"),
        pytest.param("db1", "db1", id="another's name, while that one is away"),
    ],
)
def test_a_host_that_chooses_its_name_captures_no_change_that_is_meant_for_another(
    rogue: str, text: str
) -> None:
    record = _host("e" * 32, rogue, enrolled_at=2.0)
    with pytest.raises(BadInput, match="cannot tell which host") as caught:
        host_record.find([VICTIM, record], text, connected={record.host_id}.__contains__)
    assert f"{VICTIM.host_id} (named db1, away)" in str(caught.value)
    assert f"{record.host_id} (named {rogue}, connected, joined last)" in str(caught.value)


def test_no_name_wins_over_the_beginning_of_an_id_for_who_reads_either() -> None:
    record = _host("e" * 32, "7f3a1b2c", enrolled_at=2.0)
    with pytest.raises(BadInput, match="cannot tell which host"):
        host_record.find(
            [VICTIM, record], "7f3a1b2c", connected={record.host_id}.__contains__, only_read=True
        )


def test_what_looks_like_a_whole_id_is_no_name() -> None:
    rogue = _host("e" * 32, VICTIM.host_id)
    assert host_record.find([VICTIM, rogue], VICTIM.host_id) == VICTIM
    with pytest.raises(BadInput, match="cannot find host"):
        host_record.find([rogue], VICTIM.host_id)


def test_of_a_revoked_host_the_beginning_of_its_id_is_no_other_hosts_name() -> None:
    gone = replace(VICTIM, revoked_at=3.0)
    with pytest.raises(BadInput, match=r"cannot tell .* \(named db1, revoked\)"):
        host_record.find([gone, _host("e" * 32, "7f3a1b2c")], "7f3a1b2c")


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
