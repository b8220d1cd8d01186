import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.errors import BadInput
from hostmesh_core.redirect_files import (
    EnvoyProcess,
    NameTable,
    Outcome,
    RedirectState,
    Report,
    Wanted,
)

addresses = st.ip_addresses().map(str)
ports = st.integers(1, 65535)
states = st.builds(
    RedirectState,
    sequence=st.integers(0, 2**40),
    wanted=st.sampled_from(Wanted),
    envoy=st.none()
    | st.builds(
        EnvoyProcess,
        epoch=st.integers(0, 100),
        pid=st.integers(2, 2**22),
        started=st.integers(0, 2**40),
        ready=st.booleans(),
    ),
    endpoints=st.frozensets(st.tuples(addresses, ports), max_size=20),
    withheld=st.frozensets(ports, max_size=20),
)
reports = st.builds(
    Report,
    outcome=st.sampled_from(Outcome),
    detail=st.text(max_size=100),
    rules=st.integers(0, 1000),
    guarded=st.sampled_from([(), (4,), (6,), (4, 6)]),
    turned=st.integers(0, 2**53),
    missing=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    never_ports=st.lists(ports, max_size=3).map(tuple),
    verified_at=st.floats(0, 1e10),
)


@given(states)
def test_a_state_that_is_written_is_read(state: RedirectState) -> None:
    assert RedirectState.decode(state.encode(), where="state.json") == state


@given(reports)
def test_a_report_that_is_written_is_read(report: Report) -> None:
    assert Report.decode(report.encode(), where="report.json") == report


def test_names_that_are_written_are_read() -> None:
    names = {"a.b.mesh.internal": ("240.240.0.1", ""), "c": ("", "fd48::1")}
    table = NameTable(sequence=3, names=names)
    assert NameTable.decode(table.encode(), where="names.json") == table


STATE = (
    b'{"version":1,"sequence":1,"wanted":"captured","withheld":[],"endpoints":[["10.0.0.5",80]],'
    b'"envoy":{"epoch":0,"pid":7,"started":9,"ready":true}}'
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"captured"', b'"open"', id="a wish that is not there"),
        pytest.param(b'["10.0.0.5",80]', b'["10.0.0.0/8",80]', id="a network for an address"),
        pytest.param(b'["10.0.0.5",80]', b'["fe80::1%eth0",80]', id="an address with a zone"),
        pytest.param(b'["10.0.0.5",80]', b'["10.0.0.5",0]', id="port 0"),
        pytest.param(b'["10.0.0.5",80]', b'["10.0.0.5"]', id="no port"),
        pytest.param(b'["10.0.0.5",80]', b'["x",80]', id="no address"),
        pytest.param(b'"pid":7', b'"pid":1', id="pid 1"),
        pytest.param(b'"pid":7', b'"pid":-7', id="a process group"),
        pytest.param(b'"ready":true', b'"ready":true,"uid":0', id="a uid from the agent"),
        pytest.param(b'"version":1', b'"version":1,"inbound":[22]', id="a port from the agent"),
    ],
)
def test_the_agent_can_say_nothing_more(old: bytes, new: bytes) -> None:
    RedirectState.decode(STATE, where="state.json")
    with pytest.raises(BadInput, match=r"cannot read state\.json"):
        RedirectState.decode(STATE.replace(old, new), where="state.json")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"A.b":["240.240.0.1",""]}', id="capitals"),
        pytest.param('{"a b":["240.240.0.1",""]}', id="a space"),
        pytest.param('{"a\\n10.0.0.1 b":["240.240.0.1",""]}', id="a line of its own"),
        pytest.param('{"a":["fd48::1",""]}', id="the families exchanged"),
        pytest.param('{"a":["240.240.0.1"]}', id="one address"),
        pytest.param('{"a":"240.240.0.1"}', id="no pair"),
        pytest.param('{"a":["","fd48::1"],"a":["",""]}', id="twice"),
    ],
)
def test_a_bad_name_is_refused(text: str) -> None:
    data = f'{{"version":1,"sequence":0,"names":{text}}}'.encode()
    with pytest.raises(BadInput, match=r"cannot read names\.json"):
        NameTable.decode(data, where="names.json")


def test_a_million_endpoints_are_refused() -> None:
    entries = ",".join(f'["10.{i >> 8}.{i & 255}.1",80]' for i in range(35_000))
    data = STATE.replace(b'["10.0.0.5",80]', entries.encode())
    with pytest.raises(BadInput, match="at most 30000"):
        RedirectState.decode(data, where="state.json")
