import time
from pathlib import Path

import pytest

from hostmesh_ctl.demo.consul import PORT, ConsulFailed, ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.inside import NoAnswer, ask

REVIEWS = Instance(service="reviews", address="10.77.0.9", port=9080, meta={"protocol": "http"})


def _server(lab: Lab, binary: Path, *, acl: bool = False) -> ConsulServer:
    server = ConsulServer(lab.host("cp"), binary, acl=acl)
    started = time.monotonic()
    server.start()
    print(f"leader after {time.monotonic() - started:.1f} s")
    return server


def test_what_is_registered_is_listed_until_it_is_not(lab: Lab, consul_bin: Path) -> None:
    server = _server(lab, consul_bin)
    server.register(REVIEWS)
    (listed,) = server.instances("reviews")
    service = listed["Service"]
    assert isinstance(service, dict)
    assert (service["Address"], service["Port"]) == ("10.77.0.9", 9080)
    assert service["Meta"] == {"protocol": "http"}
    server.deregister(REVIEWS)
    assert server.instances("reviews") == []


def test_data_outlives_a_kill(lab: Lab, consul_bin: Path) -> None:
    server = _server(lab, consul_bin)
    server.register(REVIEWS)
    server.kill()
    with pytest.raises(NoAnswer, match="cannot connect"):
        server.instances("reviews")
    server.start()
    assert len(server.instances("reviews")) == 1


def test_a_token_without_its_policy_reads_an_empty_catalog(lab: Lab, consul_bin: Path) -> None:
    server = _server(lab, consul_bin, acl=True)
    server.bootstrap_acl()
    server.register(REVIEWS)
    accessor, secret = server.make_token()

    def seen() -> tuple[int, bytes]:
        path, headers = "/v1/health/service/reviews", {"X-Consul-Token": secret}
        return ask(server.host.holder.pid, path, port=PORT, headers=headers)

    assert b"10.77.0.9" in seen()[1]
    server.set_policy("")
    assert seen() == (200, b"[]")
    server.delete_token(accessor)
    assert seen()[0] == 403
    with pytest.raises(ConsulFailed, match="Consul says 404"):
        server.get("/v1/kv/none")
