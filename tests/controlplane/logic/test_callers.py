import math
from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import callers
from hostmesh_controlplane.logic.callers import CallerBook, Seen
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import Identity

NOW = 1_800_000_000.0
A, B = "a" * 32, "b" * 32
WEB = Inbound(
    service="web.default.mesh.internal",
    service_port=80,
    workload_port=8080,
    identity=Identity("default", "web"),
    protocol=None,
    mode=None,
    listen=None,
    mesh_port=0,
    server_first=False,
)


def caller(address: str = "10.1.0.9", last: float = NOW - 5) -> pb.PlaintextCaller:
    return pb.PlaintextCaller(address=address, requests=14, first_seen=NOW - 9, last_seen=last)


def word(*found: pb.PlaintextCaller, service: str = "web", namespace: str = "") -> pb.Callers:
    one = pb.ServiceCallers(
        service=service,
        namespace=namespace,
        workload_port=8080,
        since=NOW - 100,
        plaintext=14,
        mutual_tls=3,
        last_plaintext=NOW - 5,
        callers=found,
    )
    return pb.Callers(services=[one])


def book(**words: pb.Callers) -> CallerBook:
    made = CallerBook()
    for host, said in words.items():
        made.put(host * 32, said, now=NOW)
    return made


def test_a_hosts_latest_word_counts_and_is_the_whole_of_it() -> None:
    made = book(a=word(caller()))
    made.put(A, word(caller("10.1.0.8")), now=NOW)
    ((host, told),) = made.of(WEB.service, {A: (WEB,), B: (WEB,)})
    assert host == A
    assert (told.since, told.plaintext, told.mutual_tls) == (NOW - 100, 14, 3)
    assert told.callers == (Seen("10.1.0.8", 14, NOW - 9, NOW - 5),)


@pytest.mark.parametrize(
    ("said", "declared", "counts"),
    [
        pytest.param(word(), WEB, True, id="by its short name"),
        pytest.param(word(namespace="default"), WEB, True, id="with its namespace"),
        pytest.param(word(namespace="shop"), WEB, False, id="of another namespace"),
        pytest.param(word(service=WEB.service), WEB, True, id="by its full name"),
        pytest.param(word(), replace(WEB, workload_port=1), False, id="of another port"),
        pytest.param(word(service="we"), WEB, False, id="by half its name"),
        pytest.param(
            word(), replace(WEB, service="payments.default.mesh.internal"), False, id="not its own"
        ),
    ],
)
def test_only_what_the_host_declares_counts(
    said: pb.Callers, declared: Inbound, *, counts: bool
) -> None:
    assert bool(book(a=said).of(declared.service, {A: (declared,)})) == counts


def test_a_forgotten_hosts_word_is_gone() -> None:
    made = book(a=word(caller()), b=word(caller()))
    made.forget(A)
    made.forget("never")
    assert [host for host, _ in made.of(WEB.service, {A: (WEB,), B: (WEB,)})] == [B]


def test_what_a_host_says_is_bounded() -> None:
    long = word(*[caller(f"10.1.{n // 256}.{n % 256}") for n in range(300)])
    (told,) = callers.read(long, now=NOW)
    assert len(told.callers) == callers.MAX_CALLERS
    many = pb.Callers(services=[pb.ServiceCallers(service=f"s{n}") for n in range(300)])
    assert len(callers.read(many, now=NOW)) == 256
    assert callers.read(word(service="x" * 300), now=NOW) == ()


def test_a_host_with_many_services_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_CALLERS_OF_HOST", 3)
    two = word(caller("10.1.0.1"), caller("10.1.0.2")).services[0]
    told = callers.read(pb.Callers(services=[two, two, two]), now=NOW)
    assert [len(one.callers) for one in told] == [2, 1, 0]
    assert [one.plaintext for one in told] == [14, 14, 14]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("10.1.0.9", "10.1.0.9"),
        ("::ffff:10.1.0.9", "10.1.0.9"),
        ("FD77::2", "fd77::2"),
    ],
)
def test_addresses_have_one_form(said: str, address: str) -> None:
    (told,) = callers.read(word(caller(said)), now=NOW)
    assert [seen.address for seen in told.callers] == [address]


def test_what_is_no_address_is_left_out() -> None:
    words = word(caller("<script>"), caller(""), caller("fe80::1%\x1b[2J\nroot"))
    (told,) = callers.read(words, now=NOW)
    assert told.callers == ()


@pytest.mark.parametrize("last", [NOW + 9999, math.inf, math.nan, -5.0])
def test_no_clock_of_a_host_makes_a_time_that_cannot_be(last: float) -> None:
    (told,) = callers.read(word(caller(last=last)), now=NOW)
    assert 0 <= told.callers[0].last_seen <= NOW
