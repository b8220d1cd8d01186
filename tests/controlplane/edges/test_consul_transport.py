import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from hostmesh_controlplane.config import ConsulTls
from hostmesh_controlplane.edges import consul_transport
from hostmesh_controlplane.edges.consul_transport import (
    ConsulAgent,
    ConsulBusy,
    ConsulClient,
    ConsulDenied,
    ConsulError,
    ConsulTooLarge,
    ConsulUnreachable,
)
from hostmesh_controlplane.events.catalogs import ConsulFacts
from hostmesh_core.errors import BadInput
from hostmesh_testing.fake_consul import FakeConsul, instances, serving


async def ask(
    fake: FakeConsul, *, agent: ConsulAgent | None = None, index: int = 0
) -> tuple[tuple[object, ...], ConsulFacts]:
    client = ConsulClient(agent or ConsulAgent(fake.address))
    try:
        return await client.instances("reviews", index=index, wait_seconds=0.2)
    finally:
        await client.close()


def test_health_queries_are_stale_unfiltered_and_carry_index_and_wait() -> None:
    async def run() -> FakeConsul:
        async with serving(FakeConsul({"reviews": instances(range(2))})) as fake:
            listed, facts = await ask(fake, index=7)
            assert len(listed) == 2
            assert facts == ConsulFacts(100, known_leader=True, last_contact_ms=3)
        return fake

    ((path, query, _),) = asyncio.run(run()).requests
    assert path == "/v1/health/service/reviews"
    assert query == {"index": "7", "wait": "200ms", "stale": "1"}


def test_names_are_asked_for_stale_too() -> None:
    async def run() -> FakeConsul:
        async with serving(FakeConsul({"reviews": []})) as fake:
            client = ConsulClient(ConsulAgent(fake.address, datacenter="dc2"))
            names, _ = await client.names()
            assert names == {"consul", "reviews"}
            await client.close()
        return fake

    assert asyncio.run(run()).requests[0][1] == {"dc": "dc2", "stale": "1"}


def test_a_blocking_query_waits_for_the_change() -> None:
    async def run() -> None:
        async with serving(FakeConsul({"reviews": instances(range(2))})) as fake:
            client = ConsulClient(ConsulAgent(fake.address))
            async with asyncio.TaskGroup() as tasks:
                query = tasks.create_task(client.instances("reviews", index=100, wait_seconds=30))
                await asyncio.sleep(0.05)
                assert not query.done()
                await fake.set("reviews", instances(range(3)))
            listed, facts = query.result()
            assert (len(listed), facts.index) == (3, 101)
            await client.close()

    asyncio.run(run())


def test_the_headers_of_a_newer_release_are_facts() -> None:
    async def run() -> ConsulFacts:
        headers = {
            "X-Consul-Results-Filtered-By-ACLs": "true",
            "X-Consul-KnownLeader": "false",
            "X-Consul-LastContact": "12000",
            "X-Consul-Query-Backend": "streaming",
        }
        async with serving(FakeConsul(headers=headers)) as fake:
            _, facts = await ask(fake)
        return facts

    assert asyncio.run(run()) == ConsulFacts(
        100, known_leader=False, last_contact_ms=12_000, filtered_by_acl=True
    )


def test_the_token_comes_from_its_file_as_a_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    token_file = tmp_path / "token"
    token_file.write_text("of-the-file\n")

    async def run() -> FakeConsul:
        async with serving(FakeConsul()) as fake:
            agent = ConsulAgent(fake.address, str(token_file))
            await ask(fake, agent=agent)
            token_file.write_text("replaced")
            await ask(fake, agent=agent)
            await ask(fake)
        return fake

    requests = asyncio.run(run()).requests
    assert [headers.get("X-Consul-Token") for _, _, headers in requests] == [
        "of-the-file",
        "replaced",
        None,
    ]
    assert all("token" not in query for _, query, _ in requests)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        pytest.param(403, "ACL not found", ConsulDenied, id="a deleted token"),
        pytest.param(403, "Permission denied", ConsulDenied, id="no right"),
        pytest.param(401, "", ConsulDenied, id="401"),
        pytest.param(429, "Your IP is issuing too many", ConsulBusy, id="429"),
        pytest.param(503, "rate limit", ConsulBusy, id="503"),
        pytest.param(500, "No cluster leader", ConsulBusy, id="500"),
    ],
)
def test_statuses_become_errors_with_consuls_words(
    status: int, text: str, error: type[ConsulError]
) -> None:
    async def run() -> None:
        async with serving(FakeConsul(status=status, text=text)) as fake:
            await ask(fake)

    with pytest.raises(error) as caught:
        asyncio.run(run())
    assert str(status) in str(caught.value)
    assert text in str(caught.value)


def test_nobody_there() -> None:
    with pytest.raises(ConsulUnreachable, match="no connection: "):
        asyncio.run(ask(FakeConsul(address="http://127.0.0.1:9")))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("<html>", "not JSON", id="not JSON"),
        pytest.param('{"a": 1}', "expected a list of instances", id="another shape"),
    ],
)
def test_answers_that_are_none(body: str, words: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body)

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{tail:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            await ask(FakeConsul(address=f"http://127.0.0.1:{runner.addresses[0][1]}"))
        finally:
            await runner.cleanup()

    with pytest.raises(ConsulBusy, match=words):
        asyncio.run(run())


def test_an_answer_that_would_stop_everything_else_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consul_transport, "MAX_ANSWER_BYTES", 1 << 20)

    async def run() -> None:
        async with serving(FakeConsul({"reviews": instances(range(256)) * 30})) as fake:
            with pytest.raises(ConsulTooLarge, match="more than 1 MiB"):
                await ask(fake)

    asyncio.run(run())


def test_a_unix_socket(tmp_path: Path) -> None:
    async def run() -> int:
        fake = FakeConsul({"reviews": instances(range(2))})
        app = web.Application()
        app.router.add_get("/{tail:.*}", fake.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "consul.sock")).start()
        try:
            agent = ConsulAgent(f"unix://{tmp_path}/consul.sock")
            listed, _ = await ask(fake, agent=agent)
            return len(listed)
        finally:
            await runner.cleanup()

    assert asyncio.run(run()) == 2


def test_a_token_file_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    agent = ConsulAgent("http://127.0.0.1:9", str(tmp_path / "absent"))
    with pytest.raises(ConsulDenied, match=r"its ACL token file .*absent cannot be read"):
        asyncio.run(ask(FakeConsul(), agent=agent))


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        pytest.param(ConsulAgent("127.0.0.1:8500"), "expected http://host:port", id="no scheme"),
        pytest.param(ConsulAgent("http://"), "cannot use Consul address", id="no host"),
        pytest.param(ConsulAgent("unix://"), "cannot use Consul address", id="no path"),
        pytest.param(ConsulAgent("http://u:p@h:1"), "cannot use Consul address", id="a password"),
        pytest.param(
            ConsulAgent("https://h:8501", tls=ConsulTls(ca_file="/absent/ca.pem")),
            "/absent/ca.pem",
            id="a missing CA",
        ),
    ],
)
def test_an_agent_that_cannot_be_asked_is_refused_at_once(agent: ConsulAgent, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        agent.check()
