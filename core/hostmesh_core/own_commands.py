"""Command lines of `hostmesh-agent` within what it says: they have to mean the same instance. Pure.

A person pastes what an answer names. Without --instance it would be done to the default one.
"""

import re

from hostmesh_core.host_layout import DEFAULT_INSTANCE

_COMMAND = re.compile(
    r"\bhostmesh-agent ("
    r"(?:redirect|capture|envoy) (?:apply|remove|status|show|watch|compile)|run --all"
    r"|join|check|status|reload|resume|leave|drain|restart-envoy|renew"
    r")(?![\w:-])(?! --instance\b)( *)"
)


def of_instance(text: str, instance: str) -> str:
    """Name the instance in every command of ours in `text`; the default one needs no name.

    Columns stay where they were, as far as two spaces are left between them.
    """
    if instance == DEFAULT_INSTANCE:
        return text
    option = f" --instance {instance}"

    def named(found: re.Match[str]) -> str:
        spaces = len(found[2])
        left = spaces if spaces < 2 else max(2, spaces - len(option))
        return f"hostmesh-agent {found[1]}{option}{' ' * left}"

    return _COMMAND.sub(named, text)
