from hostmesh_agent.logic import join_screen

JOINED = {
    "host_id": "7f3a0000" + "0" * 24,
    "identity": "default/web",
    "trust_domain": "mesh.internal",
    "clock_seconds": 0.21,
}
SERVICE = {
    "name": "web",
    "address": "10.1.0.4:8080",
    "protocol": "http",
    "inbound": "permissive",
    "health": "healthy (tcp)",
    "details": [
        "service web: mixed, 1 of 5 in the mesh; the other 4 are reached as before",
    ],
    "callers": {
        "recent": {
            "seconds": 10.2,
            "plaintext": 14,
            "mutual_tls": 0,
            "addresses": ["10.1.0.9", "10.1.0.8", "10.1.0.7", "10.1.0.6"],
        }
    },
}
STATUS = {
    "control_plane": "cp1:15012 connected",
    "services": [SERVICE],
    "changed": {"rules": 6, "routes": 2, "names": 3},
    "waiting": [],
    "warnings": ["capture is not watched"],
}
FINDING = {"finding": "speaks-first", "service": "web", "text": "web speaks first", "cure": "do so"}


def answer(**more: object) -> dict[str, object]:
    return {
        "joined": JOINED,
        "status": STATUS,
        "findings": [],
        "differences": "",
        "waiting": [],
        **more,
    }


def test_one_screen_says_it_all() -> None:
    assert join_screen.screen(answer(), log="/var/log/x.log").splitlines() == [
        "joined   host 7f3a0000 as default/web, clock +0.2 s, control plane cp1:15012 connected",
        "web      10.1.0.4:8080 http  PERMISSIVE  app healthy (tcp)",
        "         service web: mixed, 1 of 5 in the mesh; the other 4 are reached as before",
        "         callers in 10 s: 14 without mesh (10.1.0.9, 10.1.0.8, 10.1.0.7, …), 0 by mTLS",
        "changed  6 rules, 2 routes, 1 block in /etc/hosts      look: hostmesh-agent redirect show",
        "warning  capture is not watched",
        "log      /var/log/x.log",
        "reboot   run this join again after one, unless `run --all` starts with the host; till then"
        " mesh names lead nowhere",
        "undo     hostmesh-agent leave                          next: hostmesh service show web"
        "    (on the control plane)",
    ]


def test_what_was_accepted_and_what_differs_is_printed() -> None:
    found = [FINDING | {"severity": "stops"}, FINDING | {"severity": "warns", "text": "web is so"}]
    said = join_screen.screen(answer(findings=found, differences="paths")).splitlines()
    assert "accepted speaks-first: web speaks first" in said
    assert "warning  web is so; do so" in said
    assert "differs  callers without a mesh may notice: paths (docs/join.md)" in said


def test_what_is_waited_for_is_named_with_the_way_to_look_again() -> None:
    said = join_screen.screen(answer(waiting=["web: not proven yet"]))
    assert "waiting  web: not proven yet" in said
    assert "next: hostmesh-agent status" in said


def test_without_capture_nothing_was_changed() -> None:
    status = STATUS | {"changed": {"rules": 0, "routes": 0, "names": 0}}
    said = join_screen.screen(answer(status=status))
    assert "changed  no rule, no route, no name\n" in said
    assert (
        "reboot   run this join again after one, unless `run --all` starts with the host\n" in said
    )


def test_who_is_refused_is_known() -> None:
    refused = STATUS | {"services": [SERVICE, SERVICE | {"name": "api", "refused": True}]}
    assert join_screen.refused_of(refused) == {"api"}
    assert join_screen.refused_of({}) == set()


def test_an_agent_that_does_not_answer_is_waited_for() -> None:
    assert join_screen.waiting_of({}) == ["the agent: it does not answer"]
    assert join_screen.waiting_of(STATUS) == []
    assert "the agent does not answer" in join_screen.screen(answer(status={}))
