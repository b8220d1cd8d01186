from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_controlplane.logic.service_ports import Ports, first_seen, served, settle
from hostmesh_core.model import Port, Protocol, RegisteredInstance
from hostmesh_testing.catalogs import instance, key, listed, service

HTTP, GRPC = Port(9080, Protocol.HTTP, "web"), Port(9080, Protocol.GRPC)
UNSTATED = Port(9080, protocol_defaulted=True)


def consul(*endpoints: str, protocol: Protocol | None = None) -> CatalogService:
    return replace(service(*endpoints), stated_protocol=protocol)


def settled(
    *listings: CatalogService, registered: tuple[RegisteredInstance, ...] = (), stored: int = 0
) -> Ports:
    named = [(f"s{number}", listing) for number, listing in enumerate(listings)]
    return settle(named, registered, stored=stored, registered_rank=1)


@pytest.mark.parametrize(
    ("listings", "registered", "port"),
    [
        pytest.param([service(ports=(HTTP,))], (), HTTP, id="a document alone"),
        pytest.param(
            [service(ports=(HTTP,))],
            (instance("10.0.0.1:9080", port=GRPC),),
            Port(9080, Protocol.GRPC, "web"),
            id="the registration's protocol, the document's name",
        ),
        pytest.param(
            [service(ports=(HTTP,))],
            (instance("10.0.0.1:9080", port=UNSTATED),),
            HTTP,
            id="an unstated protocol does not count",
        ),
        pytest.param(
            [service(ports=(UNSTATED,)), consul("10.0.0.1:1", protocol=Protocol.HTTP2)],
            (),
            Port(9080, Protocol.HTTP2),
            id="Consul's meta where nobody else says",
        ),
        pytest.param([service(ports=(UNSTATED,))], (), UNSTATED, id="tcp by default says so"),
        pytest.param(
            [consul("10.0.0.1:9080")], (), UNSTATED, id="Consul alone: the instance's port"
        ),
    ],
)
def test_a_ports_attributes(
    listings: list[CatalogService], registered: tuple[RegisteredInstance, ...], port: Port
) -> None:
    assert settled(*listings, registered=registered).ports == (port,)


def test_a_port_speaks_first_where_anybody_says_so() -> None:
    first = replace(HTTP, server_first=True)
    registered = (instance("10.0.0.1:9080", port=first),)
    assert settled(service(ports=(HTTP,)), registered=registered).ports[0].server_first


def test_different_protocols_are_reported() -> None:
    registered = (instance("10.0.0.1:9080", port=GRPC),)
    ports = settled(service(ports=(HTTP,)), registered=registered)
    assert ports.conflicts == ("port 9080 speaks grpc as registered says; s0 says http",)


@pytest.mark.parametrize(
    ("declared", "stored", "served_port"),
    [
        pytest.param((), 0, 20001, id="nobody numbers it: the smallest instance port"),
        pytest.param((), 31000, 31000, id="nobody numbers it: the one that was stored"),
        pytest.param((HTTP,), 31000, 9080, id="the only declared one"),
        pytest.param((HTTP, Port(80)), 80, 80, id="several declared: the stored one"),
        pytest.param((HTTP, Port(20002)), 0, 0, id="several declared: it cannot be told"),
    ],
)
def test_what_an_unnumbered_instance_serves(
    declared: tuple[Port, ...], stored: int, served_port: int
) -> None:
    listings = [consul("10.0.0.1:20001", "10.0.0.2:20005")]
    if declared:
        listings.append(service(ports=declared))
    ports = settled(*listings, stored=stored)
    assert served(listed("10.0.0.1:20001"), ports) == served_port


@pytest.mark.parametrize(
    ("above", "added", "registered", "served_port"),
    [
        pytest.param((), 9999, (80,), 80, id="a number that a catalog adds moves nobody"),
        pytest.param((), 20001, (80,), 80, id="nor does the one that was stored"),
        pytest.param((), 9999, (80, 443), 0, id="hosts register two ports: it cannot be told"),
        pytest.param(
            (Port(20001),), 9999, (80,), 20001, id="a static document declares the stored"
        ),
        pytest.param((), 20001, (), 20001, id="no host registers it"),
    ],
)
def test_what_an_unnumbered_instance_serves_where_a_catalog_adds_a_number(
    above: tuple[Port, ...], added: int, registered: tuple[int, ...], served_port: int
) -> None:
    numbered = listed("10.0.0.9:1", port=added)
    consuls = replace(service("10.0.0.2:20001", numbered), ports=(Port(added),))
    hosts = tuple(instance(f"10.0.0.1:{n}", port=Port(n)) for n in registered)
    ports = settled(service(ports=above), consuls, registered=hosts, stored=20001)
    assert served(consuls.endpoints[0], ports) == served_port


def test_an_instance_is_told_by_number_name_or_its_own_port() -> None:
    ports = settled(service(ports=(HTTP, Port(80, name="old"))))
    assert served(listed("10.0.0.1:1", port=80), ports) == 80
    assert served(CatalogEndpoint(key("10.0.0.1:1"), port_name="old"), ports) == 80
    assert served(CatalogEndpoint(key("10.0.0.1:1"), port_name="new"), ports) == 0
    assert served(listed("10.0.0.1:80"), ports) == 80


@pytest.mark.parametrize(
    ("listings", "port"),
    [
        pytest.param([service(listed("10.0.0.1:1", port=80))], 0, id="numbered: none is needed"),
        pytest.param([consul("10.0.0.1:20005", "10.0.0.2:20001")], 20001, id="the smallest"),
        pytest.param([consul("10.0.0.1:20005"), service(ports=(HTTP,))], 9080, id="the declared"),
    ],
)
def test_the_port_to_remember(listings: list[CatalogService], port: int) -> None:
    assert first_seen([("s", listing) for listing in listings], ()) == port
