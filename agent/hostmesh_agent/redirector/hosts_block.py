"""The managed block inside the text of /etc/hosts. Pure: bytes in, bytes out.

Taking the block out gives back the very bytes that were there, the missing newline at the end of
the file included. Everything outside the markers is the operator's and is never read as ours.
"""

from collections.abc import Sequence

_NOTE = "written by hostmesh-agent; edits inside are lost"
_JOINED = "newline added before"


def with_block(content: bytes, instance: str, lines: Sequence[str]) -> bytes:
    """Give the file with this instance's block holding `lines`; without a block for no lines.

    A block that is there keeps its place.
    """
    begin, end = _find(content, instance)
    if begin < 0:
        return content if not lines else _append(content, instance, lines)
    joined = _is_joined(content, begin)
    if lines:
        block = _block(instance, lines, joined=joined)
        return content[:begin] + block + content[end:]
    before, after = content[:begin], content[end:]
    if joined and not after and before.endswith(b"\n"):
        before = before[:-1]
    return before + after


def without_blocks(content: bytes) -> bytes:
    """Give the file as its owner wrote it: without any instance's block."""
    kept, inside = [], False
    for line in content.splitlines(keepends=True):
        if line.startswith(b"# BEGIN hostmesh "):
            inside = True
        elif inside and line.startswith(b"# END hostmesh "):
            inside = False
        elif not inside:
            kept.append(line)
    return b"".join(kept)


def names_in(content: bytes) -> frozenset[str]:
    """Give every name that the owner's own lines define."""
    found: set[str] = set()
    for line in without_blocks(content).decode("utf-8", "replace").splitlines():
        found.update(line.partition("#")[0].lower().split()[1:])
    return frozenset(found)


def count(content: bytes, instance: str) -> int:
    """How many names this instance's block holds."""
    begin, end = _find(content, instance)
    lines = content[begin:end].decode().splitlines() if begin >= 0 else []
    return len({name for line in lines if line[:1] != "#" for name in line.split()[1:]})


def _append(content: bytes, instance: str, lines: Sequence[str]) -> bytes:
    joined = bool(content) and not content.endswith(b"\n")
    return content + (b"\n" if joined else b"") + _block(instance, lines, joined=joined)


def _block(instance: str, lines: Sequence[str], *, joined: bool) -> bytes:
    note = f"{_NOTE}; {_JOINED}" if joined else _NOTE
    text = [f"# BEGIN hostmesh {instance} ({note})", *lines, f"# END hostmesh {instance}", ""]
    return "\n".join(text).encode()


def _find(content: bytes, instance: str) -> tuple[int, int]:
    """Give where the block begins and ends, or (-1, -1).

    A block whose end was cut off reaches to the last line that we can have written.
    """
    begin = _line_start(content, f"# BEGIN hostmesh {instance} (".encode(), 0)
    if begin < 0:
        return -1, -1
    last = f"# END hostmesh {instance}\n".encode()
    end = _line_start(content, last, begin)
    other = _line_start(content, b"# BEGIN hostmesh ", begin + 1)
    if end >= 0 and (other < 0 or end < other):
        return begin, end + len(last)
    return begin, _end_of_marker(content, begin)


def _end_of_marker(content: bytes, begin: int) -> int:
    """Without an end marker only the first line is surely ours: names after it may be anybody's."""
    newline = content.find(b"\n", begin)
    return len(content) if newline < 0 else newline + 1


def _line_start(content: bytes, text: bytes, start: int) -> int:
    """Find `text` at the beginning of a line, from `start` on."""
    at = content.find(text, start)
    while at > 0 and content[at - 1 : at] != b"\n":
        at = content.find(text, at + 1)
    return at


def _is_joined(content: bytes, begin: int) -> bool:
    newline = content.find(b"\n", begin)
    return _JOINED.encode() in content[begin : newline if newline >= 0 else len(content)]
