"""Corners of what is rendered: one host calling itself, late secrets, forged marks; detectors."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_core import type_urls
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode
from hostmesh_core.xds.resource import Resource, resource
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.certificates import authority
from hostmesh_testing.render_ads import secrets
from hostmesh_testing.render_lab import (
    ENVOY_UID,
    Sidecar,
    capture_inbound,
    capture_outbound,
)
from hostmesh_testing.waiting import wait_until

HTTP, FORGER = 9080, 9081
REVIEWS = Identity("default", "reviews")
FORGED_ANSWER = """
import http.server
class Forger(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0
    def do_POST(self):
        Forger.count += 1
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(503)
        self.send_header("x-hostmesh-undelivered", "1")
        self.send_header("x-count", str(Forger.count))
        self.send_header("content-length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 9081), Forger).serve_forever()
"""


@dataclass
class Alone:
    """One host that is its own client."""

    host: Host
    publication: Publication
    sidecar: Sidecar
    secrets: dict[str, Resource]

    def curl(self, *words: str) -> str:
        argv = ["curl", "-sS", "-m", "8", *words]
        return self.host.run(argv, uid=1001, check=False).stdout


@pytest.fixture
def alone() -> Iterator[Alone]:
    with Lab() as lab:
        host = lab.host("alone")
        publication = mesh.published(
            mesh.service("reviews", mesh.endpoint(host.ipv4, HTTP, service="reviews")),
            mesh.service(
                "forger",
                mesh.endpoint(host.ipv4, FORGER, service="reviews"),
                number=2,
                ports=(replace(mesh.service("x").ports[0], number=FORGER),),
                identities=(mesh.spiffe("reviews"),),
            ),
        )
        ports = (mesh.inbound_port(number, mode=InboundMode.STRICT) for number in (HTTP, FORGER))
        publication.set_inbound("alone", mesh.inbound(*ports))
        words = ["-m", "hostmesh_ctl.demo.apps", "http", "--name", "it", "--port", str(HTTP)]
        host.spawn("app", [sys.executable, *words], uid=1002)
        host.spawn("forger", [sys.executable, "-c", FORGED_ANSWER], uid=1002)
        capture_inbound(host, HTTP, FORGER)
        capture_outbound(host, uids={})
        for port in (HTTP, FORGER):
            # The one exception to "the proxy's own traffic is never captured" (DESIGN 10).
            own = f"-p tcp -o lo -d {host.ipv4} ! -s 127.0.0.6 --dport {port}"
            rule = f"-t nat -I OUTPUT 1 {own} -m owner --uid-owner {ENVOY_UID}"
            host.run(["iptables", *rule.split(), "-j", "REDIRECT", "--to-ports", "15006"])
        known = secrets(authority(), mesh.TRUST_DOMAIN, mesh.SHOP, mesh.BATCH, REVIEWS)
        sidecar = Sidecar(host, publication.resources(mesh.SCOPE, "alone"), known)
        yield Alone(host, publication, sidecar, known)
        sidecar.stop()


def test_a_client_and_a_server_on_one_host_in_strict(alone: Alone) -> None:
    seen = json.loads(alone.curl(f"http://240.240.0.1:{HTTP}/"))
    assert "URI=spiffe://mesh.internal/ns/default/sa/shop" in seen["client_certificate"]
    assert alone.curl("-w", "%{http_code}", f"http://240.240.0.1:{HTTP}/").endswith("200")


def test_an_app_cannot_claim_that_it_never_saw_a_request(alone: Alone) -> None:
    wait_until(lambda: f":{FORGER} " in alone.host.run(["ss", "-ltn"]).stdout)
    answer = alone.curl("-i", "-d", "x", f"http://240.240.0.2:{FORGER}/")
    assert "x-count: 1" in answer, answer
    assert "undelivered" not in answer


def test_a_request_that_meets_a_cluster_without_its_secret_waits_for_it(alone: Alone) -> None:
    """A new service comes with the second identity, whose certificate is a second late."""
    sidecar = alone.sidecar
    late = alone.secrets.pop("default:default/batch")
    sidecar.served.rendered = alone.publication.resources(mesh.TWO_IDENTITIES, "alone")
    service = mesh.service(
        "late", mesh.endpoint(alone.host.ipv4, HTTP, service="reviews"), number=3
    )
    service = replace(service, identities=(mesh.spiffe("reviews"),))
    touched = alone.publication.apply(mesh.added(service))
    sidecar.ads.changed(touched)
    wait_until(lambda: sidecar.warming() > 0, what="the detector of warming clusters")

    def bring() -> None:
        alone.secrets[late.name] = late
        sidecar.ads.changed({type_urls.SECRET: {late.name}})

    timer = threading.Timer(1.0, bring)
    timer.start()
    answer = alone.curl("-w", " %{time_total}", f"http://240.240.0.3:{HTTP}/")
    timer.join()
    text, _, took = answer.rpartition(" ")
    assert json.loads(text)["server"] == "it"
    assert 0.5 < float(took) < 2.5
    wait_until(lambda: sidecar.warming() == 0)


def test_the_detector_of_refusals_sees_one(alone: Alone) -> None:
    sidecar = alone.sidecar
    key = (type_urls.LISTENER, "virtualOutbound")
    sidecar.served.patched[key] = resource(*key, b"\n\x0fvirtualOutbound")
    sidecar.ads.changed({type_urls.LISTENER: {"virtualOutbound"}})
    wait_until(lambda: sidecar.ads.refused, what="a refusal")
