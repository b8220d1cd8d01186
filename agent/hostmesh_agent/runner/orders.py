"""What the agent may order, and the answers: JSON lines, v 1, understood for ever.

An order never holds a path or an argument of Envoy's: what runs, and where, is runner.json's.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal, cast

from hostmesh_core.runner_file import RunnerSettings

VERSION = 1
MAX_LINE_BYTES = 4096
LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_CONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NotUnderstood(Exception):
    """The order is not one of the protocol; its text says why."""


@dataclass(frozen=True, slots=True)
class Status:
    """Tell what lives."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Tell what lives, then every spawn and exit."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start Envoy; `config` is a file's bare name in the bootstrap folder."""

    epoch: int
    config: str
    concurrency: int
    level: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Signal Envoy."""

    epoch: int
    signal: Literal["TERM", "KILL"]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The exit of this process is known: forget it."""

    pid: int


Order = Status | Follow | Start | Kill | Acknowledge


def parse(line: bytes) -> Order:
    """Read one line. Raises NotUnderstood."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise NotUnderstood("cannot read the order: not JSON") from error
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise NotUnderstood(f"cannot read the order: this runner speaks v {VERSION}")
    match message:
        case {"do": "status"}:
            return Status()
        case {"do": "follow"}:
            return Follow()
        case {"do": "start"}:
            return _start(message)
        case {"do": "signal", "epoch": epoch, "signal": ("TERM" | "KILL") as name}:
            return Kill(_number(epoch, "epoch"), cast(Literal["TERM", "KILL"], name))
        case {"do": "acknowledge", "pid": pid}:
            return Acknowledge(_number(pid, "pid"))
        case _:
            raise NotUnderstood(f"cannot read the order {message.get('do')!r}")


def _start(message: dict[str, object]) -> Start:
    config, level = message.get("config"), message.get("level", "warning")
    if not isinstance(config, str) or not _CONFIG.fullmatch(config):
        raise NotUnderstood("cannot start: config must be a bare file name")
    if level not in LEVELS:
        raise NotUnderstood(f"cannot start: level must be one of {', '.join(LEVELS)}")
    return Start(
        epoch=_number(message.get("epoch"), "epoch"),
        config=config,
        concurrency=max(1, _number(message.get("concurrency", 1), "concurrency")),
        level=str(level),
    )


def _number(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise NotUnderstood(f"cannot read the order: {name} must be a number")
    return value


def command_line(settings: RunnerSettings, base_id: int, order: Start) -> list[str]:
    """Give Envoy's argv. Everything that decides what runs comes from `settings`."""
    # fmt: off
    return [
        settings.binary,
        "--config-path", f"{settings.bootstrap_dir}/{order.config}",
        "--restart-epoch", str(order.epoch),
        "--base-id", str(base_id),
        "--socket-path", settings.hot_restart_socket,
        "--socket-mode", "600",
        "--drain-time-s", str(settings.drain_seconds),
        "--parent-shutdown-time-s", str(settings.parent_shutdown_seconds),
        "--concurrency", str(min(order.concurrency, settings.max_concurrency)),
        "--log-level", order.level,
    ]
    # fmt: on


def line(**fields: object) -> bytes:
    """Give one line of an answer."""
    return json.dumps({"v": VERSION, **fields}, separators=(",", ":")).encode() + b"\n"
