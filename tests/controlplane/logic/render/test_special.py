from hostmesh_controlplane.logic.render import special
from hostmesh_controlplane.logic.render.views import DirectView
from hostmesh_core import type_urls
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown


def test_clusters_of_no_service(golden: golden_files.type_golden) -> None:
    bodies = (
        special.black_hole(),
        special.passthrough(),
        special.direct(DirectView.of(mesh.SCOPE)),
    )
    golden("special.yaml", "---\n".join(shown(type_urls.CLUSTER, body) for body in bodies))


def test_an_instances_own_address_is_never_reached_in_plaintext() -> None:
    for scope in (mesh.SCOPE, mesh.TWO_IDENTITIES, mesh.NO_IDENTITY):
        cluster = message(type_urls.CLUSTER, special.direct(DirectView.of(scope)))
        used = [each.transport_socket for each in cluster.transport_socket_matches]
        used = used or [cluster.transport_socket]
        assert {each.name for each in used} == {"envoy.transport_sockets.tls"}
