import pytest

from hostmesh_ctl.demo.consul import Instance, settings


def test_an_instance_is_listed_with_its_own_address_and_check() -> None:
    made = Instance(service="web", address="10.0.0.4", port=80, status="warning", tags=["v1"])
    body = made.registration()
    assert body["Node"] == "node-10.0.0.4"
    assert body["Service"] == {
        "ID": "web-10.0.0.4-80",
        "Service": "web",
        "Address": "10.0.0.4",
        "Port": 80,
        "Meta": {},
        "Tags": ["v1"],
    }
    assert body["Check"] == {
        "CheckID": "service:web-10.0.0.4-80",
        "Name": "alive",
        "Status": "warning",
        "ServiceID": "web-10.0.0.4-80",
    }


@pytest.mark.parametrize("acl", [True, False])
def test_access_is_refused_by_default_only_where_asked(*, acl: bool) -> None:
    made = settings("10.0.0.1", acl=acl)
    assert ("acl" in made) is acl
    assert made["bind_addr"] == "10.0.0.1"


def test_it_answers_dns_only_where_asked() -> None:
    assert settings("10.0.0.1", acl=False)["ports"] == {"dns": -1}
    assert settings("10.0.0.1", acl=False, dns=True)["ports"] == {"dns": 8600}
