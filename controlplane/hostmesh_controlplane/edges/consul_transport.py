"""py-consul's API over a transport of ours, which keeps status, headers and body of each answer.

What the library's own asyncio transport lacks and a watch needs: a timeout longer than the wait,
`stale` on health queries, the headers that say how far to believe an answer, unix sockets, and a
token that comes from its file alone, whatever the environment says.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import consul.base

from hostmesh_controlplane.config import ConsulTls
from hostmesh_controlplane.edges.consul_index import read_timeout
from hostmesh_controlplane.events.catalogs import ConsulFacts
from hostmesh_core.errors import BadInput, HostmeshError

READS = ("/v1/health/", "/v1/catalog/")
"""Any server answers these; which one is told by X-Consul-LastContact and -KnownLeader."""

MAX_CONNECTIONS = 184
"""Consul allows 200 per client address; the rest is for the operator's own tools."""


MAX_ANSWER_BYTES = 32 << 20
"""Ten thousand instances with ordinary meta are 15 MiB."""


class ConsulError(HostmeshError):
    """Consul cannot be read. The text says of which agent and why, without what happens next."""


class ConsulUnreachable(ConsulError):
    """Nobody answers, or not in time."""


class ConsulDenied(ConsulError):
    """The token is refused: unknown, deleted, or without the right to read."""


class ConsulBusy(ConsulError):
    """An answer that is none: rate limits, no leader, an internal error."""


class ConsulTooLarge(ConsulBusy):
    """More than one answer may hold: reading it would stop everything else for seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with everything that the library would drop."""

    status: int
    headers: Mapping[str, str]
    value: object
    """The parsed JSON."""

    @property
    def facts(self) -> ConsulFacts:
        """What the answer says of itself. A missing index is 0."""
        index = self.headers.get("X-Consul-Index", "")
        contact = self.headers.get("X-Consul-LastContact", "")
        return ConsulFacts(
            index=int(index) if index.isdigit() else 0,
            known_leader=self.headers.get("X-Consul-KnownLeader", "true") == "true",
            last_contact_ms=int(contact) if contact.isdigit() else 0,
            filtered_by_acl=self.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true",
        )


@dataclass(frozen=True, slots=True)
class ConsulAgent:
    """Which agent to ask, and how."""

    address: str
    """`http://host:port`, `https://host:port` or `unix:///path`."""
    token_file: str = ""
    datacenter: str = ""
    tls: ConsulTls | None = None

    def check(self) -> None:
        """Raises BadInput for an address, a certificate or a CA that cannot be used."""
        url = urlsplit(self.address)
        if url.scheme == "unix" and url.path:
            return
        if url.scheme not in ("http", "https") or not url.hostname or url.username:
            raise BadInput(
                f"cannot use Consul address {self.address!r}: expected http://host:port, "
                "https://host:port or unix:///path"
            )
        if url.scheme == "https":
            _tls_context(self.tls or ConsulTls())


class Transport(consul.base.HTTPClient):  # type: ignore[misc] # the library has no types
    """One connection pool. `get` gives an Answer; the library's callbacks, which drop what a watch
    needs, are not called.
    """

    def __init__(self, base_uri: str, session: aiohttp.ClientSession, tls: str) -> None:
        self.base_uri = base_uri
        self._session = session
        self._server_name = tls or None

    async def get(
        self,
        callback: Callable[..., object],
        path: str,
        params: list[tuple[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
        raw: bool = False,  # noqa: FBT001, FBT002 (the library's signature)
        connections_timeout: float | None = None,
    ) -> Answer:
        """Ask. Raises ConsulUnreachable, ConsulDenied, ConsulBusy."""
        del callback, raw, connections_timeout
        given = list(params or [])
        if path.startswith(READS) and not {"stale", "consistent"} & {key for key, _ in given}:
            given.append(("stale", "1"))
        wait = dict(given).get("wait", "0ms")
        seconds = read_timeout(int(wait.removesuffix("ms")) / 1000)
        return await self._request(self.uri(path, given), headers or {}, seconds)

    async def _request(self, uri: str, headers: dict[str, str], seconds: float) -> Answer:
        total = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.get(
                uri, headers=headers, timeout=total, server_hostname=self._server_name
            ) as response:
                body = await _body(response)
                return _checked(response.status, response.headers, body)
        except TimeoutError as error:
            raise ConsulUnreachable(f"no answer within {seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error)
            raise ConsulUnreachable(f"no connection: {reason}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConsulUnreachable(str(error) or type(error).__name__) from error

    def put(self, *_: object, **__: object) -> object:
        """Never: the catalog is read, not written."""
        raise RuntimeError("the Consul catalog edge only reads")

    post = delete = put

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Library(consul.base.Consul):  # type: ignore[misc] # the library has no types
    """py-consul's API on a given transport, with no token but the one that is passed."""

    def __init__(self, transport: Transport, datacenter: str) -> None:
        self._transport = transport
        super().__init__("localhost", 8500, scheme="http", verify=True, dc=datacenter or None)
        self.token = None  # the library lets CONSUL_HTTP_TOKEN override what it is given

    def http_connect(self, *_: object, **__: object) -> Transport:
        return self._transport


class ConsulClient:
    """The few questions that a catalog needs. Made inside a running event loop."""

    def __init__(self, agent: ConsulAgent) -> None:
        """Raises BadInput for an address, a certificate or a CA that cannot be used."""
        agent.check()
        self.agent = agent
        base_uri, connector = _connector(agent)
        session = aiohttp.ClientSession(connector=connector, trust_env=False)
        server_name = agent.tls.server_name if agent.tls else ""
        self._transport = Transport(base_uri, session, server_name)
        self._library = _Library(self._transport, agent.datacenter)

    async def names(
        self, *, index: int = 0, wait_seconds: float = 0
    ) -> tuple[frozenset[str], ConsulFacts]:
        """Ask for the names of all services."""
        answer: Answer = await self._library.catalog.services(
            index=index, wait=_wait(wait_seconds), token=self._token()
        )
        if not isinstance(answer.value, dict):
            raise ConsulBusy(f"expected services by name, got {str(answer.value)[:60]}")
        return frozenset(map(str, answer.value)), answer.facts

    async def instances(
        self, service: str, *, index: int = 0, wait_seconds: float = 0
    ) -> tuple[tuple[object, ...], ConsulFacts]:
        """Ask for the instances of a service with their checks, the unhealthy ones included."""
        answer: Answer = await self._library.health.service(
            service, index=index, wait=_wait(wait_seconds), token=self._token()
        )
        if not isinstance(answer.value, list):
            raise ConsulBusy(f"expected a list of instances, got {str(answer.value)[:60]}")
        return tuple(answer.value), answer.facts

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    def _token(self) -> str | None:
        """Read the token anew for every query, so that a replaced file needs no restart."""
        if not self.agent.token_file:
            return None
        try:
            return Path(self.agent.token_file).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise ConsulDenied(
                f"its ACL token file {self.agent.token_file} cannot be read: {error}"
            ) from error


async def _body(response: aiohttp.ClientResponse) -> str:
    """Read all of it. Raises ConsulTooLarge."""
    found = bytearray()
    async for chunk in response.content.iter_chunked(1 << 18):
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            response.close()
            raise ConsulTooLarge(f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB")
    return found.decode("utf-8", errors="replace")


def _wait(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _checked(status: int, headers: Mapping[str, str], body: str) -> Answer:
    said = body.strip()[:120] or "no text"
    match status:
        case 200:
            try:
                return Answer(status, headers, json.loads(body))
            except ValueError as error:
                raise ConsulBusy(f"an answer that is not JSON ({said!r})") from error
        case 401 | 403:
            raise ConsulDenied(f"{said} ({status})")
        case 429 | 503:
            raise ConsulBusy(f"it limits requests: {said} ({status})")
        case _:
            raise ConsulBusy(f"{said} ({status})")


def _connector(agent: ConsulAgent) -> tuple[str, aiohttp.BaseConnector]:
    url = urlsplit(agent.address)
    base_uri = agent.address.rstrip("/")
    match url.scheme:
        case "unix":
            return "http://localhost", aiohttp.UnixConnector(url.path, limit=MAX_CONNECTIONS)
        case "https":
            context = _tls_context(agent.tls or ConsulTls())
            return base_uri, aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=context)
        case _:
            return base_uri, aiohttp.TCPConnector(limit=MAX_CONNECTIONS)


def _tls_context(tls: ConsulTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.certificate_file:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (tls.ca_file, tls.certificate_file, tls.key_file)))
        raise BadInput(f"cannot use tls of the Consul source ({files}): {error}") from error
    return context
