"""Certificates renewed by the agent's shell: the true authority, and a clock held in hand."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from hostmesh_agent.app.identity import IdentityService, IssueResult
from hostmesh_agent.edges.keys import new_key
from hostmesh_agent.logic.identity import Phase
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_core.ids import Identity
from hostmesh_core.rotation import Renewal
from hostmesh_testing.fixed import run_inline
from hostmesh_testing.joined_host import JoinedHost, running

REVIEWS, RATINGS = Identity("default", "reviews"), Identity("default", "ratings")
HOUR = 3600.0


Scenario = Callable[[JoinedHost], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    async def run(scenario: Scenario) -> None:
        world = JoinedHost(tmp_path, leaf_hours=72)
        await world.join()
        await scenario(world)

    return lambda scenario: run_inline(run(scenario))


def _phase(service: IdentityService, identity: Identity | None) -> Phase:
    return next(s.phase for s in service.status() if s.identity == identity)


def test_what_is_wanted_and_not_there_is_asked_for_and_served(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            assert world.asked_for == [REVIEWS]
            ((identity, serial),) = world.served
            assert identity == REVIEWS
            assert service.workloads[REVIEWS].facts.serial == serial
            assert world.disk.load() is not None
        stored = world.disk.load()
        assert stored is not None
        assert stored.workloads[REVIEWS].facts.serial == serial

    play(scenario)


def test_what_lies_on_disk_is_served_without_asking(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS):
            pass
        world.asked_for.clear()
        world.up = False
        async with running(world, REVIEWS) as service:
            assert world.asked_for == []
            assert {s.name for s in service.secrets()} == {
                "default:default/reviews",
                "ROOTCA:mesh.internal",
            }

    play(scenario)


def test_everything_is_renewed_at_half_its_life_with_new_keys(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            first_host, first = service.host, service.workloads[REVIEWS]
            await world.clock.pass_(35 * HOUR)
            assert world.host_serials == []
            await world.clock.pass_(2 * HOUR)
            assert world.host_serials == [service.host.serial]
            assert service.host.serial != first_host.serial
            assert service.host.key_pem != first_host.key_pem
            assert service.workloads[REVIEWS].key_pem != first.key_pem
            assert service.hours_left > 70

    play(scenario)


def test_twenty_rotations_leave_one_key_each_on_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = JoinedHost(tmp_path, leaf_hours=1)
        await world.join()
        async with running(world, REVIEWS) as service:
            seen = set()
            for _ in range(20):
                await world.clock.pass_(0.55 * HOUR)
                assert world.keys_on_disk("workloads/default/reviews") == 2
                serial = service.workloads[REVIEWS].facts.serial
                service.in_use(REVIEWS, serial)
                service.in_use(None, service.host.serial)
                assert world.keys_on_disk("workloads/default/reviews") == 1
                assert world.keys_on_disk("host") == 1
                seen.add(serial)
            assert len(seen) == 20

    run_inline(scenario())


def test_a_push_of_an_older_certificate_removes_no_key(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            old = service.workloads[REVIEWS].facts.serial
            await world.clock.pass_(37 * HOUR)
            service.in_use(REVIEWS, old)
            assert world.keys_on_disk("workloads/default/reviews") == 2

    play(scenario)


def test_an_outage_is_survived_by_what_is_held_and_ended_by_a_renewal(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            held = service.workloads[REVIEWS]
            world.up = False
            await world.clock.pass_(60 * HOUR)
            assert service.workloads[REVIEWS] == held
            assert _phase(service, REVIEWS) is Phase.RETRY
            assert 11 < service.hours_left < 13
            assert "cannot reach control plane" in service.status()[1].why
            world.up = True
            await world.clock.pass_(60)
            assert service.workloads[REVIEWS].facts.serial != held.facts.serial
            assert service.status()[1].why == ""

    play(scenario)


def test_tries_during_an_outage_are_paced(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS):
            world.up = False
            await world.clock.pass_(36.2 * HOUR)
            world.asked_for.clear()
            await world.clock.pass_(HOUR)
            assert 2 * 100 <= len(world.asked_for) <= 2 * 130  # every 30 s, for each of the two

    play(scenario)


def test_a_host_certificate_that_ended_is_not_asked_for_any_more(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            world.up = False
            await world.clock.pass_(73 * HOUR)
            assert _phase(service, None) is Phase.EXPIRED
            world.asked_for.clear()
            service.renew_now()
            await world.clock.pass_(HOUR)
            assert None not in world.asked_for
            assert REVIEWS in world.asked_for
            assert service.hours_left == 0

    play(scenario)


def test_a_refusal_keeps_what_is_held_and_a_changed_grant_asks_again(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            other = Identity("default", "payments")
            service.want([REVIEWS, other])
            await world.clock.settle()
            assert _phase(service, other) is Phase.REFUSED
            (why,) = [s.why for s in service.status() if s.identity == other]
            assert "--add-client default/payments" in why
            assert _phase(service, REVIEWS) is Phase.HELD
            change = GrantChange.parse({"add_client": ["default/payments"]})
            host = await world.authority.grant_change(world.membership.host_id, change)
            service.grant_changed(host.grant)
            await world.clock.settle()
            assert _phase(service, other) is Phase.HELD
            stored = world.disk.load()
            assert stored is not None
            assert stored.grant == host.grant

    play(scenario)


def test_what_is_wanted_no_more_leaves_memory_and_disk(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS, RATINGS) as service:
            service.want([RATINGS])
            await world.clock.settle()
            assert set(service.workloads) == {RATINGS}
            assert world.keys_on_disk("workloads/default/reviews") == 0
            service.want([RATINGS, REVIEWS])
            await world.clock.settle()
            assert set(service.workloads) == {RATINGS, REVIEWS}

    play(scenario)


def test_the_control_plane_says_when_to_renew_and_a_restart_remembers(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async def early(csr: bytes, identity: Identity | None) -> IssueResult:
            answer = await world.asked(csr, identity)
            return replace(answer, renewal=Renewal(0.1, 0.2))

        world.answer = early
        async with running(world, REVIEWS) as service:
            await world.clock.pass_(10 * HOUR)
            assert world.asked_for == [REVIEWS]
            await world.clock.pass_(1 * HOUR)
            assert world.asked_for == [REVIEWS, REVIEWS]
            serial = service.workloads[REVIEWS].facts.serial
        world.asked_for.clear()
        async with running(world, REVIEWS) as service:
            assert service.workloads[REVIEWS].facts.serial == serial
            await world.clock.pass_(11 * HOUR)
            assert world.asked_for.count(REVIEWS) == 1

    play(scenario)


def test_an_order_renews_at_once(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            before = service.workloads[REVIEWS].facts.serial
            service.renew_now()
            await world.clock.settle()
            assert service.workloads[REVIEWS].facts.serial != before
            assert len(world.host_serials) == 1

    play(scenario)


def test_a_new_stream_ends_the_wait_of_a_retry(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            world.up = False
            service.renew_now()
            await world.clock.settle()
            world.up = True
            service.connected()
            await world.clock.settle()
            assert _phase(service, REVIEWS) is Phase.HELD
            assert _phase(service, None) is Phase.HELD

    play(scenario)


def test_no_answer_at_all_is_a_failure_after_a_while_and_a_late_one_changes_nothing(
    play: Play,
) -> None:
    async def scenario(world: JoinedHost) -> None:
        gate = asyncio.Event()

        async def slow(csr: bytes, identity: Identity | None) -> IssueResult:
            result = await world.asked(csr, identity)
            await gate.wait()
            return result

        async with running(world, REVIEWS) as service:
            held = service.workloads[REVIEWS]
            world.answer = slow
            service.renew_now()
            await world.clock.pass_(10.1)
            assert _phase(service, REVIEWS) is Phase.RETRY
            assert "has not answered in time" in service.status()[1].why
            gate.set()
            await world.clock.settle()
            assert service.workloads[REVIEWS] == held

    play(scenario)


async def _of_another_key(world: JoinedHost, _: bytes, identity: Identity | None) -> IssueResult:
    return await world.asked(new_key().csr_der, identity)


async def _of_another_identity(world: JoinedHost, csr: bytes, _: Identity | None) -> IssueResult:
    return await world.asked(csr, RATINGS)


async def _of_another_root(world: JoinedHost, csr: bytes, identity: Identity | None) -> IssueResult:
    foreign = JoinedHost(world.folder / "foreign", leaf_hours=72)
    await foreign.join()
    foreign.service()
    answer = await foreign.asked(csr, identity)
    return IssueResult(answer.chain_der)


async def _of_rubbish(_world: JoinedHost, _csr: bytes, _identity: Identity | None) -> IssueResult:
    return IssueResult((b"rubbish",))


async def _of_nothing(_world: JoinedHost, _csr: bytes, _identity: Identity | None) -> IssueResult:
    return IssueResult()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(_of_another_key, id="a certificate of another key"),
        pytest.param(_of_another_identity, id="a certificate of another identity"),
        pytest.param(_of_another_root, id="a certificate under a root that is not trusted"),
        pytest.param(_of_rubbish, id="what is no certificate"),
        pytest.param(_of_nothing, id="an empty chain"),
    ],
)
def test_never_takes_the_place_of_what_is_held(
    play: Play,
    lie: Callable[[JoinedHost, bytes, Identity | None], Coroutine[Any, Any, IssueResult]],
) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            held = service.workloads[REVIEWS]
            world.answer = lambda csr, identity: lie(world, csr, identity)
            service.renew_now()
            await world.clock.settle()
            assert service.workloads[REVIEWS] == held
            assert _phase(service, REVIEWS) is Phase.RETRY
            world.answer = world.asked
            await world.clock.pass_(60)
            assert _phase(service, REVIEWS) is Phase.HELD

    play(scenario)


def test_secrets_hold_the_current_chain_key_and_roots(play: Play) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            roots, reviews = service.secrets()
            secret = secret_pb2.Secret.FromString(reviews.body)
            held = service.workloads[REVIEWS]
            assert secret.name == reviews.name == "default:default/reviews"
            assert secret.tls_certificate.certificate_chain.inline_bytes == held.chain_pem
            assert secret.tls_certificate.private_key.inline_bytes == held.key_pem
            root = secret_pb2.Secret.FromString(roots.body)
            pem = root.validation_context.trusted_ca.inline_bytes
            assert pem == world.authority.roots_pem()
            await world.clock.pass_(37 * HOUR)
            roots_after, reviews_after = service.secrets()
            assert roots_after == roots
            assert reviews_after.version != reviews.version

    play(scenario)


def test_no_key_is_in_a_log_or_a_repr(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            await world.clock.pass_(37 * HOUR)
            shown = f"{service.host!r} {service.workloads!r} {service.secrets()!r} {caplog.text}"
            for key_pem in (service.host.key_pem, service.workloads[REVIEWS].key_pem):
                assert key_pem.splitlines()[1].decode() not in shown
            assert "PRIVATE KEY" not in shown

    caplog.set_level(logging.DEBUG)
    play(scenario)


def test_a_disk_that_is_full_stops_no_renewal(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: JoinedHost) -> None:
        async with running(world, REVIEWS) as service:
            place = world.folder / "identity" / "workloads" / "default" / "reviews"
            place.rename(place.with_name("away"))
            place.write_text("a file where a folder has to be")
            before = service.workloads[REVIEWS].facts.serial
            service.renew_now()
            await world.clock.settle()
            assert service.workloads[REVIEWS].facts.serial != before
            assert "certificate not stored identity=default/reviews" in caplog.text

    play(scenario)


def test_lives_of_seconds_go_by_the_same_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = JoinedHost(tmp_path, leaf_hours=10 / 3600)
        await world.join()
        async with running(world, REVIEWS) as service:
            for _ in range(60):
                await world.clock.pass_(1)
                assert service.hours_left > 2 / 3600
            assert 10 <= len(world.host_serials) <= 15

    run_inline(scenario())
