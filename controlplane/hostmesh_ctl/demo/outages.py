"""The third act: the control plane is away while the client's agent and Envoy are restarted."""

import http.client
import signal
import time

from hostmesh_ctl.demo import inside, processes
from hostmesh_ctl.demo.account import OwnEnvoyDown
from hostmesh_ctl.demo.stage import PORT, SERVICE, NotShown, Stage

DOWN_SECONDS = 1.0
"""The client's own Envoy is back after this long at most."""


def control_plane_stops(stage: Stage) -> None:
    """Stop the control plane; traffic must not notice."""
    stage.control_plane.stop()
    since = time.monotonic()
    time.sleep(2.0)
    served = [each for each in stage.seen(seconds=2.0) if each.start >= since and not each.error]
    stage.progress.step(f"control plane stopped: {len(served)} requests answered in the next 2 s")
    if not served:
        raise NotShown("cannot show traffic without a control plane: nothing was answered")


def agent_killed(stage: Stage) -> None:
    """SIGKILL the client's agent; its Envoy goes on, and the next agent finds it."""
    envoys, agent = stage.client.envoy_pids(), stage.client.agent_pid()
    stage.client.kill(agent)
    took = stage.until("the next agent", lambda: stage.client.agent_pid() not in {0, agent})
    took += stage.until("its answer", lambda: stage.client.status())
    if stage.client.envoy_pids() != envoys:
        raise NotShown(f"cannot show that Envoy {envoys} outlives its agent: now there is "
                       f"{stage.client.envoy_pids()}")  # fmt: skip
    stage.progress.step(f"the client's agent killed, back after {took:.1f} s; Envoy is the same")


def envoy_restarted(stage: Stage) -> None:
    """Hot-restart the client's Envoy: a second one takes over."""
    before, began = stage.client.envoy_pids(), time.monotonic()
    counted = retries(stage)
    stage.client.command("restart-envoy")
    stage.until("a new Envoy", lambda: set(stage.client.envoy_pids()) - set(before))
    took = time.monotonic() - began
    time.sleep(1.0)
    # A new Envoy takes over its parent's counters, but not before it first flushes them.
    now = retries(stage)
    stage.retried += 0 if now >= counted else counted
    stage.progress.step(f"the client's Envoy hot-restarted in {took:.1f} s, both epochs serve")


def envoy_killed(stage: Stage) -> None:
    """SIGKILL the client's Envoy, and measure how long nobody could call."""
    stage.retried += retries(stage)
    start = time.monotonic()
    for pid in stage.client.envoy_pids():
        processes.send(pid, signal.SIGKILL)
    stage.until("the next Envoy", lambda: _answered(stage), seconds=10)
    down = OwnEnvoyDown(start=start, end=time.monotonic())
    stage.incidents.append(down)
    length = down.end - down.start
    stage.progress.step(f"the client's Envoy killed: calls work again after {length:.2f} s")
    if length > DOWN_SECONDS:
        raise NotShown(
            f"cannot show an Envoy back within {DOWN_SECONDS:.0f} s: it took {length:.2f} s"
        )


def _answered(stage: Stage) -> bool:
    """Make one fresh call from the client through its Envoy. Raises NoAnswer."""
    vip = _virtual_address(stage)
    pid = stage.client.host.holder.pid
    status, body = inside.ask(pid, "/", port=PORT, address=vip, seconds=1.0)
    return status == http.client.OK and b"spiffe://" in body


def _virtual_address(stage: Stage) -> str:
    for line in stage.client.host.path("/etc/hosts").read_text().splitlines():
        address, *names = line.split("#")[0].split() or [""]
        if SERVICE in names and "." in address:
            return address
    raise inside.NoAnswer(f"cannot find {SERVICE} in /etc/hosts of the client")


def retries(stage: Stage) -> int:
    """Give how often the client's Envoy has retried. Raises NoAnswer."""
    return sum(stage.client.stats(r"^cluster\.outbound.*upstream_rq_retry$").values())


def control_plane_returns(stage: Stage) -> None:
    """Start the control plane again; everybody comes back, nobody has been expired."""
    stage.control_plane.start()
    took = stage.until("every host connected", lambda: _all_connected(stage), seconds=30)
    stage.until("both servers", lambda: all(stage.serves(server) for server in stage.servers))
    stage.client.wait_ready()
    stage.progress.step(f"control plane back: every host connected again after {took:.1f} s")


def _all_connected(stage: Stage) -> bool:
    rows = stage.control_plane.rows("hosts")
    return len(rows) == 3 and all(row["state"] == "connected" for row in rows)
