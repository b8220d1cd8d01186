"""HTTP as it was before a proxy stood there: the settings with which Envoy alters least.

Envoy's own defaults lower the case of names, drop trailers, refuse methods that it does not know,
and accept 100 headers of 60 KiB: an app that joins would lose requests that it answered before.
What still differs is in docs/join.md and in what `join` prints.
"""

from functools import cache
from typing import Any

from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2

from hostmesh_controlplane.logic.render.encoding import extension

HEADERS_KIB = 1024
"""All headers of a message together: as much as the most generous servers take by default."""
HEADERS_COUNT = 10_000
"""The size is the limit that matters: this many fit into it."""

UPGRADES = ("websocket", "tcp", "spdy/3.1")
"""What may follow a `101`, whatever it is: Docker's and Kubernetes' streams beside WebSocket."""


@cache
def http1() -> Any:
    """Give the options of an HTTP/1 codec, for either side. The message is shared: copy it."""
    options = protocol_pb2.Http1ProtocolOptions(
        accept_http_10=True, enable_trailers=True, allow_custom_methods=True
    )
    keep = preserve_case_pb2.PreserveCaseFormatterConfig(forward_reason_phrase=True)
    options.header_key_format.stateful_formatter.CopyFrom(
        extension("envoy.http.stateful_header_formatters.preserve_case", keep)
    )
    return options


@cache
def limits(*, of_answers: bool = False) -> Any:
    """Give the options for either HTTP version. The message is shared: copy it."""
    options = protocol_pb2.HttpProtocolOptions()
    options.max_headers_count.value = HEADERS_COUNT
    if of_answers:
        options.max_response_headers_kb.value = HEADERS_KIB
    return options
