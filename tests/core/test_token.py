"""The token's text: what is read, what is refused, what is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.errors import BadInput
from hostmesh_core.token import JoinToken, hash_secret

ID, SECRET, PIN = "0123456789abcdef", "5e" * 32, "ab" * 32
hexes = st.sampled_from("0123456789abcdef")


def _hex(length: int) -> st.SearchStrategy[str]:
    return st.text(hexes, min_size=length, max_size=length)


@given(token_id=_hex(16), secret=_hex(64), pin=_hex(64))
def test_what_is_written_is_read(token_id: str, secret: str, pin: str) -> None:
    token = JoinToken(token_id, secret, pin)
    assert JoinToken.parse(token.reveal()) == token
    assert JoinToken.parse(f"\n  {token.reveal()}\n") == token


def test_the_text_has_its_four_parts() -> None:
    assert JoinToken(ID, SECRET, PIN).reveal() == f"hm1.{ID}.{SECRET}.{PIN}"


WRONG = {
    "nothing": "",
    "another text": "hello",
    "another prefix": f"xx1.{ID}.{SECRET}.{PIN}",
    "no pin": f"hm1.{ID}.{SECRET}",
    "an empty pin": f"hm1.{ID}.{SECRET}.",
    "five parts": f"hm1.{ID}.{SECRET}.{PIN}.x",
    "a short secret": f"hm1.{ID}.{SECRET[:-1]}.{PIN}",
    "a secret in capitals": f"hm1.{ID}.{SECRET.upper()}.{PIN}",
    "a secret that is not hexadecimal": f"hm1.{ID}.{'z' * 64}.{PIN}",
    "a space within": f"hm1.{ID} .{SECRET}.{PIN}",
    "a line break within": f"hm1.{ID}.{SECRET}\n.{PIN}",
    "digits of another script": f"hm1.{ID}.{'٣' * 64}.{PIN}",
    "two tokens": f"hm1.{ID}.{SECRET}.{PIN}\nhm1.{ID}.{SECRET}.{PIN}",
    "a megabyte": "hm1." + "a" * 1_000_000,
}


@pytest.mark.parametrize("case", WRONG)
def test_no_token_is(case: str) -> None:
    with pytest.raises(BadInput, match="cannot read the token"):
        JoinToken.parse(WRONG[case])


@pytest.mark.parametrize("case", WRONG)
def test_no_error_shows_what_was_written(case: str) -> None:
    with pytest.raises(BadInput) as caught:
        JoinToken.parse(WRONG[case])
    assert SECRET[:16] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_token_of_a_later_version_is_told_apart() -> None:
    with pytest.raises(BadInput, match="of version hm2"):
        JoinToken.parse(f"hm2.{ID}.{SECRET}.{PIN}")


def test_no_form_but_reveal_shows_the_secret() -> None:
    token = JoinToken(ID, SECRET, PIN)
    for shown in (repr(token), str(token), f"{token}", f"{[token]}"):
        assert SECRET not in shown
        assert ID in shown


def test_a_hash_is_of_the_whole_secret() -> None:
    assert hash_secret(SECRET) != hash_secret(SECRET[:-1] + "0")
    assert len(hash_secret(SECRET)) == 64
    assert SECRET not in hash_secret(SECRET)
