import pytest
from hypothesis import given
from hypothesis import strategies as some

from hostmesh_agent.logic import callers_file
from hostmesh_agent.logic.callers import Book, Caller, Counted
from hostmesh_core import strict_json
from hostmesh_core.errors import BadInput

numbers = some.integers(0, 2**62)
times = some.floats(0, 2**40)
made = some.builds(
    Counted,
    since=times,
    plaintext=numbers,
    mutual_tls=numbers,
    last_plaintext=times,
    callers=some.dictionaries(some.text(max_size=9), some.builds(Caller, numbers, times, times)),
)
books = some.builds(
    Book,
    envoy=some.none() | some.tuples(numbers, numbers),
    read_at=times,
    read=some.dictionaries(some.text(max_size=9), numbers),
    services=some.dictionaries(
        some.tuples(some.text(max_size=9), some.text(max_size=9), some.integers(1, 65535)), made
    ),
)


@given(books)
def test_what_is_kept_is_read_again(book: Book) -> None:
    assert callers_file.decode(callers_file.encode(book), where="x") == book


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="no version"),
        pytest.param(
            strict_json.dump(
                {"version": 1, "envoy": [], "read_at": 0, "read": {"a": -1}, "services": []}
            ),
            id="less than nothing",
        ),
        pytest.param(
            strict_json.dump(
                {"version": 1, "envoy": [], "read_at": 0, "read": {}, "services": [], "more": 1}
            ),
            id="a later version's key",
        ),
    ],
)
def test_what_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^cannot read x"):
        callers_file.decode(data, where="x")
