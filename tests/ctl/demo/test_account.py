import pytest

from hostmesh_ctl.demo.account import Cut, Incident, Journal, Killed, OwnEnvoyDown, account
from hostmesh_ctl.demo.load import Record


def _record(
    number: str = "7", *, method: str = "GET", start: float, end: float, error: str = "reset"
) -> Record:
    return Record(
        id=number, method=method, family=4, kept=True, start=start, end=end, error=error, server="a"
    )


def _journal(*, begun: str = "", ended: str = "") -> Journal:
    """Let server `begun` have begun request 7, and server `ended` have ended it."""
    journal = Journal()
    for server in ("a", "b"):
        events = [{"event": "begin", "id": "7"}] if server == begun else []
        events += [{"event": "end", "id": "7"}] if server == ended else []
        journal.add(server, events)
    return journal


KILL, CUT = Killed(server="a", at=10.0), Cut(server="a", at=10.0, until=10.02)
DOWN = OwnEnvoyDown(start=10.0, end=10.6)


@pytest.mark.parametrize(
    ("incident", "record", "journal", "sorted_as"),
    [
        pytest.param(
            KILL, _record(start=9.9, end=10.1), _journal(begun="a"), "in flight",
            id="begun and not ended by the killed app",
        ),
        pytest.param(
            KILL, _record(start=9.9, end=10.1), _journal(begun="a", ended="a"), "failed",
            id="ended by the killed app",
        ),
        pytest.param(
            KILL, _record(start=9.9, end=10.1), _journal(begun="b"), "failed",
            id="begun by another app",
        ),
        pytest.param(
            KILL, _record(start=9.9, end=10.1), _journal(), "failed",
            id="a GET that nobody has seen has to be repeated by Envoy",
        ),
        pytest.param(
            KILL, _record(method="POST", start=9.9, end=10.1), _journal(), "in flight",
            id="a POST that lay unread in the killed app's socket",
        ),
        pytest.param(
            KILL, _record(method="POST", start=9.9, end=10.1), _journal(begun="b"), "failed",
            id="a POST that another app has seen",
        ),
        pytest.param(
            Killed(server="a", at=10.0, gone=10.3), _record(start=10.2, end=10.4),
            _journal(begun="a"), "in flight", id="begun while the app was ending",
        ),
        pytest.param(
            KILL, _record(start=10.2, end=10.4), _journal(begun="a"), "failed",
            id="sent after the kill",
        ),
        pytest.param(
            CUT, _record(start=9.9, end=11.0), _journal(begun="a", ended="a"), "in flight",
            id="arrived before the cut, its answer did not",
        ),
        pytest.param(
            CUT, _record(start=10.01, end=18.0), _journal(begun="a", ended="a"), "in flight",
            id="arrived while the cut was being made, its answer did not",
        ),
        pytest.param(
            CUT, _record(start=10.03, end=18.0), _journal(begun="a"), "failed",
            id="arrived after the cut: that was no cut",
        ),
        pytest.param(
            CUT, _record(start=10.5, end=11.5), _journal(), "failed",
            id="a GET sent into the cut has to be repeated by Envoy",
        ),
        pytest.param(
            CUT, _record(method="POST", start=10.5, end=11.5), _journal(), "in flight",
            id="a POST sent into the cut within a second",
        ),
        pytest.param(
            CUT, _record(method="POST", start=11.1, end=12.0), _journal(), "failed",
            id="a POST over a second after the cut",
        ),
        pytest.param(
            CUT, _record(method="POST", start=10.5, end=11.5), _journal(begun="b"), "failed",
            id="a POST that the other server has seen",
        ),
        pytest.param(
            CUT, _record(start=8.0, end=9.0), _journal(begun="a"), "failed",
            id="failed before the cut",
        ),
        pytest.param(
            DOWN, _record(start=10.3, end=10.3), _journal(), "own envoy down",
            id="refused while the own Envoy was away",
        ),
        pytest.param(
            DOWN, _record(start=9.0, end=10.0), _journal(), "own envoy down",
            id="under way when the own Envoy was killed",
        ),
        pytest.param(
            DOWN, _record(start=10.7, end=10.8), _journal(), "failed",
            id="after the own Envoy is back",
        ),
        pytest.param(
            DOWN, _record(start=10.3, end=10.3, error=""), _journal(), "succeeded",
            id="what succeeded needs no excuse",
        ),
    ],
)  # fmt: skip
def test_a_failure_needs_evidence_to_be_excused(
    incident: Incident, record: Record, journal: Journal, sorted_as: str
) -> None:
    made = account([record], journal, [incident])
    counts = {
        "succeeded": made.succeeded,
        "failed": len(made.failed),
        "in flight": len(made.in_flight),
        "own envoy down": len(made.own_envoy_down),
    }
    assert counts == {**dict.fromkeys(counts, 0), sorted_as: 1}


def test_the_longest_wait_counts_what_failed_and_not_what_is_excused() -> None:
    records = [
        _record(start=1.0, end=1.5, error=""),
        _record(start=20.0, end=23.0),
        _record(start=9.0, end=14.0),
    ]
    made = account(records, _journal(begun="a"), [KILL])
    assert (len(made.in_flight), made.longest_wait) == (1, 3.0)


def test_who_answered_is_counted_from_answers_alone() -> None:
    records = [_record(start=1, end=2, error=""), _record(start=1, end=2)]
    made = account(records, _journal(), [])
    assert (made.sent, dict(made.by_server), made.kept, made.fresh) == (2, {"a": 1}, 2, 0)
