import json
import re

import pytest

from hostmesh_agent.logic import inbound_ports
from hostmesh_core import names


def _listener(name: str, active: list[str], warming: list[str]) -> dict[str, object]:
    def state(chains: list[str]) -> dict[str, object]:
        return {"listener": {"name": name, "filter_chains": [{"name": one} for one in chains]}}

    return {"name": name, "active_state": state(active), "warming_state": state(warming)}


def test_the_ports_of_active_chains_are_served_and_those_that_warm_are_not() -> None:
    chains = [names.inbound_chain(8080, "mtls"), names.inbound_chain(8080, "plaintext")]
    dump = {
        "configs": [
            _listener(names.VIRTUAL_INBOUND, chains, [names.inbound_chain(9090, "mtls")]),
            _listener(names.mesh_port_listener(18070), [names.inbound_chain(7070, "any")], []),
            {"name": "inbound_1"},
        ]
    }
    assert inbound_ports.served(json.dumps(dump).encode()) == {8080, 7070}


@pytest.mark.parametrize("dump", [b"", b"{}", b"[]", b'{"configs": [{}]}'])
def test_nothing_is_served_by_what_says_nothing(dump: bytes) -> None:
    assert inbound_ports.served(dump) == frozenset()


def test_a_route_s_name_is_no_chain() -> None:
    active = [names.inbound_route(8080), names.inbound_tcp_policy(9090)]
    dump = {"configs": [_listener(names.VIRTUAL_INBOUND, active, [])]}
    assert inbound_ports.served(json.dumps(dump).encode()) == frozenset()


def test_only_inbound_listeners_are_asked_for() -> None:
    assert re.search(inbound_ports.LISTENERS, names.VIRTUAL_INBOUND)
    assert re.search(inbound_ports.LISTENERS, names.mesh_port_listener(18080))
    assert not re.search(inbound_ports.LISTENERS, names.outbound_http_listener(80))
