"""The end of `run --all`: peers are told, then ports, agent, Envoy, and what is left of the rules.

No step depends on an earlier one's success: what the agent cannot give back is given back without
it, before Envoy ends, and rules that are left are said.
"""

import time
from collections.abc import Callable
from typing import Protocol

from hostmesh_agent.parent import one_shot
from hostmesh_agent.parent.keeper import say
from hostmesh_core.errors import HostmeshError
from hostmesh_core.redirect_files import REMOVED_UNNOTED

_TRIES = 3
_PAUSE_SECONDS = 1.0
"""Another instance's pass, or somebody's iptables, may be what was in the way."""

RunOnce = Callable[[list[str]], tuple[int, str]]


class Programs(Protocol):
    """What keeps the programs running."""

    def runs(self, name: str) -> bool:
        """Tell whether a program runs now."""
        ...

    def end(self, name: str) -> None:
        """End one program; nothing where it does not run."""
        ...


def end(
    kept: Programs,
    *,
    instance: str,
    has_rules: bool,
    run_once: RunOnce = one_shot.run,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """End everything in order. Raises HostmeshError where rules could not be taken out."""
    say("ending: peers are told, then the ports, the agent, Envoy, and what is left of the rules")
    words = ["--instance", instance]
    if kept.runs("agent"):
        release = ["--release"] if has_rules else []
        status, said = run_once(["drain", *release, *words])
        if status != 0:
            say(f"the agent's drain: {_last_line(said)}; going on")
    kept.end("agent")
    # A watch would go by the agent's last word, which may be that all is to stay.
    kept.end("redirector")
    if has_rules:
        # Before Envoy ends: ports that still lead to it would answer nobody. Virtual addresses
        # stay until it has gone, for what still runs through it needs them.
        _remove(["--draining", *words], run_once, pause)
    kept.end("runner")
    if has_rules and (why := _remove(["--keep-closed", *words], run_once, pause)):
        raise HostmeshError(
            f"cannot take the rules out: {why}; Envoy has ended, and what they lead to it is "
            f"refused until this is done: hostmesh-agent redirect remove"
        )


def _remove(words: list[str], run_once: RunOnce, pause: Callable[[float], None]) -> str:
    """Try a removal a few times; gives why it failed, empty = done."""
    why = ""
    for attempt in range(_TRIES):
        if attempt:
            pause(_PAUSE_SECONDS)
        status, said = run_once(["redirect", "remove", *words])
        if status in (0, REMOVED_UNNOTED):  # no watch runs that would need the note
            return ""
        why = _last_line(said)
        say(f"redirect remove: {why}")
    return why


def _last_line(said: str) -> str:
    """Give what a one-shot ended with; its progress comes before."""
    return said.rpartition("\n")[2].removeprefix("hostmesh-agent: ") or "it ended without a word"
