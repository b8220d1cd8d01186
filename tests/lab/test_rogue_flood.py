"""A flood in the catalog: it stays the catalog's, and nobody else waits for it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo.consul import Instance
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import wait_for
from hostmesh_testing.lab_mesh import start_module
from hostmesh_testing.rogue import HTTP, VICTIMS, Town

SERVICES, ENDPOINTS = 1_500, 400
CHANGE_SECONDS = 10.0
"""Within so long another service's change is known, whatever floods."""
LIMIT_BYTES = 700 << 20


@pytest.fixture(scope="module")
def town(consul_bin: Path) -> Iterator[Town]:
    with Lab(exposed=[consul_bin]) as lab:
        yield Town(lab, consul_bin)


def _memory(town: Town) -> int:
    """Give the control plane's resident bytes."""
    text = Path(f"/proc/{town.cp.process.pid}/statm").read_text()
    return int(text.split()[1]) * 4096


def _cpu(town: Town) -> float:
    """Give the seconds that it has computed so far."""
    fields = Path(f"/proc/{town.cp.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _changed(town: Town, port: int) -> float:
    """Change an ordinary service; give after how many seconds the control plane knows it."""
    at = Instance(service="late", address="10.77.0.200", port=port, id="late", meta=HTTP)
    town.consul.register(at)
    return wait_for(
        f"late at {port}",
        lambda: f"10.77.0.200:{port}" in town.cp.endpoints("late"),
        seconds=CHANGE_SECONDS,
    )


def test_a_flood_is_bounded_named_and_slows_nobody(town: Town) -> None:
    town.reach("mesh")
    _changed(town, 8000)
    before, began, computed = _memory(town), time.monotonic(), _cpu(town)
    words = ["hostmesh_testing.lab_apps.catalog_flood", town.mesh.cp.ipv4]
    flood = start_module(town.evil, "flood", [*words, str(SERVICES), str(ENDPOINTS)])
    took: list[float] = []
    slowest_call = 0.0
    while flood.alive and len(took) < 40:
        took.append(_changed(town, 8001 + len(took)))
        at = time.monotonic()
        answered = town.answers(5)
        slowest_call = max(slowest_call, time.monotonic() - at)
        assert set(+answered) <= set(VICTIMS), answered
        time.sleep(0.5)
    assert "refused" not in flood.said()
    took += [_changed(town, 8100 + n) for n in range(5)]
    elapsed = time.monotonic() - began
    peak = _memory(town)
    print(
        f"{SERVICES} services and {ENDPOINTS} endpoints in {elapsed:.0f} s: changes of another "
        f"service known after at most {max(took):.2f} s (of {len(took)}), five calls in "
        f"{slowest_call:.2f} s, memory {before >> 20} -> {peak >> 20} MiB, computed "
        f"{_cpu(town) - computed:.1f} s"
    )
    assert peak < LIMIT_BYTES
    (source,) = (row for row in town.cp.rows("sources") if row["name"] == "consul")
    detail = str(source["detail"])
    assert "Consul services are left out" in detail
    assert town.cp.state("web") == "mesh"
    rows = town.cp.rows("endpoints", "web")
    assert {row["endpoint"] for row in rows if row["meshed"]} == {
        f"{town.hosts[name].ipv4}:9080" for name in VICTIMS
    }
    listed = {str(row["endpoint"]).rpartition(":")[0] for row in rows}
    assert not listed & {"127.0.0.1", "[::1]", "169.254.169.254", "240.240.0.1"}
    assert set(+town.answers(30)) == set(VICTIMS)
    # Names of the flood came in one by one until just now: the look that follows each test comes
    # after the last of them.
    settled = wait_for("nothing that warms", lambda: not town.mesh.complaints(), seconds=40)
    print(f"nothing warms {settled:.1f} s after it")
