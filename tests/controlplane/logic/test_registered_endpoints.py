from hostmesh_controlplane.logic.registered_endpoints import instance_keys
from hostmesh_testing.catalogs import instance, key


def test_every_key_under_which_a_catalog_may_list_an_instance() -> None:
    registered = instance("10.0.0.1:15443", "[fd77::1]:15443", workload_port=9080)
    assert instance_keys(registered) == {
        key("10.0.0.1:15443"),
        key("[fd77::1]:15443"),
        key("10.0.0.1:9080"),
        key("[fd77::1]:9080"),
    }
