"""Whatever was installed before, the same configuration gives the same kernel (rule 14)."""

import json
import sys
from itertools import product
from pathlib import Path

import pytest

from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing import capture_cases, capture_foreign
from hostmesh_testing.capture_host import settled, use_legacy

SEED = 20261121
SLICE, ALL = 40, 240


def _put_foreign_rules(host: Host) -> None:
    """What others have is there from the start: each pair has to leave it as it is."""
    for text in capture_foreign.IPTABLES.values():
        host.run(["iptables-restore", "--noflush"], text=text)
    host.run(["nft", "-f", "-"], text=capture_foreign.NATIVE)
    host.run(["ipset", "create", "crowd", "hash:net"])
    host.run(["ipset", "add", "crowd", "198.51.100.0/24"])
    host.run(["ip", "rule", "add", "fwmark", "7", "lookup", "100"])


def _run(host: Host, first: int, last: int) -> list[str]:
    words = [str(word) for word in (ALL, SEED, first, last)]
    support = Path(capture_cases.__file__).parents[1]
    driver = [
        "env",
        f"PYTHONPATH={support}",
        sys.executable,
        "-m",
        "hostmesh_testing.capture_driver",
    ]
    done = host.run([*driver, *words], timeout=280.0)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["pair"] for answer in answers] == list(range(first, last))
    return [
        json.dumps(answer["drawn"]) + "\n".join(answer["problems"])
        for answer in answers
        if answer["problems"]
    ]


def _print_shares(count: int) -> None:
    cases = [case for pair in capture_cases.pairs(ALL, SEED)[:count] for case in pair]
    shares = capture_cases.shares(cases)
    print(f"\n{count} pairs, seed {SEED}; each dimension's values and their share of the cases:")
    for name in capture_cases.DIMENSIONS:
        values = {k.partition("=")[2]: v for k, v in shares.items() if k.startswith(f"{name}=")}
        print(f"  {name}: " + ", ".join(f"{value} {part:.0%}" for value, part in values.items()))
    assert min(shares.values()) >= 0.10, min(shares.items(), key=lambda item: item[1])


@pytest.mark.parametrize("foreign", [False, True], ids=["an empty host", "beside others' rules"])
def test_a_then_b_is_b(lab: Lab, foreign: bool) -> None:  # noqa: FBT001
    host = settled(lab.host("pairs"))
    if foreign:
        _put_foreign_rules(host)
    _print_shares(ALL)
    half = SLICE // 2
    wrong = _run(host, half, SLICE) if foreign else _run(host, 0, half)
    assert not wrong, f"{len(wrong)} of {half} pairs; the first: {wrong[0]}"


def test_a_then_b_is_b_with_legacy_iptables(lab: Lab) -> None:
    host = settled(lab.host("pairs"))
    use_legacy(host)
    _warm_up_legacy(host)
    wrong = _run(host, SLICE, SLICE + 8)
    assert not wrong, f"{len(wrong)} of 8 pairs; the first: {wrong[0]}"


def _warm_up_legacy(host: Host) -> None:
    """A legacy table that is asked for once stays: `before` has to have it too."""
    for program, table in product(("iptables", "ip6tables"), ("nat", "filter")):
        host.run([program, "-t", table, "-S"])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_then_b_is_b_for_all_pairs(lab: Lab) -> None:
    host = settled(lab.host("pairs"))
    _put_foreign_rules(host)
    _print_shares(ALL)
    wrong = [text for start in range(0, ALL, 40) for text in _run(host, start, start + 40)]
    print(f"{ALL} pairs, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {ALL} pairs; the first: {wrong[0]}"
