"""/metrics, /healthz and /readyz on :15014: plain HTTP, loopback unless configured otherwise.

No configuration is dumped here: what it says may be read by whoever can connect.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Ready = Callable[[], str]
"""Gives an empty text when ready, else a sentence that says what is waited for."""


@asynccontextmanager
async def serve(
    host: str, port: int, *, registry: CollectorRegistry, ready: Ready
) -> AsyncIterator[int]:
    """Serve until left; gives the port bound (as asked, or the free one that 0 got)."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        waiting_for = ready()
        return web.Response(
            text=(waiting_for or "ready") + "\n", status=503 if waiting_for else 200
        )

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
