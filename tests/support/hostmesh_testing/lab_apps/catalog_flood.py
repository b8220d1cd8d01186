"""Fills a Consul with what nobody needs, as fast as it takes it, over one kept connection.

Run as `python -m … ADDRESS SERVICES ENDPOINTS`: that many services of their own, and that many
endpoints in the service web, among them addresses that are no other host's.
"""

import http.client
import json
import sys
from collections.abc import Iterator

HUGE = {f"k{n}": "x" * 500 for n in range(60)}
BAD = (
    *("127.0.0.1", "::1", "169.254.169.254", "255.255.255.255", "224.0.0.1"),
    *("240.240.0.1", "fd48:6d65:7368::1", "fe80::1", "::ffff:127.0.0.1", "::10.77.0.2"),
)


def _registration(name: str, service_id: str, address: str, **more: object) -> dict[str, object]:
    service = {"ID": service_id, "Service": name, "Address": address, "Port": 9080, **more}
    return {"Node": f"evil-{service_id[:40]}", "Address": address, "Service": service}


def flood(services: int, endpoints: int) -> Iterator[dict[str, object]]:
    """Give all registrations, the two kinds in turns."""
    for number in range(max(services, endpoints)):
        third, fourth = divmod(number, 250)
        address = f"10.66.{third}.{fourth + 1}"
        if number < services:
            meta = {"protocol": ("http", "tcp", "grpc", "none")[number % 4]}
            yield _registration(f"flood-{number}", f"f{number}", address, Meta=meta)
        if number < endpoints:
            weights = {"Passing": (0, 1, 65535)[number % 3], "Warning": 1}
            yield _registration("web", f"w{number}", address, Weights=weights, Meta=HUGE)
    for number, address in enumerate(BAD):
        yield _registration("web", f"bad{number}", address)


def main() -> None:
    address, services, endpoints = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connection = http.client.HTTPConnection(address, 8500, timeout=30)
    print("serving", flush=True)  # noqa: T201
    refused = 0
    for count, body in enumerate(flood(services, endpoints)):
        connection.request("PUT", "/v1/catalog/register", json.dumps(body))
        answer = connection.getresponse()
        words = answer.read()
        if answer.status != 200:
            refused += 1
            if refused < 5:
                print(f"refused {count}: {answer.status} {words[:200]!r}", flush=True)  # noqa: T201
    print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
