import json
from typing import Any

import pytest
from google.protobuf import json_format

from hostmesh_controlplane.logic.render import callers
from hostmesh_core import names
from hostmesh_testing.render_reading import message


def read(logger: Any) -> Any:
    """The logger's configuration, as Envoy reads it out of the TypedStruct."""
    struct = message(logger.typed_config.type_url, logger.typed_config.value)
    assert struct.type_url.endswith("access_loggers.stats.v3.Config")
    return json.loads(json_format.MessageToJson(struct.value))


def counted(logger: Any) -> tuple[str, dict[str, str]]:
    (counter,) = read(logger)["counters"]
    assert counter["value_fixed"] == 1
    tags = {tag["name"]: tag["value_format"] for tag in counter["stat"]["tags"]}
    return counter["stat"]["name"], tags


@pytest.mark.parametrize("http", [True, False])
def test_plaintext_is_counted_whole_and_by_the_connections_own_address(*, http: bool) -> None:
    total, by_address = callers.loggers(8080, mtls=False, http=http)
    assert counted(total) == ("plaintext", {"port": "8080"})
    assert counted(by_address) == (
        "plaintext_from",
        {"port": "8080", "caller": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"},
    )


def test_only_what_anybody_can_add_to_is_bounded() -> None:
    total, by_address = callers.loggers(8080, mtls=False, http=True)
    assert read(total)["stats_scope"] == {"prefix": names.CALLERS_STATS}
    scope = read(by_address)["stats_scope"]
    assert scope["max_counters"] == callers.MAX_ADDRESSES
    assert scope["enable_eviction"]


@pytest.mark.parametrize("http", [True, False])
def test_mutual_tls_is_one_number(*, http: bool) -> None:
    (logger,) = callers.loggers(8080, mtls=True, http=http)
    assert counted(logger) == ("mutual_tls", {"port": "8080"})
    assert "max_counters" not in read(logger)["stats_scope"]


@pytest.mark.parametrize(
    ("inspected", "expected"),
    [
        (True, 'connection.requested_server_name != "proof.hostmesh"'),
        (False, "source.port < 15170 || source.port > 15179"),
    ],
)
def test_the_agents_own_proof_is_left_out(*, inspected: bool, expected: str) -> None:
    (logger,) = callers.loggers(3306, mtls=True, http=False, inspected=inspected)
    _, not_proof = logger.filter.and_filter.filters
    config = not_proof.extension_filter.typed_config
    assert message(config.type_url, config.value).expression == expected


def test_a_request_counts_as_it_begins() -> None:
    for logger in callers.loggers(8080, mtls=False, http=True):
        assert list(logger.filter.log_type_filter.types) == [4]  # DownstreamStart


def test_a_connection_counts_once_it_reached_the_app_or_when_it_never_did() -> None:
    for logger in callers.loggers(5432, mtls=False, http=False):
        reached, lost = logger.filter.or_filter.filters
        assert list(reached.log_type_filter.types) == [1]  # TcpUpstreamConnected
        ended, flags = lost.and_filter.filters
        assert list(ended.log_type_filter.types) == [3]  # TcpConnectionEnd
        assert "UF" in flags.response_flag_filter.flags
