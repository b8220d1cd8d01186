"""Reads controlplane.yaml and, to check them, the static catalogs that it names."""

from pathlib import Path

from hostmesh_controlplane.config import ControlPlaneConfig, StaticSource
from hostmesh_controlplane.edges.static_files import StaticFiles
from hostmesh_controlplane.events.catalogs import FilesRead, SourceAway
from hostmesh_controlplane.logic import config_file, static_catalog
from hostmesh_controlplane.logic.static_catalog import StaticCatalog
from hostmesh_core.errors import BadInput


def load(path: str | None) -> ControlPlaneConfig:
    """Give the configuration of a file, or the defaults without one. Raises BadInput."""
    if path is None:
        return ControlPlaneConfig()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(f"cannot read {path}: {reason}") from error
    return config_file.parse(text, file=path)


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
                catalog, changes = static_catalog.files_read(catalog, fact)
                services += len(changes)
            case SourceAway(reason=reason):
                problems.append(reason)
            case _:
                continue
    return services, [*problems, *(str(problem) for problem in catalog.problems)]
