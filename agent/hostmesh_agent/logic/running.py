"""What the agent runs with: agent.yaml as it was taken in, less the services that left. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.logic import config_file


@dataclass(frozen=True, slots=True)
class Running:
    """One value, changed in one place (`app.agent`)."""

    file: str
    """Where agent.yaml lies."""
    text: str
    """Its text as it was taken in: the file may have been edited since."""
    config: AgentConfig
    """What it says, without the services that left."""
    left: tuple[str, ...] = ()
    """Services that agent.yaml lists and `leave --service` took out."""


def read(text: str, *, file: str, left: Iterable[str] = ()) -> Running:
    """Take in agent.yaml. What left and is no longer listed is forgotten. Raises BadInput."""
    config = config_file.parse(text, file=file)
    listed = {service.name for service in config.services}
    gone = tuple(sorted(listed.intersection(left)))
    serving = tuple(service for service in config.services if service.name not in gone)
    return Running(file, text, replace(config, services=serving), gone)
