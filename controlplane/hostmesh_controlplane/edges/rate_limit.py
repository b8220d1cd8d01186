"""How often one address may ask: a token bucket each. IPv6 counts by /64, which one host owns."""

import ipaddress
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimit:
    """`burst` requests at once, `per_second` in the long run, for each address."""

    def __init__(self, *, per_second: float, burst: float, most: int = 50_000) -> None:
        self._rate = per_second
        self._burst = burst
        self._most = most
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, address: str, *, now: float) -> float:
        """Take one request; give 0, or the seconds after which the next would be let in."""
        key = _key(address)
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        # Taken out and put back: the first in the dict is who was quiet for the longest time.
        self._buckets[key] = bucket
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        if bucket.left < 1:
            return (1 - bucket.left) / self._rate
        bucket.left -= 1
        return 0.0


def _key(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network(f"{ip}/64", strict=False))
