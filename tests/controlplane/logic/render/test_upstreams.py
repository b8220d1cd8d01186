from typing import Any

import pytest

from hostmesh_controlplane.logic.render import upstreams
from hostmesh_controlplane.logic.render.views import UpstreamView
from hostmesh_controlplane.logic.scope import Upstream
from hostmesh_core import type_urls
from hostmesh_core.model import Protocol
from hostmesh_testing import golden as golden_files
from hostmesh_testing.render_reading import message, shown

HOST = "reviews.default.mesh.internal"


def view(protocol: Protocol = Protocol.HTTP, listen: str = "127.0.0.1") -> UpstreamView:
    return UpstreamView(Upstream(listen, 19080, HOST, 9080, protocol), 15001)


def test_an_http_upstream(golden: golden_files.type_golden) -> None:
    texts = [
        shown(type_urls.LISTENER, upstreams.listener(view())),
        shown(type_urls.ROUTE, upstreams.route_configuration(view())),
    ]
    golden("upstream-http.yaml", "---\n".join(texts))


def test_a_tcp_upstream(golden: golden_files.type_golden) -> None:
    golden(
        "upstream-tcp.yaml",
        shown(type_urls.LISTENER, upstreams.listener(view(Protocol.TCP, "::1"))),
    )


@pytest.mark.parametrize("protocol", list(Protocol))
def test_it_binds_and_speaks_as_the_hosts_default_identity(protocol: Protocol) -> None:
    listener = message(type_urls.LISTENER, upstreams.listener(view(protocol)))
    assert not listener.HasField("bind_to_port")  # Envoy's default is to bind
    (chain,) = listener.filter_chains
    state: Any = message(
        chain.filters[0].typed_config.type_url, chain.filters[0].typed_config.value
    )
    (identity,) = state.on_new_connection
    assert identity.object_key == "hostmesh.identity"
    assert identity.format_string.text_format_source.inline_string == "15001"
    assert chain.filters[1].name.endswith(
        "http_connection_manager" if protocol.is_http else "tcp_proxy"
    )
