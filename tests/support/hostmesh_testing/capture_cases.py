"""Generates whole capture situations: configuration, state, names, and what others put there.

Every dimension is drawn evenly from few values, so that each value is in many cases; the test
prints how many. Pure but for the seed that it is given.
"""

import random
from collections import Counter
from dataclasses import dataclass

from hostmesh_core.capture_plan import CapturePlan, DnsBlock, IdentityPort, InboundPort, OnDown
from hostmesh_core.redirect_files import RedirectState, Wanted

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "target": ("serving", "serving", "serving", "early", "restarting", "released", "left"),
    "enabled": ("yes", "yes", "yes", "no"),
    "inbound": ("none", "one", "three", "thirty", "with ssh"),
    "excluded_inbound": ("none", "one"),
    "excluded_ports": ("none", "one", "forty"),
    "excluded_cidrs": ("none", "IPv4", "IPv6", "both", "everything"),
    "excluded_uids": ("none", "two", "root"),
    "endpoints": ("none", "IPv4", "IPv6", "both", "five hundred"),
    "endpoint_cidrs": ("any", "narrow"),
    "vips": ("default", "other"),
    "down_inbound": ("open", "closed"),
    "down_outbound": ("open", "closed"),
    "identities": ("one", "three"),
    "users": ("one set", "another set"),
    "dns": ("hosts", "off"),
    "names": ("none", "mesh", "mesh, short and alias"),
}


@dataclass(frozen=True)
class Case:
    """One situation; `drawn` names the value of each dimension."""

    drawn: tuple[tuple[str, str], ...]
    plan: CapturePlan
    state: RedirectState | None
    names: dict[str, tuple[str, str]]
    target: str


def case(chosen: random.Random) -> Case:
    """Draw one case."""
    drawn = {name: chosen.choice(values) for name, values in DIMENSIONS.items()}
    return Case(
        drawn=tuple(drawn.items()),
        plan=_plan(drawn),
        state=_state(drawn),
        names=_names(drawn),
        target=drawn["target"],
    )


def pairs(count: int, seed: int) -> list[tuple[Case, Case]]:
    """Draw `count` pairs, the same for the same seed."""
    chosen = random.Random(seed)
    return [(case(chosen), case(chosen)) for _ in range(count)]


def shares(drawn: list[Case]) -> dict[str, float]:
    """Give how large a part of the cases has each value."""
    counted = Counter(f"{name}={value}" for one in drawn for name, value in one.drawn)
    return {key: number / len(drawn) for key, number in sorted(counted.items())}


def _plan(drawn: dict[str, str]) -> CapturePlan:
    ports = {
        "none": (),
        "one": (8080,),
        "three": (8080, 9090, 10000),
        "thirty": tuple(range(20000, 20030)),
        "with ssh": (22, 2222, 8080),
    }[drawn["inbound"]]
    users = (61337, 61337, 61338) if drawn["users"] == "one set" else (62001, 62002, 62003)
    other = drawn["vips"] == "other"
    return CapturePlan(
        enabled=drawn["enabled"] == "yes",
        proxy_uid=users[0],
        proxy_gid=users[1],
        agent_uid=users[2],
        inbound=tuple(InboundPort(port) for port in ports),
        exclude_inbound_ports={"none": (), "one": (9090,)}[drawn["excluded_inbound"]],
        exclude_outbound_ports={"none": (), "one": (5432,), "forty": tuple(range(7000, 7040))}[
            drawn["excluded_ports"]
        ],
        exclude_outbound_cidrs={
            "none": (),
            "IPv4": ("10.50.0.0/16",),
            "IPv6": ("fd50::/32",),
            "both": ("10.50.0.0/16", "192.0.2.7/32", "fd50::/32"),
            "everything": ("0.0.0.0/0", "::/0"),
        }[drawn["excluded_cidrs"]],
        exclude_uids={"none": (), "two": (33, 999), "root": (0,)}[drawn["excluded_uids"]],
        endpoint_cidrs={"any": ("0.0.0.0/0", "::/0"), "narrow": ("10.0.0.0/24", "fd77::/64")}[
            drawn["endpoint_cidrs"]
        ],
        vip4="240.241.0.0/16" if other else "240.240.0.0/16",
        vip6="fd48:6d65:7369::/64" if other else "fd48:6d65:7368::/64",
        on_down_inbound=OnDown(drawn["down_inbound"]),
        on_down_outbound=OnDown(drawn["down_outbound"]),
        dns=DnsBlock(drawn["dns"]),
        take_over=("reviews.service.consul",),
        identity_ports=(IdentityPort(3001, 15101), IdentityPort(3002, 15102))
        if drawn["identities"] == "three"
        else (),
    )


def _state(drawn: dict[str, str]) -> RedirectState | None:
    if drawn["target"] == "early":
        return None
    many = {(f"10.0.{i // 250}.{i % 250 + 1}", 8080 + i % 3) for i in range(250)}
    many |= {(f"fd77::{i:x}", 8080 + i % 3) for i in range(1, 251)}
    endpoints: dict[str, set[tuple[str, int]]] = {
        "none": set(),
        "IPv4": {("10.0.0.5", 8080), ("10.9.0.5", 22)},
        "IPv6": {("fd77::5", 8080)},
        "both": {("10.0.0.5", 8080), ("fd77::5", 8080), ("127.0.0.1", 80)},
        "five hundred": many,
    }
    wanted = {"released": Wanted.RELEASED, "left": Wanted.LEFT}
    return RedirectState(
        sequence=1,
        wanted=wanted.get(drawn["target"], Wanted.CAPTURED),
        endpoints=frozenset(endpoints[drawn["endpoints"]]),
    )


def _names(drawn: dict[str, str]) -> dict[str, tuple[str, str]]:
    third = "241" if drawn["vips"] == "other" else "240"
    six = "fd48:6d65:7369::5" if drawn["vips"] == "other" else "fd48:6d65:7368::5"
    addresses = (f"240.{third}.0.5", six)
    mesh = {f"s{i}.default.mesh.internal": (f"240.{third}.1.{i}", "") for i in range(1, 9)}
    reviews = {
        "reviews.default.mesh.internal": addresses,
        "reviews": addresses,
        "reviews.service.consul": addresses,
        "example.com": addresses,
    }
    return {"none": {}, "mesh": mesh, "mesh, short and alias": mesh | reviews}[drawn["names"]]
