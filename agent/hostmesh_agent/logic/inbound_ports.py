"""Which ports of the host Envoy serves, by its own word: a dump of its inbound listeners. Pure."""

import json
import re

from hostmesh_core import names

LISTENERS = f"^({names.VIRTUAL_INBOUND}|inbound_.*)$"
"""Names of the listeners to ask for, a regular expression."""
_CHAIN = re.compile(re.escape(f'"{names.inbound_chain(0, "")}').replace("0", r"(\d+)", 1))


def served(dump: bytes) -> frozenset[int]:
    """Give the ports that have a filter chain in an active listener; one that warms does not."""
    try:
        listeners = json.loads(dump).get("configs", [])
        active = json.dumps([one.get("active_state") for one in listeners])
    except (ValueError, AttributeError):
        return frozenset()
    return frozenset(int(port) for port in _CHAIN.findall(active))
