"""Which resources a client's error text means: a NACK names a response, not its bad resource."""

import re
from collections.abc import Collection


def blamed(detail: str, names: Collection[str]) -> frozenset[str]:
    """Give those of a response's `names` that the client's words mention; empty = cannot tell.

    A response with one resource leaves no doubt. A name that is only a number (Istio's route
    names) is not looked for: any port in the text would be mistaken for it.
    """
    if len(names) == 1:
        return frozenset(names)
    return frozenset(name for name in names if name in detail and _mentions(detail, name))


def _mentions(detail: str, name: str) -> bool:
    if name.isdecimal():
        return False
    # A longer name that contains this one is another resource; a full stop or a colon may follow.
    pattern = rf"(?<![\w.|:-]){re.escape(name)}(?![\w|-]|[.:]\w)"
    return re.search(pattern, detail) is not None
