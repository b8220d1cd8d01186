"""A process that looks like one of ours: its command line is, and it does nothing."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def words(instance: str, *what: str) -> list[str]:
    """Give its command line."""
    code = "import time; time.sleep(60)"
    return [sys.executable, "-c", code, "hostmesh_agent.main", *what, "--instance", instance]


@contextmanager
def own_process(instance: str, *what: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run it within a block."""
    child = subprocess.Popen(words(instance, *what))
    try:
        yield child
    finally:
        child.kill()
        child.wait()
