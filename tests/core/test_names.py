"""Others' dashboards, filters and alerts hold these names: a change here breaks them."""

from hostmesh_core import names
from hostmesh_core.ids import Identity


def test_names_are_istios_or_fixed_from_the_first_release() -> None:
    host = names.mesh_host("reviews", "shop", "mesh.internal")
    assert host == "reviews.shop.mesh.internal"
    assert names.outbound_cluster(host, 9080, "v1") == f"outbound|9080|v1|{host}"
    assert names.outbound_cluster(host, 9080) == f"outbound|9080||{host}"
    assert names.inbound_cluster(8080) == "inbound|8080||"
    assert names.inbound_route(8080) == "inbound|http|8080"
    assert names.outbound_http_listener(80) == "0.0.0.0_80"
    assert names.outbound_tcp_listener("240.240.0.1", 3306) == "240.240.0.1_3306"
    assert names.outbound_route(80) == "80"
    assert names.virtual_host(host, 80) == f"{host}:80"
    assert names.sni(host, 80) == f"outbound_.80_._.{host}"
    assert names.certificate_secret(Identity("shop", "web")) == "default:shop/web"
    assert names.root_secret("mesh.internal") == "ROOTCA:mesh.internal"
    assert names.control_plane_host("mesh.internal") == "control-plane.mesh.internal"
