import asyncio
import urllib.error
import urllib.request

from prometheus_client import CollectorRegistry, Counter

from hostmesh_controlplane.edges import monitoring


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_the_two_probes() -> None:
    registry = CollectorRegistry()
    Counter("hostmesh_refusals", "Refusals.", registry=registry).inc(3)
    waiting = ["source dc1"]

    async def run() -> None:
        async with monitoring.serve(
            "127.0.0.1", 0, registry=registry, ready=lambda: ", ".join(waiting)
        ) as port:
            status, text = await asyncio.to_thread(_get, port, "/metrics")
            assert status == 200
            assert "hostmesh_refusals_total 3.0" in text
            assert await asyncio.to_thread(_get, port, "/healthz") == (200, "ok\n")
            assert await asyncio.to_thread(_get, port, "/readyz") == (503, "source dc1\n")
            waiting.clear()
            assert await asyncio.to_thread(_get, port, "/readyz") == (200, "ready\n")

    asyncio.run(run())
