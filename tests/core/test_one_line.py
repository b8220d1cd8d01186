import pytest

from hostmesh_core.one_line import one_line, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("schön, 7 €", "schön, 7 €", id="words stay"),
        pytest.param("a\nb\r\u2028\u0085c", "a?b???c", id="line ends of every kind"),
        pytest.param("\x1b[8mx\x9b", "?[8mx?", id="escapes"),
        pytest.param("a\u202eb\u200b", "a?b?", id="direction and nothing at all"),
        pytest.param("\t\x00\x7f", "???", id="control characters"),
    ],
)
def test_what_another_says_stays_in_its_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abc", "abc"), ("abcd", "abc…"), ("ab\n" + "d" * 10_000, "ab?…"), ("", "")],
)
def test_and_takes_no_more_room_than_it_is_given(text: str, shown: str) -> None:
    assert shortened(text, 3) == shown
