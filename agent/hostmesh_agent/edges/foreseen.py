"""Asks the redirector what this host's firewall would make of a capture plan. Root; no change."""

import json
import subprocess
import sys
from collections.abc import Mapping

from hostmesh_core.host_layout import HostLayout

_SECONDS = 30


def firewall(plan: bytes, layout: HostLayout) -> Mapping[int, str]:
    """Give the ports that it would open or shut, each with why; empty where that is not known."""
    argv = (sys.executable, "-m", "hostmesh_agent.main", "redirect", "foresee")
    try:
        done = subprocess.run(  # noqa: S603  our own program
            (*argv, "--instance", layout.instance),
            cwd="/",  # `-m` looks in it first: whoever owns the caller's would be root
            input=plan,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return {int(port): str(why) for port, why in found.items()}
