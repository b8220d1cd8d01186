from typing import Any

from hostmesh_controlplane.logic.render import http_connections
from hostmesh_testing.render_reading import message


def read(found: Any) -> Any:
    return message(found.typed_config.type_url, found.typed_config.value)


INBOUND = read(http_connections.inbound(9080, host="a.example"))
OUTBOUND = read(http_connections.outbound(9080))


def test_both_pass_what_apps_speak() -> None:
    for manager in (INBOUND, OUTBOUND):
        assert manager.http_protocol_options.accept_http_10
        upgrades = [each.upgrade_type for each in manager.upgrade_configs]
        assert upgrades == ["websocket", "tcp", "spdy/3.1"]
        assert manager.proxy_100_continue
        assert manager.max_request_headers_kb.value == 1024
        assert manager.common_http_protocol_options.max_headers_count.value == 10_000


def test_no_timeout_ends_a_silent_request() -> None:
    """Zero is none; Envoy's own defaults are 5 minutes for the first and none for the others."""
    for manager in (INBOUND, OUTBOUND):
        assert manager.HasField("stream_idle_timeout")
        for field in ("stream_idle_timeout", "request_timeout", "request_headers_timeout"):
            assert getattr(manager, field).ToNanoseconds() == 0
        longest = manager.common_http_protocol_options.max_stream_duration
        assert longest.ToNanoseconds() == 0


def test_no_request_id_is_made_up_and_none_is_replaced() -> None:
    for manager in (INBOUND, OUTBOUND):
        assert manager.generate_request_id.value is False
        assert manager.HasField("generate_request_id")
        assert manager.preserve_external_request_id


def test_routes_come_by_rds() -> None:
    assert INBOUND.rds.route_config_name == "inbound|http|9080"
    assert OUTBOUND.rds.route_config_name == "9080"


def test_an_app_cannot_hand_a_certificate_header_to_its_own_sidecar() -> None:
    kind = OUTBOUND.ForwardClientCertDetails
    assert kind.Name(OUTBOUND.forward_client_cert_details) == "SANITIZE"
    assert kind.Name(INBOUND.forward_client_cert_details) == "APPEND_FORWARD"


def test_what_the_app_never_saw_or_what_is_harmless_is_marked_as_repeatable() -> None:
    unseen, ended = INBOUND.local_reply_config.mappers
    assert list(unseen.filter.response_flag_filter.flags) == ["UF", "UH"]
    flag, method = ended.filter.and_filter.filters
    assert list(flag.response_flag_filter.flags) == ["UC"]
    assert method.header_filter.header.name == ":method"
    assert method.header_filter.header.string_match.safe_regex.regex == "GET|HEAD|OPTIONS"
    for mapper in (unseen, ended):
        assert mapper.headers_to_add[0].header.key == "x-hostmesh-undelivered"
    assert not OUTBOUND.local_reply_config.mappers


def test_a_health_checker_without_a_host_header_is_answered() -> None:
    assert INBOUND.http_protocol_options.default_host_for_http_10 == "a.example"
