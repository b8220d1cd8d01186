"""Reads controlplane.yaml and, to check them, the static catalogs that it names."""

import os
from collections.abc import Iterator
from pathlib import Path

from hostmesh_controlplane.config import ControlPlaneConfig, StaticSource
from hostmesh_controlplane.edges.static_files import StaticFiles
from hostmesh_controlplane.events.catalogs import FilesRead, SourceAway
from hostmesh_controlplane.logic import config_file, static_catalog
from hostmesh_controlplane.logic.static_catalog import StaticCatalog
from hostmesh_core.documents import Document, Problem, load_all, raise_problems
from hostmesh_core.documents import Path as YamlPath
from hostmesh_core.errors import BadInput
from hostmesh_core.yaml_nodes import Plain


def load(path: str | None) -> ControlPlaneConfig:
    """Give the configuration of a file, or the defaults without one. Raises BadInput."""
    if path is None:
        return ControlPlaneConfig()
    return config_file.parse(_text(path), file=path)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(f"cannot read {path}: {reason}") from error


def check_files(path: str | None) -> None:
    """Look for what a checked configuration names. Raises BadInput with file, line and key.

    A running control plane goes on without it and looks again; who checks wants to know now.
    """
    problems: list[Problem] = []
    for document in load_all(_text(path), file=path) if path else ():
        for place, named in _named_files(document):
            why = _unreadable(named)
            if why:
                dotted = f"sources[{place[1]}].{'.'.join(str(step) for step in place[2:])}"
                problems.append(document.problem(place, f"{dotted}: {why}"))
    if problems:
        raise_problems(problems)


def _named_files(document: Document) -> Iterator[tuple[YamlPath, str]]:
    """Give every path that a source names, with its place in the file."""
    plain = document.plain()
    sources = plain.get("sources") if isinstance(plain, dict) else None
    for position, source in enumerate(sources if isinstance(sources, list) else ()):
        if not isinstance(source, dict):
            continue
        place = ("sources", position)
        yield from _texts(source, ("path", "token_file"), place)
        tls = ("ca_file", "certificate_file", "key_file")
        yield from _texts(source.get("tls"), tls, (*place, "tls"))


def _texts(holder: Plain, keys: tuple[str, ...], place: YamlPath) -> Iterator[tuple[YamlPath, str]]:
    for key in keys:
        named = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(named, str) and named:
            yield (*place, key), named


def _unreadable(named: str) -> str:
    try:
        Path(named).stat()
    except OSError as error:
        return f"cannot read {named}: {error.strerror}"
    return "" if os.access(named, os.R_OK) else f"cannot read {named}: permission denied"


def check_catalogs(config: ControlPlaneConfig) -> int:
    """Read every static catalog once; gives how many services they make.

    Raises BadInput with one line per problem: a running control plane would keep the last good
    version of each such object and go on.
    """
    problems: list[str] = []
    services = 0
    for source in config.sources:
        if isinstance(source, StaticSource):
            found, wrong = _read_once(source, config.trust_domain)
            services += found
            problems += wrong
    if problems:
        raise BadInput("\n".join(problems))
    return services


def _read_once(source: StaticSource, mesh_domain: str) -> tuple[int, list[str]]:
    catalog, services, problems = StaticCatalog(source.name, mesh_domain), 0, []
    for fact in StaticFiles(source.name, source.path).step():
        match fact:
            case FilesRead():
                parsed = {
                    file.path: static_catalog.parsed(file, mesh_domain=mesh_domain)
                    for file in fact.changed
                }
                catalog, changes = static_catalog.files_read(catalog, fact, parsed)
                services += len(changes)
            case SourceAway(reason=reason):
                problems.append(reason)
            case _:
                continue
    return services, [*problems, *(str(problem) for problem in catalog.problems)]
