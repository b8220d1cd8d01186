"""Who joins by a token, and who does not: the authority with its store, many at once."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hostmesh_agent.edges.keys import new_key
from hostmesh_controlplane.app.authority import Enrolled
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_core.token import JoinToken
from hostmesh_testing.authority_world import AuthorityWorld, Play, player


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return player(tmp_path)


def test_a_token_of_one_use_lets_one_of_many_racers_in(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token = await world.token()
        outcomes = await asyncio.gather(*(world.enrol(token) for _ in range(20)))
        assert sum(isinstance(outcome, Enrolled) for outcome in outcomes) == 1
        assert world.authority.refusals == {Reason.TOKEN_USED: 19}
        assert len(world.authority.hosts()) == 1

    play(scenario)


def test_a_token_of_many_uses_lets_exactly_so_many_in(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token = await world.token(uses=7)
        outcomes = await asyncio.gather(*(world.enrol(token) for _ in range(20)))
        joined = [outcome for outcome in outcomes if isinstance(outcome, Enrolled)]
        assert len({host.host_id for host in joined}) == 7
        assert world.authority.refusals == {Reason.TOKEN_USED: 13}

    play(scenario)


def test_the_same_key_may_ask_again_because_its_answer_was_lost(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token, csr = await world.token(), new_key().csr_pem
        first = await world.enrol(token, csr)
        again = await world.enrol(token, csr)
        assert isinstance(first, Enrolled)
        assert isinstance(again, Enrolled)
        assert again.host_id == first.host_id
        assert len(world.authority.hosts()) == 1
        await world.authority.revoke_host(first.host_id, "stolen")
        refused = await world.enrol(token, csr)
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.HOST_REVOKED

    play(scenario)


async def _expired(world: AuthorityWorld) -> str:
    token = await world.token(ttl_seconds=60)
    world.clock.advance(60)
    return token


async def _revoked(world: AuthorityWorld) -> str:
    token = await world.token()
    await world.authority.revoke_token(JoinToken.parse(token).id)
    return token


async def _used(world: AuthorityWorld) -> str:
    token = await world.token()
    await world.enrol(token)
    return token


async def _other_secret(world: AuthorityWorld) -> str:
    token = JoinToken.parse(await world.token())
    return JoinToken(token.id, "f" * 64, token.pin).reveal()


async def _never_made(_: AuthorityWorld) -> str:
    return JoinToken("f" * 16, "f" * 64, "f" * 64).reveal()


async def _no_token(_: AuthorityWorld) -> str:
    return "hm1.what.is.this"


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        pytest.param(_expired, Reason.TOKEN_EXPIRED, id="an expired token"),
        pytest.param(_revoked, Reason.TOKEN_REVOKED, id="a revoked token"),
        pytest.param(_used, Reason.TOKEN_USED, id="a replayed token"),
        pytest.param(_other_secret, Reason.TOKEN_UNKNOWN, id="a known id with another secret"),
        pytest.param(_never_made, Reason.TOKEN_UNKNOWN, id="a token that nobody made"),
        pytest.param(_no_token, Reason.MALFORMED, id="a text that is no token"),
    ],
)
def test_nobody_joins_with(
    play: Play, prepare: Callable[[AuthorityWorld], Coroutine[Any, Any, str]], reason: Reason
) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token = await prepare(world)
        before = len(world.authority.hosts())
        refused = await world.enrol(token)
        assert isinstance(refused, Refusal)
        assert refused.reason is reason
        assert world.authority.refusals == {reason: 1}
        assert len(world.authority.hosts()) == before

    play(scenario)


def test_unknown_id_and_wrong_secret_are_told_apart_by_nobody(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        wrong = await world.enrol(await _other_secret(world))
        absent = await world.enrol(await _never_made(world))
        assert wrong == absent

    play(scenario)


def test_a_refused_request_uses_nothing_up(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token = await world.token()
        refused = await world.authority.enrol(token, b"no request", "10.0.0.7", "web-1")
        assert isinstance(refused, Refusal)
        assert isinstance(await world.enrol(token), Enrolled)

    play(scenario)
