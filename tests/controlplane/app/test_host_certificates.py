import asyncio
from dataclasses import dataclass, field

from hostmesh_controlplane.app.host_certificates import (
    MAX_CSR_BYTES,
    REMEMBERED,
    CertificateDesk,
)
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import Unreachable
from hostmesh_core.ids import Identity
from hostmesh_testing.certificates import authority
from hostmesh_testing.hosts import HOST, SignedChain


class Signer:
    """Counts what it signs; `trouble` is what happens instead."""

    def __init__(self) -> None:
        self.signed: list[tuple[bytes, Identity | None]] = []
        self.trouble: Exception | Refusal | None = None

    async def issue(self, csr: bytes, identity: Identity | None) -> SignedChain | Refusal:
        await asyncio.sleep(0)
        if isinstance(self.trouble, Refusal):
            return self.trouble
        if self.trouble is not None:
            raise self.trouble
        self.signed.append((csr, identity))
        return SignedChain((b"%d" % len(self.signed),))


@dataclass
class Refused:
    """What was logged and counted as refused."""

    said: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, host_id: str, why: str, sentence: str) -> None:
        self.said.append((host_id, why, sentence))


def request(request_id: str = "1", csr: bytes = b"csr", account: str = "") -> pb.CertificateRequest:
    namespace = "default" if account else ""
    return pb.CertificateRequest(
        request_id=request_id, csr_der=csr, namespace=namespace, service_account=account
    )


def test_a_repeated_request_gets_the_same_answer_and_nothing_is_signed_twice() -> None:
    async def play() -> None:
        signer = Signer()
        desk = CertificateDesk(HOST, signer.issue, refuse=Refused())
        first, meanwhile = await asyncio.gather(desk.answer(request()), desk.answer(request()))
        again = await desk.answer(request())
        assert first is not None
        assert list(first.chain_der) == [b"1"]
        assert meanwhile is None, "the answer is on its way already"
        assert again == first
        assert len(signer.signed) == 1

    asyncio.run(play())


def test_no_names_ask_for_the_host_s_own_certificate_and_names_for_a_workload_s() -> None:
    async def play() -> None:
        signer = Signer()
        desk = CertificateDesk(HOST, signer.issue, refuse=Refused())
        await desk.answer(request("1"))
        answer = await desk.answer(request("2", account="web"))
        assert [identity for _, identity in signer.signed] == [None, Identity("default", "web")]
        assert answer is not None
        assert (answer.namespace, answer.service_account) == ("default", "web")

    asyncio.run(play())


def test_one_id_for_two_keys_is_refused_and_the_first_answer_stands() -> None:
    async def play() -> None:
        refused = Refused()
        desk = CertificateDesk(HOST, Signer().issue, refuse=refused)
        first = await desk.answer(request())
        other = await desk.answer(request(csr=b"another key"))
        assert other is not None
        assert "request id twice" in other.refused
        assert await desk.answer(request()) == first
        assert refused.said == [(HOST, "malformed", "cannot use a request id twice")]

    asyncio.run(play())


def test_a_refusal_is_an_answer_and_is_remembered() -> None:
    async def play() -> None:
        signer = Signer()
        signer.trouble = Refusal(Reason.IDENTITY, "cannot issue prod/payments")
        desk = CertificateDesk(HOST, signer.issue, refuse=Refused())
        answer = await desk.answer(request(account="web"))
        signer.trouble = None
        assert answer is not None
        assert answer.refused == "cannot issue prod/payments"
        assert await desk.answer(request(account="web")) == answer

    asyncio.run(play())


def test_a_signer_that_is_away_leaves_the_request_open_for_its_repetition() -> None:
    async def play() -> None:
        signer = Signer()
        signer.trouble = Unreachable("cannot reach the signer")
        desk = CertificateDesk(HOST, signer.issue, refuse=Refused())
        assert await desk.answer(request()) is None
        signer.trouble = None
        answer = await desk.answer(request())
        assert answer is not None
        assert list(answer.chain_der) == [b"1"]

    asyncio.run(play())


def test_requests_out_of_bounds_reach_no_signer() -> None:
    async def play() -> None:
        signer = Signer()
        refused = Refused()
        desk = CertificateDesk(HOST, signer.issue, refuse=refused)
        answers = []
        for bad in (request(""), request("x" * 65), request(csr=b"x" * (MAX_CSR_BYTES + 1))):
            answer = await desk.answer(bad)
            assert answer is not None
            assert answer.refused.startswith("cannot")
            answers.append(answer.refused)
        assert signer.signed == []
        assert refused.said == [(HOST, "malformed", sentence) for sentence in answers]

    asyncio.run(play())


def test_answers_are_forgotten_after_a_while_so_that_memory_is_bounded() -> None:
    async def play() -> None:
        signer = Signer()
        desk = CertificateDesk(HOST, signer.issue, refuse=Refused())
        for number in range(REMEMBERED + 1):
            await desk.answer(request(str(number)))
        await desk.answer(request("0"))
        assert len(signer.signed) == REMEMBERED + 2

    asyncio.run(play())


def test_the_roots_of_every_trust_domain_come_with_the_chain() -> None:
    async def play() -> None:
        root = authority().root_pem
        bundles = TrustBundles.from_json({"mesh.internal": root.decode()})

        async def issue(_: bytes, __: Identity | None) -> SignedChain:
            return SignedChain((b"leaf",), bundles)

        answer = await CertificateDesk(HOST, issue, refuse=Refused()).answer(request())
        assert answer is not None
        assert [bundle.trust_domain for bundle in answer.bundles] == ["mesh.internal"]
        assert tuple(answer.bundles[0].roots_der) == bundles.roots_der("mesh.internal")

    asyncio.run(play())
