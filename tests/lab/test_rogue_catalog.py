"""Somebody who may write all of Consul, and has no credentials of the mesh, in each state.

Never an identity, never plaintext to a registered instance, never a lower state; in state mesh not
a byte; in mixed his share is shown with node and time. Only the first two tests see state plain.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import NotInTime, wait_for
from hostmesh_testing.captured import Capture
from hostmesh_testing.lab_mesh import call, start_app
from hostmesh_testing.rogue import HTTP, PORT, VICTIMS, Town

JOINED = pytest.mark.parametrize("state", ["mixed", "mesh"])
NAMES = ("web.", "web.default", "x.default.mesh.internal", "web.default.mesh.internal")
"""Names that look like another service's: by a final dot, by what follows."""


@pytest.fixture(scope="module")
def town(consul_bin: Path) -> Iterator[Town]:
    with Lab(exposed=[consul_bin]) as lab:
        yield Town(lab, consul_bin)


def _unharmed(town: Town, state: str, *, count: int = 30) -> None:
    """The service answers, by honest instances alone, and is in its state."""
    answered = town.answers(count)
    honest = {*VICTIMS, "web3"} if state == "mixed" else set(VICTIMS)
    assert +answered
    assert set(+answered) <= honest, answered
    assert town.cp.state("web") == state


def test_plain_his_share_is_what_the_catalog_says_and_he_is_shown(town: Town) -> None:
    town.write("web", town.evil.ipv4)
    row = town.row(town.evil.ipv4)
    town.applied()
    assert town.answers(40)["rogue"] > 0
    events = [each["event"] for each in town.heard()]
    assert "bytes" in events  # his listener hears what is sent to him: the control of all below
    assert "hello" not in events
    assert (row["meshed"], row["identity"], row["plaintext"]) == (False, "", "25 %")
    assert str(row["node"]).startswith("n-evil")
    assert row["since"]
    assert town.cp.state("web") == "plain"
    town.erase("web", town.evil.ipv4)
    town.gone(town.evil.ipv4)


def test_plain_what_he_takes_out_is_out_as_for_anybody_and_nobody_gets_an_identity(
    town: Town,
) -> None:
    victim = town.hosts["web1"]
    key = f"{victim.ipv4}:{PORT}"
    town.consul.register(town.entry(victim, status="critical"))
    wait_for("a critical web1", lambda: town.cp.endpoints("web")[key]["health"] == "unhealthy")
    town.applied()
    answered = +town.answers(30)
    assert answered
    assert "web1" not in answered
    town.consul.deregister(town.entry(victim))
    town.gone(victim.ipv4)
    assert all(
        not row["meshed"] and not row["identity"] for row in town.cp.rows("endpoints", "web")
    )
    assert town.cp.state("web") == "plain"
    town.consul.register(town.entry(victim))
    assert town.row(victim.ipv4)["meshed"] is False
    town.applied()
    assert town.answers(40)["web1"] > 0


@pytest.mark.parametrize("weight", [1, 65535])
def test_mixed_his_share_is_shown_with_node_and_time(town: Town, weight: int) -> None:
    town.reach("mixed")
    town.heard()
    town.write("web", town.evil.ipv4, weight=weight)
    row = town.row(town.evil.ipv4)
    town.applied()
    answered = town.answers(160)
    heard = town.heard()
    assert answered["failed"] == 0
    assert 0.12 < answered["rogue"] / 160 < 0.38, answered
    assert (row["plaintext"], row["weight"], row["identity"]) == ("25 %", 1, "")
    why = str(row["why"])
    assert why.startswith("plaintext 25 % — node n-evil")
    assert f"listed since {row['since']}" in why
    assert not any(each["event"] == "hello" for each in heard)
    said = town.cp.process.said()
    assert f"unmeshed endpoint joins a mixed service service={row['service']}" in said
    (shown,) = (each for each in town.cp.rows("services") if each["host"] == row["service"])
    assert shown["plaintext"] == "50 %"  # his and web3's
    assert town.cp.state("web") == "mixed"
    town.erase("web", town.evil.ipv4)
    town.gone(town.evil.ipv4)


def test_mixed_only_the_networks_that_are_allowed(town: Town) -> None:
    town.reach("mixed")
    town.cp.command("service", "allow-unmeshed", "web", "--cidr", f"{town.hosts['web3'].ipv4}/32")
    town.write("web", town.evil.ipv4)
    assert town.row(town.evil.ipv4)["meshed_text"] == "withheld"
    town.applied()
    town.heard()
    _unharmed(town, "mixed")
    assert town.heard() == []
    town.cp.command("service", "allow-unmeshed", "web")
    town.erase("web", town.evil.ipv4)
    town.gone(town.evil.ipv4)


def test_a_name_that_he_seeds_is_mixed_and_shown_or_mesh_by_its_token(town: Town) -> None:
    town.reach("mixed")
    for name in ("pay", "vault"):
        town.write(name, town.evil.ipv4)
        town.row(town.evil.ipv4, service=name)
    for name, more in (("pay", []), ("vault", ["--require-mesh"])):
        host = town.mesh.host(f"{name}1")
        start_app(host, "http", name, PORT)
        token = ["--service", name, "--service-account", name, *more]
        entry = f"{{name: {name}, port: {PORT}, protocol: http}}"
        town.mesh.join(host, [entry], token=token, wait=False)
    wait_for("pay", lambda: town.cp.state("pay") == "mixed")
    wait_for("vault", lambda: town.cp.state("vault") == "mesh")
    assert town.row(town.evil.ipv4, service="pay")["node"]
    assert town.row(town.evil.ipv4, service="vault")["meshed_text"] == "withheld"
    shown = town.cp.command("service", "show", "pay")
    assert "a catalog lists it" in shown
    assert "n-evil" in shown


@JOINED
def test_a_registered_key_in_a_service_of_his_gets_no_plaintext(town: Town, state: str) -> None:
    town.reach(state)
    victim = town.hosts["web1"]
    for address in (victim.ipv4, f"::ffff:{victim.ipv4}"):
        town.write("trap", address)
    town.write("trap", town.evil.ipv4)
    town.row(town.evil.ipv4, service="trap")
    town.applied()
    rows = town.cp.rows("endpoints", "trap")
    of_victim = [row for row in rows if row["endpoint"] == f"{victim.ipv4}:{PORT}"]
    assert [row["meshed_text"] for row in of_victim] == ["withheld"]
    assert all("registered by web.default.mesh.internal" in str(row["why"]) for row in of_victim)

    wire, mark = Capture(victim, "eth0"), secrets.token_hex(16)
    answered = town.answers(30, service="trap", mark=mark)
    assert mark.encode() not in wire.seen()
    assert set(+answered) == {"rogue"}  # the callers of his own service are his
    for address in (victim.ipv4, f"::ffff:{victim.ipv4}", town.evil.ipv4):
        town.erase("trap", address)


def test_the_wire_shows_plaintext_where_there_is_some(town: Town) -> None:
    town.reach("mixed")
    wire, mark = Capture(town.hosts["web1"], "eth0"), secrets.token_hex(16)
    call(town.evil, "web", PORT, address=town.hosts["web1"].ipv4, path=f"/{mark}")
    assert mark.encode() in wire.seen()


@JOINED
def test_all_that_is_critical_empties_no_service(town: Town, state: str) -> None:
    town.reach(state)
    entries = [town.entry(town.hosts[name], status="critical") for name in VICTIMS]
    for entry in entries:
        town.consul.register(entry)
    wait_for("the catalog's word", lambda: _ill(town) == 1, seconds=10)
    town.applied()
    rows = town.cp.endpoints("web").values()
    assert sum("not followed" in str(row["why"]) for row in rows) == 1
    _unharmed(town, state)
    for name in VICTIMS:
        town.consul.register(town.entry(town.hosts[name]))
    wait_for("all well", lambda: _ill(town) == 0)


def _ill(town: Town) -> int:
    rows = town.cp.endpoints("web").values()
    return sum(bool(row["meshed"]) and row["health"] == "unhealthy" for row in rows)


@JOINED
def test_maintenance_of_one_drains_it(town: Town, state: str) -> None:
    town.reach(state)
    node = str(town.entry(town.hosts["web1"]).registration()["Node"])
    check = {"Node": node, "CheckID": "_node_maintenance", "Name": "Node Maintenance Mode"}
    body = {"Node": node, "Address": town.hosts["web1"].ipv4}
    town.consul.put("/v1/catalog/register", body | {"Check": check | {"Status": "critical"}})
    wait_for("a drained web1", lambda: _ill(town) == 1)
    town.applied()
    assert "web1" not in +town.answers(30)
    town.consul.put("/v1/catalog/deregister", {"Node": node, "CheckID": "_node_maintenance"})
    wait_for("web1 again", lambda: _ill(town) == 0)


@JOINED
def test_deregistering_a_registered_instance_changes_nothing(town: Town, state: str) -> None:
    town.reach(state)
    for name in VICTIMS:
        town.consul.deregister(town.entry(town.hosts[name]))
    key = f"{town.hosts['web1'].ipv4}:{PORT}"
    wait_for("only registered", lambda: town.cp.endpoints("web")[key]["source"] == "registered")
    town.applied()
    town.mesh.wait_meshed("web", 2)
    _unharmed(town, state)
    for name in VICTIMS:
        town.consul.register(town.entry(town.hosts[name]))


@JOINED
def test_the_victims_address_under_other_ports_weights_and_meta(town: Town, state: str) -> None:
    town.reach(state)
    victim = town.hosts["web1"]
    before = town.cp.api.get("services", "web")
    assert isinstance(before, dict)
    for port, meta in ((PORT, {"protocol": "tcp"}), (PORT, {"service_port": "443"}),
                       (15006, HTTP), (15001, HTTP)):  # fmt: skip
        town.write("web", victim.ipv4, port=port, weight=65535, meta=meta)
        town.applied()
        rows = [row for row in town.cp.rows("endpoints", "web") if row["meshed"]]
        assert {row["weight"] for row in rows} == {1}
        assert all(row["identity"] for row in rows)
        after = town.cp.api.get("services", "web")
        assert isinstance(after, dict)
        assert (after["state"], after["identities"]) == (state, before["identities"])
        assert "9080/http" in str(after["ports"])
        assert town.answers(10)["web2"] > 0
        town.erase("web", victim.ipv4, port=port)
    town.consul.register(town.entry(victim))
    town.mesh.wait_meshed("web", 2)


@JOINED
def test_names_that_look_like_others(town: Town, state: str) -> None:
    town.reach(state)
    before = {str(row["host"]) for row in town.cp.rows("services")}
    for name in NAMES:
        town.write(name, town.evil.ipv4)
    town.write("control-plane", town.evil.ipv4)
    wait_for("his names", lambda: len(town.cp.rows("services")) > len(before) + 2)
    town.applied()
    town.heard()
    _unharmed(town, state)
    assert town.heard() == []
    aliases = [str(row.get("host")) for row in town.cp.rows("services")]
    assert len(aliases) == len(set(aliases))
    for name in ("web.service.consul", "web"):
        assert str(town.cp.rows("endpoints", name)[0]["service"]).startswith("web.default.mesh")
    for name in (*NAMES, "control-plane"):
        town.erase(name, town.evil.ipv4)

    def only_those_before() -> bool:
        town.cp.command("source", "accept", "consul")  # five at once are a loss that is held
        return len(town.cp.rows("services")) == len(before)

    wait_for("no names of his", only_those_before)


def test_who_takes_a_registered_address_gets_no_byte_that_he_can_read(town: Town) -> None:
    """The host is cut off and its address is his: callers do not complete a handshake with him,
    and after its lease the address is out though Consul lists it still.
    """
    town.reach("mixed")
    victim = town.hosts["web1"]
    town.heard()
    victim.cut()
    town.evil.run(["ip", "addr", "add", f"{victim.ipv4}/24", "dev", "eth0"])
    town.evil.run(["ip", "neigh", "flush", "all"], check=False)
    town.client.host.run(["ip", "neigh", "flush", "all"], check=False)
    events: list[dict[str, str]] = []
    try:
        wait_for("a handshake with him", lambda: _collect(town, events, "refused"), seconds=15)
        key = f"{victim.ipv4}:{PORT}"
        wait_for("the end of its lease", lambda: _withheld(town, key), seconds=30)
        town.applied()
        answered = town.answers(40)
    finally:
        town.evil.run(["ip", "addr", "del", f"{victim.ipv4}/24", "dev", "eth0"])
        victim.restore()
        town.client.host.run(["ip", "neigh", "flush", "all"], check=False)
    events += town.heard()
    kinds = {each["event"] for each in events}
    assert kinds == {"hello", "refused"}, kinds
    assert set(+answered) == {"web2", "web3"}
    town.mesh.wait_meshed("web", 2, seconds=40)
    town.applied()


def _collect(town: Town, events: list[dict[str, str]], wanted: str) -> bool:
    town.answers(5)
    events += town.heard()
    return any(each["event"] == wanted for each in events)


def _withheld(town: Town, key: str) -> bool:
    return "out until a host" in str(town.cp.endpoints("web").get(key, {}).get("why"))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        pytest.param("web", 1, id="an endpoint"),
        pytest.param("web", 65535, id="with all the weight"),
        pytest.param("WEB", 1, id="under the name in capitals"),
    ],
)
def test_mesh_not_a_packet_reaches_him(town: Town, name: str, weight: int) -> None:
    town.reach("mesh")
    town.heard()
    only = f"ip and src host {town.client.host.ipv4} and dst host {town.evil.ipv4}"
    wire = Capture(town.evil, "eth0", only=only)
    town.write(name, town.evil.ipv4, weight=weight)
    row = town.row(town.evil.ipv4)
    town.applied()
    _unharmed(town, "mesh", count=100)
    assert not wire.packets()
    assert town.heard() == []
    assert (row["meshed_text"], row["identity"], row["plaintext"]) == ("withheld", "", "")
    assert str(row["node"]).startswith("n-evil")
    town.erase(name, town.evil.ipv4)
    town.gone(town.evil.ipv4)


def test_the_detector_sees_a_packet_where_there_is_one(town: Town) -> None:
    town.reach("mesh")
    only = f"ip and src host {town.client.host.ipv4} and dst host {town.evil.ipv4}"
    wire = Capture(town.evil, "eth0", only=only)
    call(town.client.host, "evil", PORT, address=town.evil.ipv4)
    assert wire.packets()


def test_no_catalog_lowers_a_state(town: Town) -> None:
    town.reach("mesh")
    for name in VICTIMS:
        town.consul.deregister(town.entry(town.hosts[name]))
    town.consul.deregister(town.entry(town.hosts["web3"]))
    with pytest.raises(NotInTime):
        wait_for("a lower state", lambda: town.cp.state("web") != "mesh", seconds=3)
    town.cp.stop()
    town.cp.start()
    wait_for("the members", lambda: len(town.cp.endpoints("web")) == 2)
    assert town.cp.state("web") == "mesh"
    _unharmed(town, "mesh")
