"""The join tokens in the store: made, listed, revoked, used. Uses are compare-and-set."""

from collections.abc import Callable

from hostmesh_controlplane.logic import enrolment, tokens
from hostmesh_controlplane.logic.enrolment import Admission, Applicant
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.store import Conflict, Store, Table
from hostmesh_controlplane.logic.tokens import TokenRecord, TokenRequest
from hostmesh_core.errors import BadInput
from hostmesh_core.token import JoinToken

_FORGET_SECONDS = 30 * 86400.0
"""How long a token that ended stays in the list."""


class TokenBook:
    """All tokens. `hex_bits` gives random bits in hexadecimal."""

    def __init__(self, store: Store, *, hex_bits: Callable[[int], str]) -> None:
        self._store = store
        self._hex = hex_bits

    async def create(
        self, request: TokenRequest, *, pin: str, now: float
    ) -> tuple[JoinToken, TokenRecord]:
        """Make a token; its secret is in the first of the two and nowhere else."""
        token = JoinToken(self._hex(64), self._hex(256), pin)
        record = tokens.record_of(request, token, now=now)
        await self._store.put_if(Table.TOKENS, token.id, record.to_bytes(), version=0)
        return token, record

    async def list(self, *, now: float) -> list[TokenRecord]:
        """Give all, the newest first; what ended long ago is forgotten on the way."""
        kept = []
        for stored in await self._store.list(Table.TOKENS):
            record = TokenRecord.from_bytes(stored.value)
            if now - record.expires_at > _FORGET_SECONDS:
                await self._forget(stored.key, stored.version)
            else:
                kept.append(record)
        return sorted(kept, key=lambda record: -record.created_at)

    async def revoke(self, token_id: str, *, now: float) -> TokenRecord:
        """Make a token useless from now on. Raises BadInput for an unknown one."""
        while True:
            stored = await self._store.get(Table.TOKENS, token_id)
            if stored is None:
                raise BadInput(
                    f"cannot revoke token {token_id!r}: there is none; list them with: "
                    "hostmesh token list"
                )
            record = tokens.revoked(TokenRecord.from_bytes(stored.value), now=now)
            try:
                await self._store.put_if(
                    Table.TOKENS, token_id, record.to_bytes(), version=stored.version
                )
            except Conflict:
                continue
            return record

    async def use(
        self, token: JoinToken, applicant: Applicant, *, now: float
    ) -> Admission | Refusal:
        """Let the applicant in and count the use, or refuse. Of two who race, one use is one."""
        new_host_id = self._hex(128)
        while True:
            stored = await self._store.get(Table.TOKENS, token.id)
            record = TokenRecord.from_bytes(stored.value) if stored else None
            outcome = enrolment.admit(record, token, applicant, new_host_id=new_host_id, now=now)
            if stored is None or isinstance(outcome, Refusal) or outcome.again:
                return outcome
            try:
                await self._store.put_if(
                    Table.TOKENS, token.id, outcome.token.to_bytes(), version=stored.version
                )
            except Conflict:
                continue
            return outcome

    async def _forget(self, token_id: str, version: int) -> None:
        try:
            await self._store.delete_if(Table.TOKENS, token_id, version=version)
        except Conflict:
            return
