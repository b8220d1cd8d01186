"""The first act: the client joins, then one server after the other, under load."""

import json
import re
import time

from hostmesh_ctl.demo.mesh import APP_UID
from hostmesh_ctl.demo.stage import PLAIN_PORT, PORT, RATE, SERVICE, NotShown, Server, Stage
from hostmesh_ctl.demo.traffic import LoadClient

SPIFFE = re.compile(r"(By|URI)=(spiffe://[^;,]+)")


def fetch(stage: Stage, url: str) -> dict[str, object]:
    """Call with plain curl from the client, as an ordinary user. Raises CommandFailed."""
    words = ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url]
    answer: dict[str, object] = json.loads(stage.client.host.run(words, uid=APP_UID).stdout)
    return answer


def client_joins(stage: Stage) -> None:
    """Bring the client into the mesh: names and routes, no service of its own."""
    token = stage.control_plane.token("--service-account", "client")
    stage.client.join(token)
    stage.client.start()
    took = stage.client.wait_ready()
    stage.progress.step(f"the client joined, ready after {took:.1f} s; it offers no service")
    url = f"http://{SERVICE}:{PORT}/"
    stage.until(f"an answer to {url}", lambda: fetch(stage, url))
    stage.progress.step(f"curl {url} from the client: answered by {fetch(stage, url)['server']}")


def load_begins(stage: Stage) -> None:
    """Start the steady load that goes on to the end."""
    stage.load = LoadClient(stage.client.host, SERVICE, PORT, rate=RATE)
    text = "half kept connections, half fresh, IPv4 and IPv6, one POST in ten, no client retries"
    stage.progress.step(f"load: {RATE:.0f} requests/s, {text}")
    stage.until("both servers' answers", lambda: all(stage.answers(s) for s in stage.servers))
    plain = {record.client_certificate for record in stage.seen()}
    if plain != {""}:
        raise NotShown(f"cannot show a plain service: its apps already see {plain}")


def server_joins(stage: Stage, server: Server) -> None:
    """Bring one server into the mesh while it serves."""
    token = stage.control_plane.token("--service", SERVICE)
    server.agent.join(token)
    server.agent.start()
    took = server.agent.wait_ready()
    stage.until(f"{server.host.name} in the mesh", lambda: stage.serves(server))
    stage.until("its answers over mTLS", lambda: meshed_answer(stage, server))
    row, state = stage.row(server), stage.control_plane.state(SERVICE)
    stage.progress.step(
        f"{server.host.name} joined, ready after {took:.1f} s; {SERVICE} is {state}, "
        f"this endpoint {row['source']}"
    )
    if state != "mixed":
        raise NotShown(f"cannot go on: {SERVICE} should be mixed and is {state}")


def meshed_answer(stage: Stage, server: Server) -> bool:
    """Tell whether the last moments' answers of this server came with a client's identity."""
    last = [each for each in stage.seen(seconds=1.0) if each.server == server.app.name]
    return bool(last) and all("spiffe://" in each.client_certificate for each in last)


def mesh_required(stage: Stage) -> None:
    """Take the service from mixed to mesh."""
    said = stage.control_plane.command("service", "require-mesh", SERVICE).strip()
    stage.until("state mesh", lambda: stage.control_plane.state(SERVICE) == "mesh")
    stage.progress.step(f"hostmesh service require-mesh {SERVICE}")
    stage.progress.detail(said)


def identities_shown(stage: Stage) -> None:
    """Show who answered over which identity, and how the load was spread."""
    since = time.monotonic()
    time.sleep(3.0)
    records = [each for each in (stage.load.records(since=since) if stage.load else [])]
    stage.progress.step("who answered, over which identities, in the last 3 s:")
    for server in stage.servers:
        mine = [each for each in records if each.server == server.app.name]
        found = [dict(SPIFFE.findall(each.client_certificate)) for each in mine]
        pairs = {(each.get("URI", "none"), each.get("By", "none")) for each in found}
        share = len(mine) / max(1, len(records))
        for caller, callee in sorted(pairs):
            stage.progress.detail(f"{server.app.name}  {share:4.0%}  {caller} -> {callee}")
        if not pairs or any("none" in pair for pair in pairs):
            raise NotShown(
                f"cannot show both identities of {server.app.name}: {pairs or 'no call'}"
            )


def plain_service_called(stage: Stage) -> None:
    """Call the service that only Consul knows and that has no agent's word."""
    answer = fetch(stage, f"http://ratings:{PLAIN_PORT}/")
    if answer["server"] != stage.plain.name or answer["client_certificate"]:
        raise NotShown(f"cannot show the plain service: {answer}")
    stage.progress.step("ratings, known to Consul alone and without an agent, answers in plaintext")
