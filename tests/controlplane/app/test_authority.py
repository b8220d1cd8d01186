"""The authority as the control plane uses it: every certificate it gives, every one it does not."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.edges.keys import new_key
from hostmesh_controlplane.app.authority import Enrolled, Issued
from hostmesh_controlplane.config import CertificateAuthority
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.store import Table
from hostmesh_core import x509
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import Identity
from hostmesh_core.rotation import Renewal
from hostmesh_core.token import JoinToken
from hostmesh_testing.authority_world import AuthorityWorld, Play, player

REVIEWS = Identity("default", "reviews")


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return player(tmp_path)


def test_a_host_joins_and_gets_the_identity_of_its_record(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        facts = world.facts(joined.chain_der)
        assert str(facts.spiffe_id) == f"spiffe://mesh.internal/hostmesh/host/{joined.host_id}"
        assert facts.not_after == world.clock.now + 72 * 3600
        assert facts.not_before == world.clock.now - 300
        host = world.authority.host(joined.host_id)
        assert host is not None
        assert host.host is not None
        assert (host.hostname, host.host.serial) == ("web-1", facts.serial)
        assert not world.authority.is_revoked(joined.host_id)

    play(scenario)


def test_a_host_gets_the_workload_certificate_that_its_grant_covers(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        issued = await world.authority.issue(joined.host_id, new_key().csr_der, REVIEWS)
        assert isinstance(issued, Issued)
        facts = world.facts(issued.chain_der)
        assert str(facts.spiffe_id) == "spiffe://mesh.internal/ns/default/sa/reviews"
        host = world.authority.host(joined.host_id)
        assert host is not None
        last = host.issued(REVIEWS)
        assert last is not None
        assert last.serial == facts.serial == issued.serial

    play(scenario)


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        pytest.param(Identity("default", "payments"), Reason.IDENTITY, id="another service's"),
        pytest.param(Identity("other", "reviews"), Reason.IDENTITY, id="of another namespace"),
        pytest.param(Identity("hostmesh", "host"), Reason.IDENTITY, id="that looks like a host's"),
        pytest.param(Identity("..", "hostmesh/host/x"), Reason.RESERVED, id="that climbs out"),
        pytest.param(Identity("default", "reviews/x"), Reason.RESERVED, id="with a longer path"),
        pytest.param(Identity("", ""), Reason.RESERVED, id="that is empty"),
        pytest.param(Identity("*", "*"), Reason.RESERVED, id="that is a pattern"),
        pytest.param(Identity("default", "revIews"), Reason.RESERVED, id="in capitals"),
        pytest.param(Identity("default", "reviews\n"), Reason.RESERVED, id="with a line break"),
    ],
)
def test_no_workload_certificate_for_an_identity(
    play: Play, identity: Identity, reason: Reason
) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        refused = await world.authority.issue(joined.host_id, new_key().csr_der, identity)
        assert isinstance(refused, Refusal)
        assert refused.reason is reason
        assert world.authority.refusals == {reason: 1}

    play(scenario)


def test_even_a_grant_of_everything_gives_no_reserved_identity(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined(namespace="*", service=["*"], service_account=["*"])
        for identity in (Identity("..", "hostmesh"), Identity("a/../../hostmesh", "host")):
            refused = await world.authority.issue(joined.host_id, new_key().csr_der, identity)
            assert isinstance(refused, Refusal)
            assert refused.reason is Reason.RESERVED

    play(scenario)


def test_a_refusal_names_what_is_covered_and_the_command_that_would_allow_it(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        other = Identity("default", "payments")
        refused = await world.authority.issue(joined.host_id, new_key().csr_der, other)
        assert isinstance(refused, Refusal)
        assert "covers services default/reviews" in refused.text
        allow = f"hostmesh host grant {joined.host_id} --add-client default/payments"
        assert allow in refused.text
        change = GrantChange.parse({"add_client": ["default/payments"]})
        await world.authority.grant_change(joined.host_id, change)
        allowed = await world.authority.issue(joined.host_id, new_key().csr_der, other)
        assert isinstance(allowed, Issued)

    play(scenario)


def test_a_narrowed_grant_ends_renewals_of_what_it_covered(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined(service=["reviews", "ratings"])
        ratings = Identity("default", "ratings")
        assert isinstance(
            await world.authority.issue(joined.host_id, new_key().csr_der, ratings), Issued
        )
        change = GrantChange.parse({"remove_service_account": ["ratings"]})
        host = await world.authority.grant_change(joined.host_id, change)
        assert host.issued(ratings) is None
        refused = await world.authority.issue(joined.host_id, new_key().csr_der, ratings)
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.IDENTITY

    play(scenario)


def test_a_revoked_host_gets_nothing_more(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        await world.authority.revoke_host(joined.host_id, "stolen")
        assert world.authority.is_revoked(joined.host_id)
        for identity in (None, REVIEWS):
            refused = await world.authority.issue(joined.host_id, new_key().csr_der, identity)
            assert isinstance(refused, Refusal)
            assert refused.reason is Reason.HOST_REVOKED

    play(scenario)


def test_a_host_revoked_while_its_certificate_was_being_made_does_not_get_it(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        issued, _ = await asyncio.gather(
            world.authority.issue(joined.host_id, new_key().csr_der, REVIEWS),
            world.authority.revoke_host(joined.host_id, "stolen"),
        )
        host = world.authority.host(joined.host_id)
        assert host is not None
        assert host.revoked
        if isinstance(issued, Issued):  # it came first: then it was noted before the revocation
            assert host.issued(REVIEWS) is not None
        else:
            assert issued.reason is Reason.HOST_REVOKED
            assert host.issued(REVIEWS) is None

    play(scenario)


def test_a_host_that_never_joined_gets_nothing(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        assert world.authority.is_revoked("f" * 32)
        refused = await world.authority.issue("f" * 32, new_key().csr_der, None)
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.HOST_UNKNOWN

    play(scenario)


def test_one_key_never_stands_for_two_identities(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        host_key, workload_key = new_key(), new_key()
        token = await world.token(service=["reviews", "ratings"])
        joined = await world.enrol(token, host_key.csr_pem)
        assert isinstance(joined, Enrolled)
        issue = world.authority.issue
        assert isinstance(await issue(joined.host_id, workload_key.csr_der, REVIEWS), Issued)
        for key, identity in (
            (host_key, REVIEWS),
            (workload_key, Identity("default", "ratings")),
            (workload_key, None),
        ):
            refused = await issue(joined.host_id, key.csr_der, identity)
            assert isinstance(refused, Refusal)
            assert refused.reason is Reason.KEY
        # The same identity may ask with its key again: its answer was lost.
        assert isinstance(await issue(joined.host_id, workload_key.csr_der, REVIEWS), Issued)

    play(scenario)


def test_certificates_asked_for_at_once_are_all_noted(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        services = [f"s{n}" for n in range(10)]
        joined = await world.joined(service=services)
        issued = await asyncio.gather(
            *(
                world.authority.issue(
                    joined.host_id, new_key().csr_der, Identity("default", service)
                )
                for service in services
            )
        )
        serials = {i.serial for i in issued if isinstance(i, Issued)}
        host = world.authority.host(joined.host_id)
        assert host is not None
        assert {last.serial for _, last in host.workloads} == serials
        assert len(serials) == 10

    play(scenario)


def test_records_outlive_the_process(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        await world.authority.issue(joined.host_id, new_key().csr_der, REVIEWS)
        again = world.opened()
        await again.start()
        assert again.hosts() == world.authority.hosts()
        assert again.pin == world.authority.pin
        assert again.find_host("web-1").host_id == joined.host_id

    play(scenario)


def test_changes_of_a_host_are_told(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        told: list[str] = []
        world.authority.on_host_changed(told.append)
        joined = await world.joined()
        told.clear()
        change = GrantChange.parse({"add_cidr": ["10.1.0.0/16"]})
        await world.authority.grant_change(joined.host_id, change)
        await world.authority.revoke_host(joined.host_id, "gone")
        assert told == [joined.host_id, joined.host_id]

    play(scenario)


def test_what_an_operator_names_wrongly_is_said(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        await world.joined()
        with pytest.raises(BadInput, match='did you mean "web-1"'):
            world.authority.find_host("wbe-1")
        with pytest.raises(BadInput, match="cannot revoke token"):
            await world.authority.revoke_token("nothing")
        with pytest.raises(BadInput, match="cannot find host"):
            await world.authority.revoke_host("f" * 32, "")

    play(scenario)


def test_the_configured_plan_goes_with_every_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = AuthorityWorld(tmp_path)
        ca = CertificateAuthority(renew_from=0.2, renew_to=0.3)
        world.config = replace(world.config, ca=ca)
        world.authority = world.opened()
        await world.authority.start()
        joined = await world.joined()
        issued = await world.authority.issue(joined.host_id, new_key().csr_der, REVIEWS)
        assert isinstance(issued, Issued)
        assert joined.renewal == issued.renewal == Renewal(0.2, 0.3)

    asyncio.run(scenario())


def test_the_serving_certificate_has_the_name_that_agents_verify(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        _, chain_pem = world.authority.serving_credentials()
        leaf = x509.load_pem_chain(chain_pem)[0]
        assert x509.dns_names_of(leaf) == ("control-plane.mesh.internal",)
        assert str(x509.spiffe_id_of(leaf)) == "spiffe://mesh.internal/hostmesh/control-plane"

    play(scenario)


def test_the_serving_certificate_is_renewed_at_half_its_life_and_told(play: Play) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        serials: list[str] = []

        def loaded() -> None:
            _, chain = world.authority.serving_credentials()
            serials.append(x509.facts_of(x509.load_pem_chain(chain)[0]).serial)
            if len(serials) == 3:
                raise StopAsyncIteration

        world.authority.serving_listeners.append(loaded)
        began = world.clock.now
        with pytest.raises(StopAsyncIteration):
            await world.authority.run()
        assert len(set(serials)) == 3
        life = 72 * 3600 + 300
        assert world.clock.now - began == pytest.approx(3 * life / 2, abs=1500)
        assert max(world.clock.slept) <= 30

    play(scenario)


def test_secrets_are_in_no_log_no_repr_and_not_in_the_store(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        token = JoinToken.parse(await world.token(uses=2))
        joined = await world.enrol(token.reveal())
        await world.enrol(JoinToken(token.id, "e" * 64, token.pin).reveal())
        await world.enrol("hm1." + token.secret)
        records = await world.authority.list_tokens()
        key_pem, _ = world.authority.serving_credentials()
        stored = [r.value for table in Table for r in await world.store.list(table)]
        shown = f"{token!r} {token} {joined!r} {records!r} {caplog.text} {stored!r}"
        for secret in (token.secret, "e" * 64, key_pem.splitlines()[1].decode()):
            assert secret not in shown
        assert token.id in caplog.text

    caplog.set_level(logging.DEBUG)
    play(scenario)


def test_a_refusal_is_one_line_of_the_log_whatever_was_asked(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: AuthorityWorld) -> None:
        joined = await world.joined()
        caplog.clear()
        forged = Identity("default", "x\nhost enrolled host=forged")
        await world.authority.issue(joined.host_id, new_key().csr_der, forged)

    caplog.set_level(logging.INFO)
    play(scenario)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "reason=reserved" in record.getMessage()
