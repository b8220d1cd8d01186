"""Runs many passes in one process inside a lab host: commands as JSON lines in, answers out.

A program of its own because 200 pairs through the command line would be mostly starts of Python;
what it drives is the redirector's own engine, and the command line has tests beside it.
"""

import json
import random
import subprocess
import sys
from dataclasses import asdict

from hostmesh_agent.redirector.engine import Engine
from hostmesh_agent.redirector.paths import Paths
from hostmesh_agent.redirector.target import SERVING, Serving, Target, decide
from hostmesh_core.host_layout import HostLayout
from hostmesh_testing import capture_cases
from hostmesh_testing.capture_cases import Case
from hostmesh_testing.capture_host import looks


def target_of(case: Case) -> Target:
    """Give what a case asks for."""
    seen = SERVING if case.target == "serving" else Serving()
    return decide(case.plan, case.state, seen)


class Driver:
    """One host's engine and the pairs of one seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.engine = Engine(Paths(HostLayout()))
        self.pairs = capture_cases.pairs(count, seed)
        self.order = random.Random(seed)

    def apply(self, case: Case) -> dict[str, object]:
        endpoints = case.state.endpoints if case.state else frozenset[tuple[str, int]]()
        return asdict(self.engine.converge(case.plan, target_of(case), endpoints, case.names))

    def pair(self, index: int) -> list[str]:
        """Give what is wrong with one pair, nothing where all is as it should be."""
        a, b = self.pairs[index]
        start = looks()
        self.apply(b)
        clean = looks()
        problems = [] if not self.apply(b)["changed"] else ["apply twice is not apply once"]
        self.engine.remove()
        problems += _differences("after remove", start, looks())
        self.apply(a)
        self.apply(b)
        problems += _differences("A then B", clean, looks())
        self.engine.remove()
        problems += _differences("after the second remove", start, looks())
        return problems


def _differences(when: str, wanted: dict[str, str], have: dict[str, str]) -> list[str]:
    return [
        f"{when}: {look}:\n--- wanted\n{wanted[look]}\n--- have\n{have[look]}"
        for look in wanted
        if wanted[look] != have[look]
    ]


def main() -> None:
    """Run the pairs `first` to `last`, one answer line each."""
    count, seed, first, last = map(int, sys.argv[1:5])
    driver = Driver(count, seed)
    for index in range(first, last):
        problems = driver.pair(index)
        drawn = [dict(case.drawn) for case in driver.pairs[index]] if problems else []
        sys.stdout.write(json.dumps({"pair": index, "problems": problems, "drawn": drawn}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.stdout.write(json.dumps({"pair": -1, "problems": [str(error)], "drawn": []}) + "\n")
