"""Certificate requests on the host stream: one answer per request id, however often it is asked."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import HostmeshError
from hostmesh_core.ids import Identity
from hostmesh_core.rotation import Renewal

log = logging.getLogger(__name__)

MAX_CSR_BYTES = 8 * 1024
MAX_REQUEST_ID = 64
REMEMBERED = 32
"""Answers per host: it asks for one certificate per identity, and again at their renewal."""


class Issued(Protocol):
    """A certificate and what its holder trusts."""

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """Leaf first, no root."""

    @property
    def bundles(self) -> TrustBundles:
        """Trust domain -> roots."""

    @property
    def renewal(self) -> Renewal:
        """Between which shares of its life it is renewed."""


Issue = Callable[[bytes, Identity | None], Awaitable[Issued | Refusal]]
"""Raises a HostmeshError where asking again may help."""
Refuse = Callable[[str, str, str], None]
"""Logs and counts a refusal: host id, reason for the counter, sentence. The issuer does its own."""


class CertificateDesk:
    """The requests of one host."""

    def __init__(self, host_id: str, issue: Issue, *, refuse: Refuse) -> None:
        self._host_id = host_id
        self._issue = issue
        self._refuse = refuse
        self._answers: OrderedDict[str, tuple[bytes, pb.Issue | None]] = OrderedDict()

    async def answer(self, request: pb.CertificateRequest) -> pb.Issue | None:
        """Give the answer, or None while there is none: it is being made, or cannot be now."""
        identity = _identity(request)
        answer = pb.Issue(
            request_id=request.request_id[:MAX_REQUEST_ID],
            namespace=request.namespace,
            service_account=request.service_account,
        )
        content = hashlib.sha256(request.csr_der + f"\0{identity}".encode()).digest()
        known = self._answers.get(request.request_id)
        if known is not None and known[0] == content:
            return known[1]
        problem = "cannot use a request id twice" if known is not None else _problem(request)
        if problem:
            self._refuse(self._host_id, Reason.MALFORMED, problem)
            answer.refused = problem
            return answer
        self._answers[request.request_id] = (content, None)
        try:
            issued = await self._issue(request.csr_der, identity)
        except HostmeshError as error:
            del self._answers[request.request_id]
            log.warning("certificate not issued host=%s error=%s", self._host_id, error)
            return None
        if isinstance(issued, Refusal):
            answer.refused = issued.text
        else:
            answer.chain_der.extend(issued.chain_der)
            answer.renew_from, answer.renew_to = issued.renewal.start, issued.renewal.end
            for trust_domain, roots in issued.bundles.entries:
                answer.bundles.add(trust_domain=trust_domain, roots_der=roots)
        self._answers[request.request_id] = (content, answer)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return answer


def _identity(request: pb.CertificateRequest) -> Identity | None:
    if not (request.namespace or request.service_account):
        return None
    return Identity(request.namespace, request.service_account)


def _problem(request: pb.CertificateRequest) -> str:
    if not 0 < len(request.request_id) <= MAX_REQUEST_ID:
        return f"cannot use a request id that is empty or longer than {MAX_REQUEST_ID} characters"
    if len(request.csr_der) > MAX_CSR_BYTES:
        return f"cannot read a certificate request of more than {MAX_CSR_BYTES} bytes"
    return ""
