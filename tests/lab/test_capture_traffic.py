"""Who answers whom under capture: real connects against stand-ins for Envoy and app."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from hostmesh_core.capture_plan import CapturePlan, IdentityPort, InboundPort, OnDown
from hostmesh_core.redirect_files import RedirectState, Wanted
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing.capture_host import AGENT, APP, OTHER, PLAN, PROXY, CaptureHost

VIP4, VIP6 = "240.240.0.5", "fd48:6d65:7368::5"


@dataclass
class World:
    """A captured host and a plain one that carries the endpoint addresses."""

    here: CaptureHost
    there: CaptureHost

    @property
    def own(self) -> tuple[str, str]:
        return self.here.host.ipv4, self.here.host.ipv6

    @property
    def far(self) -> tuple[str, str]:
        return self.there.host.ipv4, self.there.host.ipv6


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        here, there = CaptureHost(lab.host("here")), CaptureHost(lab.host("there"))
        here.stand_in()
        here.listen(8080, 8081, 22, uid=0)
        there.listen(8080, 8081, 22, uid=0)
        yield World(here, there)


def _state(host: Host) -> RedirectState:
    """Name both of a host's addresses as endpoints, and its ssh, which no agent can have."""
    named = {(address, port) for address in (host.ipv4, host.ipv6) for port in (8080, 22)}
    return RedirectState(sequence=1, wanted=Wanted.CAPTURED, endpoints=frozenset(named))


@pytest.fixture(scope="module")
def applied(world: World) -> World:
    ports = tuple(InboundPort(port) for port in (8080, 22))
    # Another agent could have written 22 here: `capture compile` refuses it.
    world.here.apply(replace(PLAN, inbound=ports), _state(world.there.host))
    return world


FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


@FAMILIES
def test_a_virtual_address_leads_to_envoy_on_every_port(applied: World, family: int) -> None:
    vip = (VIP4, VIP6)[family]
    assert applied.here.call(vip, 9080) == f"15001 {vip} 9080"
    assert applied.here.call(vip, 22) == f"15001 {vip} 22"


@FAMILIES
def test_a_registered_endpoint_leads_to_envoy(applied: World, family: int) -> None:
    far = applied.far[family]
    assert applied.here.call(far, 8080) == f"15001 {far} 8080"


@FAMILIES
def test_another_port_of_that_address_is_untouched(applied: World, family: int) -> None:
    assert applied.here.call(applied.far[family], 8081).startswith("8081")


@FAMILIES
def test_ssh_of_an_endpoint_is_untouched_whoever_names_it(applied: World, family: int) -> None:
    assert applied.here.call(applied.far[family], 22).startswith("22")


@FAMILIES
def test_the_proxy_reaches_endpoints_itself_by_uid_and_by_gid(applied: World, family: int) -> None:
    far = applied.far[family]
    assert applied.here.call(far, 8080, uid=PROXY).startswith("8080")
    assert applied.here.call(far, 8080, uid=APP, gid=PROXY).startswith("8080")
    assert applied.here.call(far, 8080, uid=PROXY, gid=APP).startswith("8080")


@FAMILIES
def test_the_agent_reaches_endpoints_itself(applied: World, family: int) -> None:
    assert applied.here.call(applied.far[family], 8080, uid=AGENT).startswith("8080")


@FAMILIES
def test_a_declared_port_leads_to_envoy_from_the_network(applied: World, family: int) -> None:
    own = applied.own[family]
    assert applied.there.call(own, 8080) == f"15006 {own} 8080"


@FAMILIES
def test_an_undeclared_port_is_untouched_from_the_network(applied: World, family: int) -> None:
    assert applied.there.call(applied.own[family], 8081).startswith("8081")


@FAMILIES
def test_ssh_is_never_captured_even_when_declared(applied: World, family: int) -> None:
    assert applied.there.call(applied.own[family], 22).startswith("22")


@FAMILIES
@pytest.mark.parametrize("uid", [0, APP], ids=["root", "an app"])
def test_a_call_of_the_host_to_itself_is_untouched(applied: World, family: int, uid: int) -> None:
    loopback = ("127.0.0.1", "::1")[family]
    assert applied.here.call(applied.own[family], 8080, uid=uid).startswith("8080")
    assert applied.here.call(loopback, 8080, uid=uid).startswith("8080")


@FAMILIES
def test_the_proxy_calling_its_own_host_passes_inbound_once(applied: World, family: int) -> None:
    own, loopback = applied.own[family], ("127.0.0.1", "::1")[family]
    inbound_source = ("127.0.0.6", "::6")[family]
    assert applied.here.call(own, 8080, uid=PROXY) == f"15006 {own} 8080"
    # Envoy's own connection to the app, and one to an undeclared port, do not come back.
    assert applied.here.call(own, 8080, inbound_source, uid=PROXY).startswith("8080")
    assert applied.here.call(loopback, 8080, uid=PROXY).startswith("8080")
    assert applied.here.call(own, 8081, uid=PROXY).startswith("8081")


@FAMILIES
def test_the_agents_proof_passes_inbound_and_its_health_check_does_not(
    applied: World, family: int
) -> None:
    own, any_source = applied.own[family], ("0.0.0.0", "::")[family]
    assert applied.here.call(own, 8080, any_source, 15170, uid=AGENT) == f"15006 {own} 8080"
    assert applied.here.call(own, 8080, uid=AGENT).startswith("8080")
    # The proof's source port is worth nothing to others.
    assert applied.here.call(own, 8080, any_source, 15171, uid=OTHER).startswith("8080")


def test_udp_is_not_touched(applied: World) -> None:
    # Towards a port on which nobody listens: the answer comes from the other host, not from lo.
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); "
        f"s.connect(('{applied.far[0]}', 8080)); s.send(b'x')\n"
        "try:\n s.recv(10)\nexcept OSError as error:\n print(error.errno)"
    )
    assert applied.here.host.run(["python3", "-c", script], uid=APP).stdout.strip() == "111"


@FAMILIES
def test_each_identity_has_its_own_capture_port(world: World, family: int) -> None:
    plan = replace(PLAN, identity_ports=(IdentityPort(OTHER, 15101),))
    world.here.listen(15101, uid=PROXY) if family == 0 else None
    world.here.apply(plan, _state(world.there.host))
    vip, far = (VIP4, VIP6)[family], world.far[family]
    assert world.here.call(vip, 80, uid=OTHER) == f"15101 {vip} 80"
    assert world.here.call(far, 8080, uid=OTHER) == f"15101 {far} 8080"
    assert world.here.call(vip, 80, uid=APP) == f"15001 {vip} 80"


EXCLUSIONS = [
    pytest.param({"exclude_uids": (APP,)}, id="an excluded user"),
    pytest.param({"exclude_outbound_ports": (8080,)}, id="an excluded port"),
    pytest.param(
        {"exclude_outbound_cidrs": ("10.77.0.0/24", "fd77::/64")}, id="an excluded network"
    ),
    pytest.param({"endpoint_cidrs": ("10.1.0.0/16",)}, id="an address outside endpoint_cidrs"),
    pytest.param({"exclude_outbound_cidrs": ("0.0.0.0/0", "::/0")}, id="everything excluded"),
]


@FAMILIES
@pytest.mark.parametrize("change", EXCLUSIONS)
def test_what_is_excluded_reaches_endpoints_itself(
    world: World, change: dict[str, tuple[int | str, ...]], family: int
) -> None:
    plan = replace(PLAN, **change)  # type: ignore[arg-type]
    world.here.apply(plan, _state(world.there.host))
    assert world.here.call(world.far[family], 8080).startswith("8080")
    vip = (VIP4, VIP6)[family]  # nothing else answers there, so no exclusion reaches it
    assert world.here.call(vip, 8080) == f"15001 {vip} 8080"


@FAMILIES
def test_an_excluded_inbound_port_is_untouched(world: World, family: int) -> None:
    world.here.apply(replace(PLAN, exclude_inbound_ports=(8080,)))
    assert world.there.call(world.own[family], 8080).startswith("8080")


@FAMILIES
def test_addresses_change_without_a_rule_changing(world: World, family: int) -> None:
    far = world.far[family]
    world.here.apply(PLAN, RedirectState(wanted=Wanted.CAPTURED))
    rules = world.here.host.run(["sh", "-c", "iptables-save -t nat | grep -v '^#'"]).stdout
    assert world.here.call(far, 8080).startswith("8080")
    world.here.apply(PLAN, _state(world.there.host))
    assert world.here.call(far, 8080) == f"15001 {far} 8080"
    again = world.here.host.run(["sh", "-c", "iptables-save -t nat | grep -v '^#'"]).stdout
    assert [line for line in rules.splitlines() if line[:1] == "-"] == [
        line for line in again.splitlines() if line[:1] == "-"
    ]


@FAMILIES
def test_closed_refuses_while_no_envoy_listens_and_open_leaves_the_host_as_it_was(
    world: World, family: int
) -> None:
    world.here.host.run(["rm", "-f", world.here.layout.redirect_state_file])
    closed = replace(PLAN, on_down_inbound=OnDown.CLOSED, on_down_outbound=OnDown.CLOSED)
    # Ports on which nobody listens: what an early boot, a crash or an upgrade looks like.
    closed = replace(closed, inbound_port=15996, outbound_port=15991)
    own, far, vip = world.own[family], world.far[family], (VIP4, VIP6)[family]
    _early(world, closed)
    assert world.there.call(own, 8080) == "ECONNREFUSED"
    assert world.there.call(own, 8081).startswith("8081")
    assert world.there.call(own, 22).startswith("22")
    assert world.here.call(vip, 80) == "ECONNREFUSED"
    assert world.here.call(far, 8080).startswith("8080")
    _early(world, replace(closed, on_down_inbound=OnDown.OPEN, on_down_outbound=OnDown.OPEN))
    assert world.there.call(own, 8080).startswith("8080")
    # Restarting: names still lead there, and are refused at once instead of hanging.
    world.here.write(state=RedirectState(wanted=Wanted.CAPTURED))
    world.here.redirect("apply", check=False)
    assert world.here.call(vip, 80) == "EHOSTUNREACH"


def _early(world: World, plan: CapturePlan) -> None:
    world.here.write(plan)
    world.here.redirect("apply", "--early")
