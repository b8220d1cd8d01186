"""`make bench`: what the sidecars cost, on this machine, against the same call without them.

Root: it runs in lab hosts. Numbers of one machine are for comparing with its own earlier ones.
"""

import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

import click

from hostmesh_ctl.demo.hosts import Host, Lab, check_machine
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.mesh import Agent, ControlPlane, wait_for
from hostmesh_ctl.demo.traffic import App, LoadClient

PORT = 9080
RATE = 200.0
SECONDS = 10.0
CHANGES = 20
CONFIG = """\
version: 1
sources:
  - {name: static, kind: static, path: /etc/hostmesh/catalog}
"""
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: moving, namespace: default}}
spec:
  hosts: [moving.default.mesh.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9090, name: http, protocol: HTTP}}]
  endpoints: [{{address: 10.99.0.{0}}}]
"""


def agent_yaml(services: str) -> str:
    """Give an agent.yaml with these services."""
    return f"version: 1\ncontrol_planes: [cp1:15012]\nservices: {services}\n"


def join(control_plane: ControlPlane, host: Host, services: str, *words: str) -> Agent:
    """Let a host join, and wait until it is ready."""
    host.add_name("cp1", control_plane.host.ipv4, control_plane.host.ipv6)
    agent = Agent(host, agent_yaml(services))
    agent.join(control_plane.token(*words))
    agent.start()
    agent.wait_ready()
    return agent


def latency(client: Host, name: str, kind: str) -> None:
    """Load for a while and print the percentiles of kept connections."""
    load = LoadClient(client, name, PORT, rate=RATE)
    time.sleep(SECONDS)
    records: list[Record] = load.stop()
    took = sorted((r.end - r.start) * 1000 for r in records if not r.error and r.kept)
    failed = sum(bool(record.error) for record in records)
    cuts = statistics.quantiles(took, n=1000)
    click.echo(
        f"{kind:<22} {len(records):>5} requests at {RATE:.0f}/s, {failed} failed: "
        f"p50 {cuts[499]:.2f} ms, p99 {cuts[989]:.2f} ms, p99.9 {cuts[998]:.2f} ms"
    )


def propagation(control_plane: ControlPlane, client: Agent) -> None:
    """Print how long a changed file takes to an applied endpoint in the client's Envoy."""
    took = []
    for number in range(1, CHANGES + 1):
        wanted = f"10.99.0.{number}:9090"
        began = time.monotonic()
        control_plane.catalog("moving.yaml", ENTRY.format(number))
        wait_for(wanted, lambda: wanted in client.upstreams("moving.default.mesh.internal", 9090))  # noqa: B023
        took.append((time.monotonic() - began) * 1000)
    click.echo(
        f"file to Envoy          {CHANGES} changes: median {statistics.median(took):.0f} ms, "
        f"slowest {max(took):.0f} ms"
    )


def memory(name: str, pid: int) -> None:
    """Print what a process holds for itself alone."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kept = {key: int(kib) for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    own = kept["Private_Clean"] + kept["Private_Dirty"]
    click.echo(f"memory {name:<15} {kept['Rss'] / 1024:.0f} MB, {own / 1024:.0f} MB of it its own")


def main() -> None:
    """Measure, print, leave nothing."""
    check_machine()
    click.echo(f"machine                {os.cpu_count()} CPUs, Python {sys.version.split()[0]}")
    with Lab() as lab:
        cp, client, server = (lab.host(name) for name in ("cp1", "client", "server"))
        App(server, "app", PORT).start()
        client.add_name("direct", server.ipv4, server.ipv6)
        latency(client, "direct", "without a mesh")
        control_plane = ControlPlane(cp, CONFIG)
        control_plane.start()
        entry = json.dumps([{"name": "web", "port": PORT, "protocol": "http"}])
        join(control_plane, server, entry, "--service", "web")
        agent = join(control_plane, client, "[]", "--service-account", "client")
        latency(client, "web", "through both sidecars")
        propagation(control_plane, agent)
        memory("control plane", control_plane.process.pid)
        memory("agent", agent.agent_pid())
        memory("Envoy", agent.envoy_pids()[0])


if __name__ == "__main__":
    main()
