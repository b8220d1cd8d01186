from immutables import Map

from hostmesh_controlplane.logic.key_index import (
    Claim,
    Claims,
    by_arrival,
    keys_of,
    owner,
    reclaimed,
    relisted,
)
from hostmesh_testing.catalogs import RATINGS, REVIEWS, instance, key, service

A, B = "a" * 32, "b" * 32
KEY = key("10.0.0.1:9080")


def test_a_key_belongs_to_the_service_that_registered_it_first() -> None:
    first = (instance("10.0.0.1:9080", host_id=A),)
    second = (instance("10.0.0.1:9080", host=RATINGS, host_id=B),)
    claims = reclaimed(Map(), A, old=(), new=first)
    claims = reclaimed(claims, B, old=(), new=second)
    assert owner(claims, KEY) == REVIEWS

    again = reclaimed(claims, A, old=first, new=(instance("10.0.0.1:9080", host_id=A),))
    assert owner(again, KEY) == REVIEWS, "a registration that stays keeps its place"
    assert owner(reclaimed(claims, A, old=first, new=()), KEY) == RATINGS
    assert owner(claims, key("10.0.0.9:1")) == ""


def test_the_apps_own_port_belongs_to_it_as_well() -> None:
    mine = (instance("10.0.0.1:15443", workload_port=9080, host_id=A),)
    claims = reclaimed(Map(), A, old=(), new=mine)
    assert owner(claims, KEY) == REVIEWS
    assert reclaimed(claims, A, old=mine, new=()) == Map()


def test_who_lists_a_key() -> None:
    both = (("files", service("10.0.0.1:9080", "10.0.0.2:9080")), ("dc1", service("10.0.0.1:9080")))
    listed = relisted(Map(), REVIEWS, before=(), after=both)
    listed = relisted(listed, RATINGS, before=(), after=both[1:])
    assert listed[KEY] == {REVIEWS, RATINGS}
    assert keys_of(both) == {KEY, key("10.0.0.2:9080")}
    assert dict(relisted(listed, REVIEWS, before=both, after=())) == {KEY: {RATINGS}}


def test_instances_of_one_key_come_in_the_order_of_their_arrival() -> None:
    claims: Claims = Map({KEY: (Claim(REVIEWS, B), Claim(REVIEWS, A))})
    mine = instance("10.0.0.1:9080", host_id=A), instance("10.0.0.1:9080", host_id=B)
    assert [one.host_id for one in by_arrival(claims, mine)] == [B, A]
