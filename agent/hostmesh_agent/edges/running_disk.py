"""What the agent has taken in of agent.yaml, kept beside its socket for as long as this boot lasts.

An agent that ends by itself must come back as it was: the file may be half edited by then, and the
rules are those of what was taken in. `run --all` writes runner.json at its start, so that one's
stamp tells whether the rules and files were made anew since.
"""

import json
import os
from pathlib import Path

from hostmesh_agent.edges import redirect_files

LIMIT = 4 * 1024 * 1024


def stamp(path: str) -> list[int]:
    """Give what changes when a file is replaced; empty where there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116
    except OSError:
        return []
    return [about.st_ino, about.st_mtime_ns, about.st_size]


def store(path: str, *, file: str, text: str, made: list[int]) -> None:
    """Keep the text of `file`. Raises CannotWrite."""
    kept = {"file": file, "text": text, "made": made}
    redirect_files.write(path, json.dumps(kept).encode())


def load(path: str, *, file: str, made: list[int]) -> str | None:
    """Give the text of `file` that was taken in since `made`; None = read the file itself."""
    try:
        with Path(path).open("rb") as opened:
            kept = json.loads(opened.read(LIMIT))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or not made:
        return None
    same = kept.get("file") == file and kept.get("made") == made
    return str(kept["text"]) if same and isinstance(kept.get("text"), str) else None
