from hostmesh_ctl.demo.account import Account
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.verdict import line

LOST = Record(id="7", method="GET", family=4, kept=True, start=1.0, end=2.0, error="reset")


def _account(**changes: object) -> Account:
    values: dict[str, object] = {
        "sent": 3000,
        "succeeded": 2980,
        "failed": (),
        "in_flight": (LOST,),
        "own_envoy_down": (LOST, LOST),
        "longest_wait": 1.254,
        "by_server": {},
        "kept": 1500,
        "fresh": 1500,
    }
    return Account(**{**values, **changes})  # type: ignore[arg-type]


def test_the_last_line_holds_every_number() -> None:
    assert line(_account(), retried=12, down=0.512, rate=60.0, consul=True) == (
        "3000 requests at 60/s, 0 failed, 12 retried by Envoy; in flight at the kill: 1; "
        "while the client's own Envoy was down: 2 (0.51 s); longest wait 1.25 s; "
        "Consul part: shown"
    )


def test_without_consul_the_last_line_says_so() -> None:
    said = line(_account(failed=(LOST,)), retried=0, down=0.0, rate=60.0, consul=False)
    assert said.endswith("Consul part: NOT SHOWN")
    assert "1 failed" in said
