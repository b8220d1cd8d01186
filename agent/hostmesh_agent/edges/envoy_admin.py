"""Envoy's admin, over its unix socket. Every call is bounded in time and size."""

import asyncio
import json
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote

from hostmesh_agent.edges import http_get
from hostmesh_agent.edges.http_get import Answer, Ask
from hostmesh_core.errors import Refused, Unreachable

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 128 * 1024 * 1024
"""A configuration dump of thousands of clusters fits; what is larger is not read into memory."""


class AdminUnreachable(Unreachable):
    """Envoy's admin does not answer: no Envoy, one that only starts, or one that hangs."""


class AdminRefused(Refused):
    """Envoy's admin answered, and not with 200."""


class EnvoyAdmin:
    """The admin of the one Envoy that has the socket: in a hot restart, the newer one."""

    def __init__(self, socket_path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._path = socket_path
        self._timeout = timeout_seconds

    async def get(self, path: str, *, method: str = "GET", max_bytes: int = MAX_BYTES) -> bytes:
        """Ask for a path. Raises AdminUnreachable, or AdminRefused where the status is not 200."""
        answer = await self._ask(Ask(path, method), max_bytes)
        if answer.status != 200:
            words = answer.body.decode(errors="replace").strip()[:200]
            raise AdminRefused(f"cannot get {path} from Envoy's admin: {answer.status} {words}")
        return answer.body

    async def _ask(self, ask: Ask, max_bytes: int) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    return await http_get.fetch(reader, writer, ask, max_bytes=max_bytes)
                finally:
                    writer.close()
        except TimeoutError as error:
            raise AdminUnreachable(
                f"cannot reach Envoy's admin {self._path}: no answer in {self._timeout:g} s"
            ) from error
        except (OSError, http_get.BadAnswer) as error:
            raise AdminUnreachable(f"cannot reach Envoy's admin {self._path}: {error}") from error

    async def is_ready(self) -> bool:
        """Tell whether Envoy says LIVE. It proves less than the worker listener does."""
        return (await self._ask(Ask("/ready"), 4096)).status == 200

    async def server_info(self) -> Mapping[str, object]:
        """Give version, state, uptime and command line."""
        return await self._json("/server_info")

    async def stats(self, pattern: str = "", *, used_only: bool = False) -> dict[str, int]:
        """Give counters and gauges whose name matches the regular expression `pattern`.

        A zero counter is in it unless `used_only`; histograms never are.
        """
        query = f"&filter={quote(pattern, safe='')}" if pattern else ""
        used = "&usedonly" if used_only else ""
        found = await self._json(f"/stats?format=json{used}{query}")
        stats = cast(list[Mapping[str, object]], found.get("stats", []))
        return {
            str(stat["name"]): value
            for stat in stats
            if "name" in stat and isinstance(value := stat.get("value"), int)
        }

    async def counters(self, pattern: str) -> dict[str, int]:
        """Give the counters that have counted something and match; the cheapest of such questions.

        Gauges, and counters of clusters that nobody has used, are not even looked at.
        """
        query = f"type=Counters&usedonly&filter={quote(pattern, safe='')}"
        found = await self._json(f"/stats?format=json&{query}")
        stats = cast(list[Mapping[str, object]], found.get("stats", []))
        return {str(stat["name"]): cast(int, stat["value"]) for stat in stats if "name" in stat}

    async def epoch(self) -> int | None:
        """Give the restart epoch of the Envoy that answers."""
        options = (await self.server_info()).get("command_line_options")
        found = options.get("restart_epoch", 0) if isinstance(options, dict) else None
        return found if isinstance(found, int) else None

    async def prometheus(self) -> bytes:
        """Give the Prometheus text."""
        return await self.get("/stats/prometheus")

    async def clusters(self) -> Mapping[str, object]:
        """Give the clusters with their hosts' health: those that are active, not those warming."""
        return await self._json("/clusters?format=json")

    async def listeners(self) -> Mapping[str, object]:
        """Give the active listeners."""
        return await self._json("/listeners?format=json")

    async def config_dump(
        self, *, resource: str = "", named: str = "", with_endpoints: bool = False
    ) -> bytes:
        """Give the configuration as JSON bytes.

        `resource` names one part of it, the regular expression `named` what of that.
        """
        parts = [f"resource={quote(resource)}"] if resource else []
        parts += [f"name_regex={quote(named, safe='')}"] if named else []
        parts += ["include_eds"] if with_endpoints else []
        return await self.get("/config_dump" + ("?" + "&".join(parts) if parts else ""))

    async def certs(self) -> Mapping[str, object]:
        """Give the certificates that are loaded, with serial numbers and days left."""
        return await self._json("/certs")

    async def fail_health_check(self) -> None:
        """Let the readiness listener answer 503 from now on."""
        await self.get("/healthcheck/fail", method="POST")

    async def drain_listeners(self, *, inbound_only: bool = False) -> None:
        """Begin a graceful drain: GOAWAY and `Connection: close`; Envoy itself goes on."""
        inbound = "&inboundonly" if inbound_only else ""
        await self.get(f"/drain_listeners?graceful&skip_exit{inbound}", method="POST")

    async def set_log_level(self, level: str) -> None:
        """Set the level of every logger."""
        await self.get(f"/logging?level={quote(level)}", method="POST")

    async def _json(self, path: str) -> Mapping[str, object]:
        body = await self.get(path)
        try:
            found = json.loads(body)
        except ValueError as error:
            raise AdminUnreachable(f"cannot read Envoy's answer to {path}: {error}") from error
        if not isinstance(found, dict):
            raise AdminUnreachable(f"cannot read Envoy's answer to {path}: not an object")
        return found
