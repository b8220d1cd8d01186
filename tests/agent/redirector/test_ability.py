from hostmesh_agent.redirector.ability import FIRST_AGAIN_SECONDS, LONGEST_AGAIN_SECONDS, Guardable
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Backend, Installed

BOTH = Installed(
    tables={
        Backend(Family.V4, "iptables", default=True): {},
        Backend(Family.V6, "ip6tables", default=True): {},
    }
)


def test_what_was_refused_is_left_out_said_and_tried_again() -> None:
    able = Guardable()
    assert able.able(BOTH, 0.0).guarded == frozenset(Family)
    able.refuse(frozenset({Family.V6}), "cannot run ip6tables-restore: no NFLOG", 0.0)
    assert able.able(BOTH, 1.0).guarded == {Family.V4}
    (note,) = able.notes()
    assert note.startswith("the guard is not in for IPv6: cannot run ip6tables-restore: no NFLOG; ")
    assert able.able(BOTH, FIRST_AGAIN_SECONDS + 1).guarded == frozenset(Family)
    assert able.notes() == []


def test_what_is_refused_again_and_again_is_tried_ever_more_rarely() -> None:
    able, now = Guardable(), 0.0
    waits = []
    for _ in range(12):
        able.refuse(frozenset({Family.V4}), "no NFLOG", now)
        began = now
        while Family.V4 not in able.able(BOTH, now).guarded:
            now += FIRST_AGAIN_SECONDS
        waits.append(now - began)
    assert waits[:3] == [30.0, 60.0, 120.0]
    assert max(waits) == LONGEST_AGAIN_SECONDS
    able.refuse(frozenset({Family.V4}), "somebody else was changing it too", now)
    able.allow()
    assert able.able(BOTH, now).guarded == frozenset(Family)


def test_a_table_that_cannot_be_read_back_is_left_alone() -> None:
    able = Guardable()
    native = Installed(tables=BOTH.tables, unreadable=frozenset({Family.V4}))
    assert able.able(native, 0.0).guarded == {Family.V6}
    assert "native nft rules" in able.notes()[0]
    assert able.able(BOTH, 0.0).guarded == frozenset(Family)
