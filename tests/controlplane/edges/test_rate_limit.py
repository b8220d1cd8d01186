"""A bucket of requests for each address."""

from hostmesh_controlplane.edges.rate_limit import RateLimit


def _let_in(limit: RateLimit, address: str, count: int, *, now: float) -> int:
    return sum(limit.wait(address, now=now) == 0 for _ in range(count))


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    limit = RateLimit(per_second=2, burst=5)
    assert _let_in(limit, "10.0.0.1", 10, now=0.0) == 5
    assert _let_in(limit, "10.0.0.1", 10, now=1.0) == 2
    assert _let_in(limit, "10.0.0.1", 10, now=100.0) == 5


def test_who_is_too_fast_is_told_how_long_to_wait() -> None:
    limit = RateLimit(per_second=2, burst=1)
    assert limit.wait("10.0.0.1", now=0.0) == 0
    wait = limit.wait("10.0.0.1", now=0.0)
    assert wait == 0.5
    assert limit.wait("10.0.0.1", now=wait) == 0


def test_addresses_are_apart() -> None:
    limit = RateLimit(per_second=1, burst=1)
    assert limit.wait("10.0.0.1", now=0.0) == 0
    assert limit.wait("10.0.0.2", now=0.0) == 0


def test_a_whole_ipv6_subnet_is_one_asker() -> None:
    limit = RateLimit(per_second=1, burst=1)
    assert limit.wait("2001:db8::1", now=0.0) == 0
    assert limit.wait("2001:db8::ffff:2", now=0.0) > 0
    assert limit.wait("2001:db8:0:1::1", now=0.0) == 0


def test_many_addresses_cost_so_much_memory_and_no_more() -> None:
    limit = RateLimit(per_second=1, burst=2, most=100)
    for n in range(1000):
        limit.wait(f"10.0.{n // 256}.{n % 256}", now=0.0)
    assert len(limit._buckets) == 100
