from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import answers
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    Health,
    InboundMode,
    Origin,
    Port,
    Protocol,
    Service,
    ServiceState,
    Withheld,
)

WEB = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/web")
MESHED = Endpoint(
    EndpointKey.of("10.0.0.1", 80), 80, 80, identity=WEB, sources=("files", "registered")
)
PLAIN = Endpoint(EndpointKey.of("10.0.0.2", 80), 80, 80, sources=("consul",))
SERVICE = Service(
    "web.default.mesh.internal",
    "default",
    ports=(Port(80, Protocol.HTTP),),
    vip4="240.240.0.1",
    short_name="web",
    state=ServiceState.MIXED,
    endpoints=(MESHED, PLAIN),
    sources=("files", "consul", "registered"),
)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        pytest.param(("files", "registered"), "files+registered", id="a file and a registration"),
        pytest.param(("registered", "consul"), "consul+registered", id="catalogs come first"),
        pytest.param(("consul",), "consul", id="a catalog alone"),
    ],
)
def test_sources(sources: tuple[str, ...], expected: str) -> None:
    assert answers.source_text(sources) == expected


@pytest.mark.parametrize(
    ("state", "endpoint", "meshed", "why"),
    [
        pytest.param(ServiceState.MIXED, MESHED, "yes", "", id="meshed"),
        pytest.param(ServiceState.MIXED, PLAIN, "no", "plaintext 100 %", id="plain and reached"),
        pytest.param(ServiceState.PLAIN, PLAIN, "no", "plain: no agent", id="a plain service's"),
        pytest.param(ServiceState.MESH, PLAIN, "withheld", "unmeshed", id="plain and withheld"),
        pytest.param(
            ServiceState.MIXED,
            replace(MESHED, health=Health.UNHEALTHY, reasons=("app: refused",)),
            "yes",
            "app: refused",
            id="its health's reason",
        ),
        pytest.param(
            ServiceState.MIXED, replace(MESHED, held=True), "yes", "held", id="held and why"
        ),
    ],
)
def test_an_endpoint_says_meshed_or_not_and_why(
    state: ServiceState, endpoint: Endpoint, meshed: str, why: str
) -> None:
    (row,) = answers.endpoint_rows(replace(SERVICE, state=state, endpoints=(endpoint,)))
    assert row["meshed_text"] == meshed
    assert why in str(row["why"])
    assert bool(row["why"]) == bool(why)


def test_what_is_withheld_is_listed_with_its_reason() -> None:
    withheld = Withheld(EndpointKey.of("10.0.0.9", 80), "consul", "registered by another service")
    rows = answers.endpoint_rows(replace(SERVICE, withheld=(withheld,)))
    assert rows[-1]["endpoint"] == "10.0.0.9:80"
    assert rows[-1]["why"] == "registered by another service"


def test_the_commonest_reasons_of_what_is_withheld_are_notes() -> None:
    reasons = ["lease ended"] * 3 + ["outside"] * 2 + ["owned"] * 2 + ["refuses"]
    withheld = tuple(
        Withheld(EndpointKey.of(f"10.0.0.{n}", 80), "consul", reason)
        for n, reason in enumerate(reasons)
    )
    row = answers.service_row(replace(SERVICE, withheld=withheld), InboundMode.PERMISSIVE)
    assert row["notes"] == [
        "3 endpoint(s) withheld: lease ended",
        "2 endpoint(s) withheld: outside",
        "2 endpoint(s) withheld: owned",
        "1 more withheld for other reasons: hostmesh service show",
    ]


def test_a_silent_tcp_is_said_aloud() -> None:
    silent = replace(SERVICE, ports=(Port(80, protocol_defaulted=True),))
    row = answers.service_row(silent, InboundMode.PERMISSIVE)
    assert "nobody states its protocol" in str(row["notes"])
    assert answers.service_row(SERVICE, InboundMode.PERMISSIVE)["notes"] == []


def test_counts_by_source() -> None:
    counts = answers.source_counts([SERVICE, replace(SERVICE, host="b", endpoints=())])
    assert counts == {"files": (2, 1, 0), "consul": (2, 1, 0), "registered": (2, 1, 0)}


WRITTEN = Origin(node="n7", service_id="web-2", since=43391.0)


def test_an_unmeshed_endpoint_says_where_it_is_written_since_when_and_its_share() -> None:
    written = replace(PLAIN, origins=(("consul", WRITTEN),))
    row = answers.endpoint_rows(replace(SERVICE, endpoints=(MESHED, written)))[1]
    assert row["origin"] == "node n7 (web-2)"
    assert (row["node"], row["service_id"]) == ("n7", "web-2")
    assert row["since"] == "1970-01-01 12:03:11Z"
    assert (row["plaintext"], row["plaintext_share"]) == ("50 %", 0.5)
    assert row["why"] == "plaintext 50 % — node n7 (web-2), listed since 1970-01-01 12:03:11Z"


def test_of_several_catalogs_each_word_is_shown() -> None:
    origins = (("files", Origin(file="web.yaml:9", since=9.0)), ("consul", WRITTEN))
    (row,) = answers.endpoint_rows(
        replace(SERVICE, endpoints=(replace(MESHED, origins=origins, host_id="7f3a" * 8),))
    )
    assert row["origin"] == "web.yaml:9; node n7 (web-2)"
    assert row["since"] == "1970-01-01 00:00:09Z"
    assert row["plaintext_share"] is None
    said = row["origins"]
    assert isinstance(said, list)
    assert [one["source"] for one in said] == ["files", "consul"]


def test_an_instance_that_no_catalog_lists_names_its_host() -> None:
    (row,) = answers.endpoint_rows(
        replace(SERVICE, endpoints=(replace(MESHED, host_id="7f3a" * 8),))
    )
    assert (row["origin"], row["since"]) == ("host 7f3a7f3a…", "")


def test_what_is_withheld_says_where_it_is_written() -> None:
    withheld = Withheld(EndpointKey.of("10.0.0.9", 80), "consul", "taken", WRITTEN)
    row = answers.endpoint_rows(replace(SERVICE, withheld=(withheld,)))[-1]
    assert (row["origin"], row["since"]) == ("node n7 (web-2)", "1970-01-01 12:03:11Z")


def test_a_service_shows_its_plaintext_share() -> None:
    row = answers.service_row(SERVICE, InboundMode.PERMISSIVE)
    assert (row["plaintext"], row["plaintext_share"]) == ("50 %", 0.5)
