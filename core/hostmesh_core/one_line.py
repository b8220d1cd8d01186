"""Another's words as they may stand in one line of a terminal, a table or a log.

A catalog's writer and a host choose labels, names and reasons. A line end of theirs would begin a
line of our own making, and terminals obey escapes.
"""


def one_line(text: str) -> str:
    """Put `?` for whatever prints as nothing: line ends, escapes, marks that turn the direction."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shortened(text: str, most: int) -> str:
    """Give the first `most` characters of it, on one line; `…` where there are more."""
    shown = one_line(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"
