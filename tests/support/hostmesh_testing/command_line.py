"""Runs a program's own entry point in this process: the real exit status, the real two outputs."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hostmesh_agent.main
import hostmesh_controlplane.cli
import hostmesh_ctl.cli

_ENTRIES: dict[str, Callable[[], object]] = {
    "hostmesh": hostmesh_ctl.cli.main,
    "hostmesh-agent": hostmesh_agent.main.main,
    "hostmesh-controlplane": hostmesh_controlplane.cli.main,
}


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    status: int
    out: str
    err: str


def run(*argv: str, stdin: str = "") -> Ended:
    """Run `argv` as a shell would; an error that the program lets through comes out here."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = list(argv), io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = _status(argv)
    finally:
        sys.argv, sys.stdin = before
    return Ended(status, out.getvalue(), err.getvalue())


def _status(argv: Sequence[str]) -> int:
    try:
        _ENTRIES[argv[0]]()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
            return 1
        return end.code or 0
    return 0
