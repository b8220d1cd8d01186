import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

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


def test_an_absent_control_plane_is_named_with_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="hostmesh-controlplane run"):
        ApiClient(str(tmp_path / "none.sock")).get("hosts")


def test_the_sockets_folder_is_made_closed_to_others(tmp_path: Path) -> None:
    seen: list[int] = []

    def use(_: ApiClient) -> None:
        seen.append((tmp_path / "run").stat().st_mode & 0o7777)

    asyncio.run(_serve(tmp_path / "run/api.sock", [Route("POST", "/v1/x", _echo)], use))
    assert seen == [0o2750]
