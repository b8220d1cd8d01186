"""Runs one of our own programs to its end."""

import subprocess

from hostmesh_agent.parent import processes

SECONDS = 60


def run(arguments: list[str]) -> tuple[int, str]:
    """Run a one-shot of our own; gives its exit status and what it said on stderr."""
    try:
        done = subprocess.run(  # noqa: S603  our own program
            processes.own(*arguments),
            env=processes.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            start_new_session=True,  # the second Ctrl-C of somebody impatient is not for it
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, f"cannot run `{' '.join(arguments)}`: {error}"
    return done.returncode, done.stderr.strip()
