from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import strictness
from hostmesh_controlplane.logic.callers import Seen, Told
from hostmesh_controlplane.logic.service_state import Mark, ServiceRecord
from hostmesh_controlplane.logic.strictness import Account, Count
from hostmesh_core.model import Endpoint, InboundMode, Service, ServiceState
from hostmesh_testing import render_mesh as mesh

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0
A, B = "a" * 32, "b" * 32
MARK = Mark(NOW, "root (uid 0): service strict")
STRICT, PERMISSIVE, DISABLE = InboundMode.STRICT, InboundMode.PERMISSIVE, InboundMode.DISABLE


def endpoint(number: int, host_id: str = "") -> Endpoint:
    service = "web" if host_id else ""
    return mesh.endpoint(f"10.0.0.{number}", 80, service=service, host_id=host_id)


def web(
    *endpoints: Endpoint, state: ServiceState = ServiceState.MIXED, **changes: object
) -> Service:
    return replace(mesh.service("web", *endpoints), state=state, **changes)  # type: ignore[arg-type]


def seen(address: str, ago: float, requests: int = 14) -> Seen:
    return Seen(address, requests, NOW - 10 * DAY, NOW - ago)


def count(
    *callers: Seen, host_id: str = A, since: float = 2 * DAY, plaintext: int | None = None
) -> Count:
    total = sum(one.requests for one in callers) if plaintext is None else plaintext
    last = max((one.last_seen for one in callers), default=NOW - 5 if total else 0.0)
    told = Told("web", "", 80, NOW - since, total, 7, last, callers)
    return Count(host_id, f"host-{host_id[0]}", told)


BOTH = web(endpoint(1, A), endpoint(2, B))


def known(*counts: Count, service: Service = BOTH) -> Account:
    return strictness.account(service, counts, now=NOW, named=lambda one: f"host-{one[0]}")


def test_the_callers_of_a_day_are_told_by_host_the_latest_first() -> None:
    found = known(
        count(seen("10.1.0.9", 60), seen("10.1.0.8", 2 * DAY)),
        count(seen("10.1.0.9", 5), host_id=B, since=HOUR),
    )
    assert [(c.address, c.seen_at) for c in found.callers] == [
        ("10.1.0.9", "host-b"),
        ("10.1.0.9", "host-a"),
    ]
    assert found.mutual_tls == 14
    assert found.since == NOW - HOUR, "the youngest count is what it is worth"


def test_calls_whose_addresses_nobody_kept_are_callers_too() -> None:
    found = known(count(seen("10.1.0.8", 2 * DAY), plaintext=20))
    assert not found.callers, "none of them came in the last day"
    found = known(count(seen("10.1.0.9", 60), plaintext=20))
    assert [(c.address, c.requests) for c in found.callers] == [
        ("10.1.0.9", 14),
        ("further addresses", 6),
    ]
    assert known(count(plaintext=3)).callers[0].address == "further addresses"


def test_where_nobody_counts_is_said() -> None:
    service = web(endpoint(1, A), endpoint(2, B), endpoint(3))
    assert known(count(), service=service).uncounted == (
        "10.0.0.2:80 on host-b has not told yet",
        "10.0.0.3:80 has no agent",
    )


CALLED = count(seen("10.1.0.9", 3))
SILENT = count(), count(host_id=B)


def strict(*counts: Count, force: bool = False, service: Service = BOTH) -> str:
    """Decide; gives the refusal, empty where it is strict now."""
    decision = strictness.strict(
        service,
        ServiceRecord(),
        known(*counts, service=service),
        now=NOW,
        force=force,
        mark=MARK,
    )
    expected = ServiceRecord() if decision.refused else strict_record()
    assert decision.record == expected
    return decision.refused


def strict_record() -> ServiceRecord:
    return replace(ServiceRecord(), inbound=STRICT, inbound_set=MARK)


def test_strict_is_refused_while_somebody_calls_without_the_mesh() -> None:
    assert strict(CALLED) == (
        "cannot make web.default.mesh.internal strict: 1 caller came without the mesh in the last "
        "24 h: 10.1.0.9 (14 requests, the last 3 s ago at host-a); join them, or shut them out "
        "with `hostmesh service strict web.default.mesh.internal --force`"
    )
    many = count(*[seen(f"10.1.0.{number}", number, requests=1) for number in range(1, 9)])
    assert "10.1.0.5 (1 request, the last 5 s ago at host-a) and 3 more; join" in strict(many)


HALF_TOLD = (
    "cannot make web.default.mesh.internal strict: who calls 10.0.0.2:80 on host-b has not been "
    "told yet; that takes up to 15 s after a host has joined or reached a control plane that has "
    "just started: ask again then, or go without knowing with "
    "`hostmesh service strict web.default.mesh.internal --force`"
)


def test_strict_is_refused_while_a_host_has_not_told_who_calls_it() -> None:
    assert strict(count()) == HALF_TOLD
    assert "who calls 10.0.0.1:80 on host-a, 10.0.0.2:80 on host-b has not been told" in strict()
    assert strict(count(), service=web(endpoint(1, A), endpoint(3))) == "", "it has no agent"


def test_a_host_that_told_of_one_port_has_not_told_of_another() -> None:
    other = replace(endpoint(2, A), workload_port=8080)
    assert "who calls 10.0.0.2:80 on host-a has not been" in strict(
        count(), service=web(endpoint(1, A), other)
    )


def test_strict_is_refused_where_nobody_counts() -> None:
    assert "none of its instances counts its callers" in strict(service=web(endpoint(1)))


@pytest.mark.parametrize(
    ("counts", "force"),
    [
        pytest.param(SILENT, False, id="nobody called"),
        pytest.param(
            (count(seen("10.1.0.9", DAY + 1)), SILENT[1]), False, id="not in the last day"
        ),
        pytest.param((CALLED,), True, id="by force"),
        pytest.param((), True, id="by force where nobody counts"),
    ],
)
def test_strict(counts: tuple[Count, ...], *, force: bool) -> None:
    assert strict(*counts, force=force) == ""


def test_what_is_strict_already_stays_as_it_was_set() -> None:
    before = replace(strict_record(), inbound_set=Mark(NOW - DAY, "somebody"))
    decision = strictness.strict(BOTH, before, known(CALLED), now=NOW, force=False, mark=MARK)
    assert decision.record == before
    assert not decision.refused


def test_the_way_back_is_always_open() -> None:
    back = Mark(NOW, "root (uid 0): service permissive")
    record = strictness.permissive(strict_record(), mark=back).record
    assert (record.inbound, record.inbound_set) == (PERMISSIVE, back)


@pytest.mark.parametrize(
    ("service", "counts", "said"),
    [
        pytest.param(BOTH, SILENT, [], id="a day, everywhere"),
        pytest.param(
            BOTH,
            (count(), count(host_id=B, since=2 * HOUR)),
            [
                "callers are counted at every instance for 2 h only: who calls once a day may not "
                "have come yet"
            ],
            id="younger than a day at one instance",
        ),
        pytest.param(
            web(endpoint(1, A), endpoint(3)),
            (count(),),
            ["the callers of these are not counted: 10.0.0.3:80 has no agent"],
            id="an instance without agent",
        ),
        pytest.param(
            web(endpoint(3), state=ServiceState.PLAIN),
            (),
            [
                "the callers of these are not counted: 10.0.0.3:80 has no agent",
                "no instance is in the mesh: it takes effect at each one that joins",
            ],
            id="plain",
        ),
    ],
)
def test_warnings(service: Service, counts: tuple[Count, ...], said: list[str]) -> None:
    assert strictness.warnings(service, known(*counts, service=service), now=NOW) == said


def test_what_hosts_own_files_say_is_not_kept_quiet() -> None:
    own = {"web1": {STRICT}, "web2": {PERMISSIVE}, "web3": {DISABLE}}
    assert strictness.strict_modes(own) == [
        "agent.yaml of web2 says inbound: permissive; an operator's strict counts before it",
        "agent.yaml of web3 says inbound: disable; an operator's strict counts before it",
    ]
    assert strictness.permissive_modes(own) == [
        "agent.yaml of web1 says inbound: strict, and that counts there",
        "agent.yaml of web3 says inbound: disable, and that counts there",
    ]


@pytest.mark.parametrize(
    ("own", "service", "mesh_wide", "shown"),
    [
        ({}, None, PERMISSIVE, "permissive"),
        ({}, None, STRICT, "strict"),
        ({}, PERMISSIVE, STRICT, "permissive"),
        ({"web1": {STRICT}}, None, PERMISSIVE, "permissive, strict at web1"),
        ({"web1": {DISABLE}}, STRICT, PERMISSIVE, "strict"),
        ({"web1": {PERMISSIVE}}, None, PERMISSIVE, "permissive"),
    ],
)
def test_the_mode_in_force(
    own: dict[str, set[InboundMode]],
    service: InboundMode | None,
    mesh_wide: InboundMode,
    shown: str,
) -> None:
    assert strictness.in_force(web(inbound=service), own, mesh_wide) == shown


HOST = "web.default.mesh.internal"


@pytest.mark.parametrize(
    ("service", "counts", "step"),
    [
        pytest.param(
            web(endpoint(1), state=ServiceState.PLAIN),
            (),
            "hostmesh token create --service web",
            id="nobody is in",
        ),
        pytest.param(
            web(endpoint(1, A), endpoint(2)),
            (count(),),
            "join the other 1: hostmesh token create --service web",
            id="not all are in",
        ),
        pytest.param(
            BOTH, (CALLED,), f"join its callers: hostmesh service show {HOST}", id="callers are not"
        ),
        pytest.param(BOTH, SILENT, f"hostmesh service strict {HOST}", id="all are in"),
        pytest.param(
            BOTH,
            (count(since=2 * HOUR), SILENT[1]),
            f"hostmesh service strict {HOST} (counted for 2 h)",
            id="not for long",
        ),
        pytest.param(
            BOTH,
            (count(),),
            f"wait until its hosts have told who calls: hostmesh service show {HOST}",
            id="one has not told",
        ),
        pytest.param(
            replace(BOTH, inbound=STRICT),
            SILENT,
            f"hostmesh service require-mesh {HOST}",
            id="strict",
        ),
        pytest.param(
            replace(BOTH, inbound=STRICT, state=ServiceState.MESH), SILENT, "", id="there"
        ),
    ],
)
def test_the_next_step(service: Service, counts: tuple[Count, ...], step: str) -> None:
    found = known(*counts, service=service)
    assert strictness.next_step(service, found, PERMISSIVE, now=NOW) == step


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short_name": "web"}, "--service web"),
        ({"short_name": "web", "namespace": "shop"}, "--service web --namespace shop"),
        ({"host": "api.example.com", "short_name": ""}, "--service api.example.com"),
    ],
)
def test_the_token_for_one_more_host_is_one_that_it_can_register_with(
    changes: dict[str, str], words: str
) -> None:
    service = replace(web(), **changes)  # type: ignore[arg-type]
    assert strictness.join_command(service) == f"hostmesh token create {words}"


@pytest.mark.parametrize(
    ("services", "host", "said"),
    [
        ((), "", ""),
        ((), "shop1", "host shop1"),
        (["shop.x"], "shop1", "shop.x on shop1"),
        (["b.x", "a.x"], "", "a.x, b.x"),
    ],
)
def test_who(services: list[str], host: str, said: str) -> None:
    assert strictness.who(services, host) == said


def test_rows_are_for_tables_and_machines() -> None:
    found = known(CALLED)
    assert strictness.rows(found.callers, lambda address: f"host of {address}", now=NOW) == [
        {
            "address": "10.1.0.9",
            "caller": "host of 10.1.0.9",
            "requests": 14,
            "first_seen": NOW - 10 * DAY,
            "last_seen": NOW - 3,
            "ago": "3 s",
            "seen_at": "host-a",
        }
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (3, "3 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (3 * DAY, "3 d")],
)
def test_ago(seconds: float, said: str) -> None:
    assert strictness.ago(seconds) == said
