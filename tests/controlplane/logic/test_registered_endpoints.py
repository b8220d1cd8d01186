from hostmesh_controlplane.logic.registered_endpoints import instance_keys
from hostmesh_testing.catalogs import RATINGS, Mesh, instance, key


def test_every_key_under_which_a_catalog_may_list_an_instance() -> None:
    registered = instance("10.0.0.1:15443", "[fd77::1]:15443", workload_port=9080)
    assert instance_keys(registered) == {
        key("10.0.0.1:15443"),
        key("[fd77::1]:15443"),
        key("10.0.0.1:9080"),
        key("[fd77::1]:9080"),
    }


def test_of_a_second_family_another_service_has_the_key_and_the_first_family_counts() -> None:
    mesh = Mesh()
    mesh.register(instance("[fd77::1]:9080"))
    both = instance("10.0.0.1:9080", "[fd77::1]:9080", host=RATINGS, host_id="b" * 32)
    mesh.register(both, host_id="b" * 32)
    (endpoint,) = mesh.service(RATINGS).endpoints
    assert (endpoint.key, endpoint.additional) == (key("10.0.0.1:9080"), ())
