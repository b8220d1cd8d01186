"""Runs programs and turns what goes wrong into one error family."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from hostmesh_core.errors import HostmeshError


class CommandFailed(HostmeshError):
    """A program of the lab ended otherwise than it should."""


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    check: bool = True,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and give what it printed; `timeout` in seconds. Raises CommandFailed."""
    try:
        done = subprocess.run(  # noqa: S603 - the lab runs what its own code names, without a shell
            list(argv),
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=None if env is None else dict(env),
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {argv[0]}: {os.strerror(error.errno or 0)}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"cannot wait longer for {_shown(argv)}: {timeout:g} s") from error
    if check and done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise CommandFailed(f"cannot go on: {_shown(argv)} ended with {done.returncode}: {words}")
    return done


def _shown(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= 160 else text[:157] + "..."
