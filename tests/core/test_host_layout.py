from dataclasses import fields

import pytest

from hostmesh_core.host_layout import HostLayout


def paths(layout: HostLayout) -> dict[str, str]:
    """Give every path that a layout names."""
    names = [
        name for name in vars(type(layout)) if isinstance(getattr(type(layout), name), property)
    ]
    return {name: getattr(layout, name) for name in names}


def test_two_instances_share_no_path() -> None:
    one, other = paths(HostLayout("one")), paths(HostLayout("other"))
    assert not set(one.values()) & set(other.values())
    assert len(set(one.values())) == len(one)


def test_the_default_instances_file_is_agent_yaml() -> None:
    assert HostLayout().config_file == "/etc/hostmesh/agent.yaml"
    assert HostLayout("edge").config_file == "/etc/hostmesh/agent-edge.yaml"


@pytest.mark.parametrize("name", [name for name in paths(HostLayout()) if name.endswith("_socket")])
def test_sockets_fit_into_the_kernels_address_whatever_the_instance(name: str) -> None:
    longest = "i" * 20  # what agent.yaml allows
    assert len(paths(HostLayout(longest))[name].encode()) < 108


def test_all_lies_in_the_hosts_own_places() -> None:
    places = ("/etc/hostmesh/", "/var/lib/hostmesh/", "/run/hostmesh/", "/var/log/hostmesh/")
    elsewhere = {path for path in paths(HostLayout()).values() if not path.startswith(places)}
    assert elsewhere == {"/run/hostmesh-default.lock"}  # root's, in no folder of another user
    assert HostLayout().bootstrap_file(3) == "/run/hostmesh/default/envoy/bootstrap-3.json"


def test_what_an_instance_is_known_by_is_its_name_alone() -> None:
    assert [field.name for field in fields(HostLayout)] == ["instance"]
