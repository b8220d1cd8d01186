"""The names that an agent's instance may have: each becomes part of paths that root writes.

Every program of a host checks them here, before it looks at or makes anything. Imports next to
nothing: the small processes ask too.
"""

from hostmesh_core.errors import BadInput

LONGEST = 20
"""Characters: it is part of a chain's name in iptables, which may have 28."""
FORM = f"expected lower-case letters, digits and -, at most {LONGEST}"

_INNER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def is_instance(text: str) -> bool:
    """Tell whether `text` may name an instance."""
    short = 0 < len(text) <= LONGEST
    return short and _INNER.issuperset(text) and "-" not in (text[0], text[-1])


def checked(text: str) -> str:
    """Give back a name that will do. Raises BadInput."""
    if not is_instance(text):
        raise BadInput(f"cannot use --instance {text!r}: {FORM}, as in agent.yaml")
    return text
