"""Asks a control plane's enrolment listener (:15013). Standard library: http.client and ssl.

A host that joins trusts nobody. It fetches the bundle without verifying anything and uses it for
one thing: to find the certificate whose key the token pins. Whatever else came is thrown away. Then
it opens a new connection that verifies to that one root and to the name in every control plane's
certificate, and only over that one does the token travel. Proxies of the environment do not exist
for http.client, and no redirect is followed.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from cryptography import x509 as cryptography_x509

from hostmesh_agent.config import Address
from hostmesh_agent.edges import reach
from hostmesh_core import names, x509
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import BadInput, Refused, Unreachable
from hostmesh_core.rotation import Renewal
from hostmesh_core.token import JoinToken

_ANSWER_SECONDS = 15.0
_MAX_ANSWER = 256 * 1024
_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's X509_V_ERR codes."""


class EnrolmentUnreachable(Unreachable):
    """No answer, or none that can be read."""


class AnswerLost(EnrolmentUnreachable):
    """The request went out and its answer did not come: asking again with the same key is safe."""


class TooFast(Unreachable):
    """The control plane asks to wait; `seconds` says how long."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class EnrolmentRefused(Refused):
    """The control plane said no; its own sentence."""


class NotTrusted(Refused):
    """Whoever answers is not the control plane that the token names; it got nothing."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """The root that a token pins, and the trust domain that it states."""

    root: cryptography_x509.Certificate
    trust_domain: str


@dataclass(frozen=True, slots=True)
class BundleAnswer:
    """What a verified control plane says of its roots and its clock."""

    bundles: TrustBundles
    server_time: float
    """Seconds since the epoch, when it answered."""


@dataclass(frozen=True, slots=True)
class EnrolAnswer:
    """What a host that joined gets."""

    host_id: str
    trust_domain: str
    chain_pem: bytes
    bundles: TrustBundles
    grant: Mapping[str, object]
    renewal: Renewal


def find_root(address: Address, pin: str) -> Pinned:
    """Fetch the bundle from whoever answers, and keep the pinned root alone.

    Raises EnrolmentUnreachable, NotTrusted where the root is not in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with closing(_Connection(address, context, address.host)) as connection:
        answer = connection.ask("GET", "/v1/bundle")
    for pem in _texts(answer.get("bundles")):
        try:
            root = x509.find_pinned(x509.load_pem_chain(pem.encode()), pin)
            if root is not None:
                return Pinned(root, x509.trust_domain_of_root(root))
        except BadInput:
            continue
    raise NotTrusted(
        f"cannot join by {address}: the root that the token names is not there; this is another "
        "control plane, or its root is a newer one: make a token there with hostmesh token create"
    )


class VerifiedEnrolment:
    """A connection to a control plane that has proven to be the token's."""

    def __init__(self, address: Address, pinned: Pinned) -> None:
        """Connect and verify. Raises EnrolmentUnreachable, NotTrusted."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.hostname_checks_common_name = False
        context.load_verify_locations(cadata=x509.to_pem([pinned.root]).decode())
        name = names.control_plane_host(pinned.trust_domain)
        self._connection = _Connection(address, context, name)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def bundle(self) -> BundleAnswer:
        """Fetch the bundle again, from one who is to be believed."""
        answer = self._connection.ask("GET", "/v1/bundle")
        match answer:
            case {"bundles": dict(bundles), "server_time": float() | int() as server_time}:
                return BundleAnswer(TrustBundles.from_json(bundles), float(server_time))
            case _:
                raise self._connection.unreadable()

    def enrol(self, token: JoinToken, csr_pem: bytes, *, hostname: str) -> EnrolAnswer:
        """Send the token and the request. Raises EnrolmentRefused, AnswerLost, TooFast."""
        challenge = self._connection.ask("POST", "/v1/challenge", {})
        body = {
            "nonce": challenge.get("nonce"),
            "token": token.reveal(),
            "csr": csr_pem.decode(),
            "hostname": hostname,
        }
        try:
            answer = self._connection.ask("POST", "/v1/enrol", body)
        except EnrolmentUnreachable as error:
            raise AnswerLost(str(error)) from error
        match answer:
            case {
                "host_id": str(host_id),
                "trust_domain": str(trust_domain),
                "chain": str(chain),
                "bundles": dict(bundles),
                "grant": dict(grant),
                "renewal": [float() | int() as start, float() | int() as end],
            }:
                return EnrolAnswer(
                    host_id,
                    trust_domain,
                    chain.encode(),
                    TrustBundles.from_json(bundles),
                    grant,
                    Renewal(start, end),
                )
            case _:
                raise self._connection.unreadable()


class _Connection:
    """One HTTPS connection; errors come out as this module's family, never with a body in them."""

    def __init__(self, address: Address, context: ssl.SSLContext, server_name: str) -> None:
        self._address = address
        self._http = http.client.HTTPConnection(address.host, address.port)
        plain = self._dialled()
        try:
            self._http.sock = context.wrap_socket(plain, server_hostname=server_name)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise self._untrusted(error) from error
        except OSError as error:
            plain.close()
            raise self._broken(error) from error
        self._http.sock.settimeout(_ANSWER_SECONDS)

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Mapping[str, object]:
        """Send one request and give the object that was answered with 200."""
        headers = {"Content-Type": "application/json"}
        try:
            content = None if body is None else json.dumps(body)
            # The connection is made and verified here alone: a dropped one is not made anew.
            self._http.auto_open = 0
            self._http.request(method, path, content, headers)
            response = self._http.getresponse()
            raw = response.read(_MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        try:
            answer = json.loads(raw) if len(raw) <= _MAX_ANSWER else None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self.unreadable()
        return self._judged(response, answer)

    def unreadable(self) -> EnrolmentUnreachable:
        return EnrolmentUnreachable(
            f"cannot use what {self._address} answered: it is no enrolment listener of Hostmesh "
            "(its port is 15013 unless controlplane.yaml says otherwise)"
        )

    def _judged(
        self, response: http.client.HTTPResponse, answer: dict[str, object]
    ) -> Mapping[str, object]:
        if response.status == 200:
            return answer
        text = str(answer.get("error", f"status {response.status}"))[:500]
        if response.status == 429:
            after = response.headers.get("Retry-After", "1")
            raise TooFast(text, float(after) if after.isdecimal() else 1.0)
        if response.status >= 500:
            raise EnrolmentUnreachable(f"cannot join by {self._address} now: {text}")
        raise EnrolmentRefused(text)

    def _dialled(self) -> socket.socket:
        try:
            return socket.create_connection(
                (self._address.host, self._address.port), timeout=reach.CONNECT_SECONDS
            )
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> EnrolmentUnreachable:
        return EnrolmentUnreachable(
            f"cannot reach control plane {self._address} for enrolment: {reach.why(error)}"
        )

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> Refused:
        if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
            return NotTrusted(
                f"cannot verify control plane {self._address}: its certificate is not valid at "
                "this host's time; set this host's clock and try again (nothing was sent)"
            )
        return NotTrusted(
            f"cannot trust {self._address}: it is not the control plane that the token names "
            f"({error.verify_message}); the token was not sent"
        )


def _texts(value: object) -> list[str]:
    """Give the roots' texts of a bundle that nobody vouches for yet."""
    return (
        [text for text in value.values() if isinstance(text, str)]
        if isinstance(value, dict)
        else []
    )
