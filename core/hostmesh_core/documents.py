"""The one strict loader of every document that people write: text in, nodes with file and line out.

It gives documents whatever their kind (agent.yaml, ServiceEntry …); `sections` reads our own
snake_case files on top of it. Wrong things are collected and told together, each with its line.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from hostmesh_core import yaml_nodes
from hostmesh_core.errors import BadInput
from hostmesh_core.yaml_nodes import Mapping, Node, Plain, Sequence

MAX_BYTES = 16 * 1024 * 1024
"""A document file beyond it is a mistake, not a configuration."""

Path = tuple[str | int, ...]
"""Keys and list positions from the root: `("spec", "ports", 0, "number")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that cannot be used, and where it stands (line from 1)."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Give the sentence that an operator reads."""
        return f"cannot use {self.file}:{self.line}: {self.message}"


def raise_problems(problems: Iterable[Problem]) -> NoReturn:
    """Raise one BadInput that tells all problems, a line each, in the file's order."""
    ordered = sorted(set(problems), key=lambda problem: (problem.file, problem.line))
    raise BadInput("\n".join(str(problem) for problem in ordered))


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document."""

    file: str
    node: Node

    @property
    def line(self) -> int:
        """The line that it begins on."""
        return self.node.line

    def plain(self) -> Plain:
        """Give it as plain Python values, new ones at each call."""
        return yaml_nodes.plain(self.node)

    def line_of(self, path: Path) -> int:
        """Give the line of what `path` leads to: of its key, or of the nearest one that is there.

        Keys also match in another spelling (`workload_selector`, `workloadSelector`).
        """
        node, line = self.node, self.node.line
        for step in path:
            match node, step:
                case Mapping(), str():
                    entry = node.entries.get(_same_key(step, node.entries) or "")
                    if entry is None:
                        break
                    node, line = entry.node, entry.line
                case Sequence(), int() if 0 <= step < len(node.items):
                    node = node.items[step]
                    line = node.line
                case _:
                    break
        return line

    def where(self, path: Path = ()) -> str:
        """Give `file:line` of what `path` leads to."""
        return f"{self.file}:{self.line_of(path)}"

    def problem(self, path: Path, message: str) -> Problem:
        """Name something wrong at `path`."""
        return Problem(self.file, self.line_of(path), message)


def read_all(text: str, *, file: str) -> tuple[list[Document], list[Problem]]:
    """Read every document that can be read, and say what is wrong with each of the others."""
    if len(text) > MAX_BYTES:
        return [], [Problem(file, 1, f"larger than {MAX_BYTES // 1024 // 1024} MiB")]
    documents: list[Document] = []
    problems: list[Problem] = []
    for result in yaml_nodes.read(text):
        if isinstance(result, yaml_nodes.YamlProblem):
            problems.append(Problem(file, result.line, str(result)))
        else:
            documents.append(Document(file, result))
    return documents, problems


def load_all(text: str, *, file: str) -> list[Document]:
    """Read every document; empty ones are left out. Raises BadInput that tells all problems."""
    documents, problems = read_all(text, file=file)
    if problems:
        raise_problems(problems)
    return documents


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that was likely meant: another spelling of it first, then the nearest."""
    words = sorted(known)
    same = _same_key(word, words)
    if same is not None:
        return same
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give `; did you mean "x"?`, or what is known where that is short, else nothing."""
    words = sorted(known)
    meant = suggest(word, words)
    if meant is not None:
        return f'; did you mean "{meant}"?'
    return f"; known: {', '.join(words)}" if 0 < len(words) <= 24 else ""


def _bare(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _same_key(word: str, known: Iterable[str]) -> str | None:
    names = list(known)
    if word in names:
        return word
    return next((name for name in names if _bare(name) == _bare(word)), None)
