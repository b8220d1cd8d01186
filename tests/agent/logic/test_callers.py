import re

import pytest

from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.logic import callers
from hostmesh_agent.logic.callers import GAP_SECONDS, Book, Caller, Counted, Marks, Window

WEB = ServiceConfig(name="web", port=8080)
DB = ServiceConfig(name="db", port=5432)
ENVOY, NEXT = (7, 100), (8, 200)
T = 1_700_000_000.0
EMPTY = Book()


def counters(
    plaintext: int = 0, mutual_tls: int = 0, port: int = 8080, **of: int
) -> dict[str, int]:
    """What Envoy gives; keywords are addresses with `_` for dots: a10_1_0_9."""
    found = {
        f"hostmesh.callers.plaintext.port.{port}": plaintext,
        f"hostmesh.callers.mutual_tls.port.{port}": mutual_tls,
    }
    for name, value in of.items():
        address = name[1:].replace("_", ".")
        found[f"hostmesh.callers.plaintext_from.port.{port}.caller.{address}"] = value
    return {name: value for name, value in found.items() if value}


def after(*readings: tuple[float, tuple[int, int], dict[str, int]], book: Book = EMPTY) -> Book:
    for seconds, envoy, read in readings:
        book = callers.observe(book, [WEB, DB], read, envoy=envoy, now=T + seconds)
    return book


def web(book: Book) -> Counted:
    return book.services[WEB.key]


def test_the_pattern_asks_for_these_and_no_others() -> None:
    assert all(re.match(callers.PATTERN, name) for name in counters(1, 1, a10_1_0_9=1))
    assert not re.match(callers.PATTERN, "cluster.hostmesh.callers")


def test_callers_are_told_apart_by_address_and_port() -> None:
    book = after(
        (0, ENVOY, {}),
        (2, ENVOY, counters(3, 1, a10_1_0_9=2, a10_1_0_8=1) | counters(5, port=5432, a10_1_0_9=5)),
        (4, ENVOY, counters(4, 1, a10_1_0_9=3, a10_1_0_8=1) | counters(5, port=5432, a10_1_0_9=5)),
    )
    assert web(book) == Counted(
        since=T,
        plaintext=4,
        mutual_tls=1,
        last_plaintext=T + 4,
        callers={"10.1.0.9": Caller(3, T + 2, T + 4), "10.1.0.8": Caller(1, T + 2, T + 2)},
    )
    assert book.services[DB.key].callers == {"10.1.0.9": Caller(5, T + 2, T + 2)}
    assert [address for address, _ in web(book).latest()] == ["10.1.0.9", "10.1.0.8"]


def test_an_ipv6_address_is_one() -> None:
    name = "hostmesh.callers.plaintext_from.port.8080.caller.fd77::2"
    assert set(web(after((0, ENVOY, {name: 1}))).callers) == {"fd77::2"}


@pytest.mark.parametrize(
    ("second", "plaintext"),
    [
        pytest.param((2, ENVOY, counters(10, a10_1_0_9=10)), 10, id="nothing new"),
        pytest.param((2, NEXT, counters(4, a10_1_0_9=4)), 14, id="a new process counts anew"),
        pytest.param((2, NEXT, counters(10, a10_1_0_9=10)), 20, id="even by as much"),
        pytest.param((2, ENVOY, counters(3, a10_1_0_9=3)), 13, id="an evicted counter too"),
        pytest.param((2, ENVOY, {}), 10, id="one that is gone says nothing"),
    ],
)
def test_counters_that_begin_anew_lose_nothing(
    second: tuple[float, tuple[int, int], dict[str, int]], plaintext: int
) -> None:
    book = after((0, ENVOY, counters(10, a10_1_0_9=10)), second)
    assert web(book).plaintext == plaintext
    assert web(book).callers["10.1.0.9"].requests == plaintext
    assert web(book).since == T


def test_a_counter_that_was_evicted_and_came_back_counts_whole() -> None:
    book = after(
        (0, ENVOY, counters(9, a10_1_0_9=9)), (2, ENVOY, {}), (4, ENVOY, counters(9, a10_1_0_9=9))
    )
    assert web(book).plaintext == 18


@pytest.mark.parametrize(
    ("envoy", "interrupted", "away", "since"),
    [
        pytest.param(ENVOY, False, 9999, T, id="the agent was away, Envoy counted on"),
        pytest.param(NEXT, False, 5, T, id="Envoy was away for a moment"),
        pytest.param(NEXT, False, GAP_SECONDS + 1, T + GAP_SECONDS + 1, id="Envoy was away long"),
        pytest.param(ENVOY, True, GAP_SECONDS + 1, T + GAP_SECONDS + 1, id="the rules were out"),
        pytest.param(ENVOY, True, 5, T, id="the rules were out for a moment"),
    ],
)
def test_since_says_from_when_nobody_can_have_come_unseen(
    envoy: tuple[int, int], away: float, since: float, *, interrupted: bool
) -> None:
    book = after((0, ENVOY, counters(1, a10_1_0_9=1)))
    book = callers.observe(book, [WEB], {}, envoy=envoy, now=T + away, interrupted=interrupted)
    assert web(book).since == since
    assert web(book).callers["10.1.0.9"].last_seen == T


def test_a_service_that_is_no_more_declared_is_forgotten_and_begins_anew() -> None:
    book = after((0, ENVOY, counters(1, a10_1_0_9=1)))
    book = callers.observe(book, [DB], counters(1, a10_1_0_9=1), envoy=ENVOY, now=T + 2)
    assert set(book.services) == {DB.key}
    book = callers.observe(book, [WEB, DB], counters(1, a10_1_0_9=1), envoy=ENVOY, now=T + 4)
    assert web(book) == Counted(since=T + 4)


def test_addresses_that_envoy_does_not_keep_are_in_the_total() -> None:
    book = after((0, ENVOY, counters(2000, a10_1_0_9=1)))
    assert web(book).plaintext == 2000
    assert web(book).last_plaintext == T


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MOST_KEPT", 2)
    book = after(
        (0, ENVOY, counters(1, a10_1_0_1=1)),
        (2, ENVOY, counters(2, a10_1_0_1=1, a10_1_0_2=1)),
        (4, ENVOY, counters(3, a10_1_0_1=1, a10_1_0_2=1, a10_1_0_3=1)),
    )
    assert set(web(book).callers) == {"10.1.0.2", "10.1.0.3"}
    assert web(book).plaintext == 3


def test_the_report_has_the_latest_first_and_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MOST_TOLD", 2)
    book = after(
        (0, ENVOY, counters(2, 7, a10_1_0_1=1, a10_1_0_2=1)),
        (2, ENVOY, counters(3, 7, a10_1_0_1=1, a10_1_0_2=1, a10_1_0_3=1)),
    )
    db, told = callers.report(book).services
    assert (db.service, db.workload_port, db.plaintext) == ("db", 5432, 0)
    assert (told.service, told.namespace, told.workload_port) == ("web", "", 8080)
    assert (told.since, told.plaintext, told.mutual_tls) == (T, 3, 7)
    assert told.last_plaintext == T + 2
    assert [(c.address, c.requests) for c in told.callers] == [("10.1.0.3", 1), ("10.1.0.1", 1)]


def read_every(step: float, readings: list[dict[str, int]]) -> tuple[Book, Marks]:
    book, marks = Book(), Marks()
    for number, read in enumerate(readings):
        book = after((number * step, ENVOY, read), book=book)
        marks = marks.add(book, at=number * step)
    return book, marks


def test_the_last_minute_is_told_apart() -> None:
    old = counters(100, 50, a10_1_0_9=100)
    new = counters(114, 50, a10_1_0_9=100, a10_1_0_8=14)
    book, marks = read_every(30, [old, old, old, new])
    assert callers.window(book, marks, WEB.key) == Window(60, 14, 0, ("10.1.0.8",))
    assert len(marks.all) <= 6


def test_a_service_that_is_young_has_a_short_minute() -> None:
    book, marks = read_every(4, [{}, counters(14, a10_1_0_9=14)])
    assert callers.window(book, marks, WEB.key) == Window(4, 14, 0, ("10.1.0.9",))


def test_what_was_counted_before_the_agent_started_is_not_recent() -> None:
    book = after((0, ENVOY, counters(9, a10_1_0_9=9)))
    book = after((1000, ENVOY, counters(9, a10_1_0_9=9)), book=book)
    marks = Marks().add(book, at=0)
    book = after((1004, ENVOY, counters(10, a10_1_0_9=10)), book=book)
    assert callers.window(book, marks.add(book, at=4), WEB.key) == Window(4, 1, 0, ("10.1.0.9",))


def test_nothing_is_said_of_what_is_not_counted() -> None:
    assert callers.window(Book(), Marks(), WEB.key) is None


@pytest.mark.parametrize("step", [-3600, 3600], ids=["back", "ahead"])
def test_a_clock_that_is_set_changes_no_last_minute(step: int) -> None:
    """70 calls before, 7 by another after: the minute is 60 s of a clock that never jumps."""
    book, marks = Book(), Marks()
    for second in range(0, 100, 4):
        before = second < 50
        read = counters(70, 0, a10_1_0_9=70) if second else {}
        if not before:
            read |= counters(77, 0, a10_1_0_8=7)
        book = after((second + (0 if before else step), ENVOY, read), book=book)
        marks = marks.add(book, at=second)
    assert callers.window(book, marks, WEB.key) == Window(60, 7, 0, ("10.1.0.8",))
    assert callers.window(book, marks, WEB.key, seconds=8) == Window(8, 0, 0, ())
