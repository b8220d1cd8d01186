import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from hostmesh_controlplane.edges import operator_api
from hostmesh_controlplane.edges.operator_api import Audited, Call, Route
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable
from hostmesh_ctl.api_client import ApiClient


async def _serve(
    path: Path, routes: list[Route], use: Callable[[ApiClient], object]
) -> tuple[object, list[Audited]]:
    audited: list[Audited] = []
    async with operator_api.serve(str(path), routes, audit=audited.append):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == 0o660, oct(mode)
        result = await asyncio.to_thread(use, ApiClient(str(path)))
    assert not path.exists()
    return result, audited


async def _echo(call: Call) -> object:
    return {"path": dict(call.path), "query": dict(call.query), "body": dict(call.body)}


def test_a_read_gets_path_and_query_and_leaves_no_audit_line(tmp_path: Path) -> None:
    routes = [Route("GET", "/v1/endpoints/{name}", _echo)]
    result, audited = asyncio.run(
        _serve(tmp_path / "api.sock", routes, lambda api: api.get("endpoints", "a/b", x="1 2"))
    )
    assert result == {"path": {"name": "a/b"}, "query": {"x": "1 2"}, "body": {}}
    assert audited == []


def test_a_write_names_its_caller_by_the_kernels_word(tmp_path: Path) -> None:
    routes = [Route("POST", "/v1/services/{name}/require-mesh", _echo)]
    _, audited = asyncio.run(
        _serve(
            tmp_path / "api.sock",
            routes,
            lambda api: api.post("services", "web", "require-mesh", body={"force": True}),
        )
    )
    (line,) = audited
    assert (line.caller.uid, line.caller.pid) == (os.getuid(), os.getpid())
    assert line.call == "POST /v1/services/web/require-mesh"
    assert (line.body, line.outcome) == ({"force": True}, "done")


async def _changing(_: Call) -> object:
    return {"done": "web is in state mesh", "host": "web.full", "change": "mixed -> mesh"}


async def _refusing(_: Call) -> object:
    raise Refused("cannot require mesh", {"change": "mixed -> mixed", "withheld": ["10.0.0.2:80"]})


def test_a_write_about_a_state_is_audited_with_what_it_changed_and_so_is_its_refusal(
    tmp_path: Path,
) -> None:
    routes = [Route("POST", "/v1/web", _changing), Route("POST", "/v1/api", _refusing)]

    def use(api: ApiClient) -> object:
        api.post("web")
        with pytest.raises(Refused, match="cannot require mesh") as refused:
            api.post("api")
        return refused.value.detail

    detail, audited = asyncio.run(_serve(tmp_path / "api.sock", routes, use))
    assert detail == {"change": "mixed -> mixed", "withheld": ["10.0.0.2:80"]}
    assert [(line.about, line.change, line.outcome) for line in audited] == [
        ("web.full", "mixed -> mesh", "done"),
        ("", "mixed -> mixed", "cannot require mesh"),
    ]


@pytest.mark.parametrize(
    ("answer", "about"),
    [
        pytest.param({"host": "a" * 32}, "a" * 32, id="one host or service"),
        pytest.param({"hosts": ["a", "b"]}, "a,b", id="several hosts"),
        pytest.param({"id": "0123", "token": "secret"}, "0123", id="a token"),
        pytest.param([], "", id="nothing that is named"),
    ],
)
def test_a_write_is_audited_with_what_it_was_found_to_be_about(
    tmp_path: Path, answer: object, about: str
) -> None:
    async def give(_: Call) -> object:
        return answer

    routes = [Route("POST", "/v1/web", give)]
    _, audited = asyncio.run(_serve(tmp_path / "api.sock", routes, lambda api: api.post("web")))
    assert [line.about for line in audited] == [about]


def test_a_command_that_takes_effect_later_is_audited_with_what_it_will_change(
    tmp_path: Path,
) -> None:
    late = Unreachable("cannot store it yet", {"host": "web.full", "change": "mixed -> mesh"})

    def use(api: ApiClient) -> None:
        with pytest.raises(Unreachable, match="cannot store it yet"):
            api.post("web")

    routes = [Route("POST", "/v1/web", _failing(late))]
    _, (line,) = asyncio.run(_serve(tmp_path / "api.sock", routes, use))
    assert (line.about, line.change, line.outcome) == (
        *("web.full", "mixed -> mesh"),
        "cannot store it yet",
    )


def _failing(error: HostmeshError) -> Callable[[Call], Awaitable[object]]:
    async def fail(_: Call) -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BadInput("cannot use a"), id="what a person wrote"),
        pytest.param(Refused("cannot allow b"), id="a refusal"),
        pytest.param(Unreachable("cannot reach c"), id="a dependency that is away"),
    ],
)
def test_an_error_keeps_its_family_and_sentence(tmp_path: Path, error: HostmeshError) -> None:
    def use(api: ApiClient) -> object:
        with pytest.raises(type(error), match=str(error)):
            api.post("x")
        return None

    _, audited = asyncio.run(
        _serve(tmp_path / "api.sock", [Route("POST", "/v1/x", _failing(error))], use)
    )
    assert [line.outcome for line in audited] == [str(error)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(lambda api: api.get("nothing"), "cannot", id="an unknown path"),
        pytest.param(
            lambda api: api.post("x", body={"big": "y" * 100_000}), "cannot", id="an oversized body"
        ),
    ],
)
def test_what_is_no_call_is_refused_in_words(
    tmp_path: Path, call: Callable[[ApiClient], object], said: str
) -> None:
    def use(api: ApiClient) -> object:
        with pytest.raises(HostmeshError, match=said):
            call(api)
        return None

    asyncio.run(_serve(tmp_path / "api.sock", [Route("POST", "/v1/x", _echo)], use))


async def _post(path: Path, body: bytes) -> tuple[int, object]:
    """Write a body of any bytes, as no client of ours would."""
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as session:
        answer = await session.post("http://localhost/v1/x", data=body)
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("body", "refused", "words"),
    [
        pytest.param(
            b"[" * 60_000, 400, "nested too deeply", id="more brackets than the stack holds"
        ),
        pytest.param(b"{", 400, "cannot read the request's body as JSON", id="half an object"),
        pytest.param(b"[]", 400, "expected a JSON object", id="no object"),
        pytest.param(b" " * 100_000, 413, "at most 65536 bytes", id="more than is read"),
    ],
)
def test_a_body_that_is_no_object_is_bad_input_and_audited(
    tmp_path: Path, body: bytes, refused: int, words: str
) -> None:
    audited: list[Audited] = []
    path = tmp_path / "api.sock"

    async def play() -> tuple[int, object]:
        routes = [Route("POST", "/v1/x", _echo)]
        async with operator_api.serve(str(path), routes, audit=audited.append):
            return await _post(path, body)

    status, answer = asyncio.run(play())
    (line,) = audited
    assert words in line.outcome
    assert (status, answer) == (refused, {"error": line.outcome})


async def _buggy(_: Call) -> object:
    raise KeyError("a secret of the inside")


async def _not_json(_: Call) -> object:
    return object()


@pytest.mark.parametrize(
    ("method", "handler", "kind"),
    [
        pytest.param("POST", _buggy, KeyError, id="a write"),
        pytest.param("GET", _buggy, KeyError, id="a read, which is else not audited"),
        pytest.param("POST", _not_json, TypeError, id="an answer that is no JSON"),
    ],
)
def test_a_bug_is_answered_in_a_sentence_and_audited(
    tmp_path: Path,
    method: str,
    handler: Callable[[Call], Awaitable[object]],
    kind: type[Exception],
) -> None:
    def use(api: ApiClient) -> object:
        with pytest.raises(HostmeshError) as failed:
            api.get("x") if method == "GET" else api.post("x")
        return str(failed.value)

    routes = [Route(method, "/v1/x", handler)]
    said, audited = asyncio.run(_serve(tmp_path / "api.sock", routes, use))
    (line,) = audited
    assert said == line.outcome
    assert line.outcome.startswith(f"cannot carry out {method} /v1/x: a bug")
    assert "secret" not in line.outcome
    assert isinstance(line.bug, kind)


def test_an_absent_control_plane_is_named_with_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="hostmesh-controlplane run"):
        ApiClient(str(tmp_path / "none.sock")).get("hosts")


def test_the_sockets_folder_is_made_closed_to_others(tmp_path: Path) -> None:
    seen: list[int] = []

    def use(_: ApiClient) -> None:
        seen.append((tmp_path / "run").stat().st_mode & 0o7777)

    asyncio.run(_serve(tmp_path / "run/api.sock", [Route("POST", "/v1/x", _echo)], use))
    assert seen == [0o2750]
