from hostmesh_controlplane.logic.render import unchanged


def test_a_codec_alters_nothing_that_it_can_leave() -> None:
    options = unchanged.http1()
    assert options.accept_http_10
    assert options.enable_trailers
    assert options.allow_custom_methods
    formatter = options.header_key_format.stateful_formatter
    assert formatter.name == "envoy.http.stateful_header_formatters.preserve_case"
    assert not options.allow_chunked_length


def test_limits_are_larger_than_what_servers_take() -> None:
    asked, answered = unchanged.limits(), unchanged.limits(of_answers=True)
    assert asked.max_headers_count.value == answered.max_headers_count.value == 10_000
    assert answered.max_response_headers_kb.value == 1024
    assert not asked.HasField("max_response_headers_kb")
