"""Reads agent.yaml from the disk and through the logic: one way for every program."""

from pathlib import Path

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.logic import config_file
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


def read_config_of(layout: HostLayout, path: str) -> AgentConfig:
    """Read the agent.yaml of one instance. Raises BadInput, also where it is another instance's."""
    config = read_config(path)
    if config.instance != layout.instance:
        raise BadInput(
            f"cannot use {path} for instance {layout.instance!r}: it says "
            f"`instance: {config.instance}`; call it with --instance {config.instance}"
        )
    return config


def read_config(path: str) -> AgentConfig:
    """Read agent.yaml. Raises BadInput with a line per problem."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(
            f"cannot read {path}: it is not there; three lines suffice: control_planes, and "
            "services with name and port"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {path}: not UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    return config_file.parse(text, file=path)
