"""Reads agent.yaml from the disk and through the logic: one way for every program."""

import logging
from pathlib import Path

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import left_disk, running_disk
from hostmesh_agent.edges.redirect_files import CannotWrite
from hostmesh_agent.logic import config_file, left_services, running
from hostmesh_agent.logic.running import Running
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout

log = logging.getLogger("hostmesh.agent")
MOST_CHARACTERS = 256 * 1024
"""Of an agent.yaml: what a reload hands to a running agent in one line (`edges.control`)."""


def read_running(layout: HostLayout, path: str) -> Running:
    """Read what one instance's agent is to run with. Raises BadInput."""
    return running_of(layout, path, read_text(path), read_left(layout))


def take_up(layout: HostLayout, path: str) -> Running:
    """Give what the agent is to run with: what an earlier one had taken in, else the file.

    Raises BadInput.
    """
    made = running_disk.stamp(layout.runner_file)
    text = running_disk.load(layout.running_file, file=path, made=made)
    if text is None:
        text = read_text(path)
    taken = running_of(layout, path, text, read_left(layout))
    keep(layout, taken)
    return taken


def keep(layout: HostLayout, taken: Running) -> None:
    """Let an agent that comes after this one go on with the same."""
    made = running_disk.stamp(layout.runner_file)
    try:
        running_disk.store(layout.running_file, file=taken.file, text=taken.text, made=made)
    except CannotWrite as error:
        log.warning("%s; an agent that is started again reads %s", error, taken.file)


def is_edited(taken: Running) -> bool:
    """Whether the file says something else by now."""
    try:
        return read_text(taken.file) != taken.text
    except BadInput:
        return True


def running_of(layout: HostLayout, path: str, text: str, left: frozenset[str]) -> Running:
    """Take in the text of an agent.yaml. Raises BadInput, also for another instance's."""
    taken = running.read(text, file=path, left=left)
    _check_instance(layout, path, taken.config)
    return taken


def read_config_of(layout: HostLayout, path: str) -> AgentConfig:
    """Read the agent.yaml of one instance. Raises BadInput, also where it is another instance's."""
    config = read_config(path)
    _check_instance(layout, path, config)
    return config


def read_config(path: str) -> AgentConfig:
    """Read agent.yaml. Raises BadInput with a line per problem."""
    return config_file.parse(read_text(path), file=path)


def read_left(layout: HostLayout) -> frozenset[str]:
    """Give the services that `leave --service` took out. Raises BadInput."""
    data = left_disk.read(layout.left_file, left_services.FILE_LIMIT)
    if data is None:
        return frozenset()
    try:
        return left_services.decode(data, where=layout.left_file)
    except BadInput as error:
        raise BadInput(
            f"{error}; it holds the services that left: remove it, and all of them return"
        ) from error


def read_text(path: str) -> str:
    """Read the file. Raises BadInput."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError as error:
        raise BadInput(
            f"cannot read {path}: it is not there; three lines suffice: control_planes, and "
            "services with name and port"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {path}: not UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    if len(text) > MOST_CHARACTERS:
        raise BadInput(f"cannot read {path}: longer than {MOST_CHARACTERS} characters")
    return text


def _check_instance(layout: HostLayout, path: str, config: AgentConfig) -> None:
    if config.instance != layout.instance:
        raise BadInput(
            f"cannot use {path} for instance {layout.instance!r}: it says "
            f"`instance: {config.instance}`; call it with --instance {config.instance}"
        )
