"""Puts Envoy's bootstrap where the runner's Envoy reads it: complete or not at all, 0640."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from hostmesh_core.errors import HostmeshError


class BootstrapNotWritten(HostmeshError):
    """The folder is not there or not ours, or the disk is full."""


def write(path: str, text: str) -> None:
    """Write the bootstrap by rename. The folder's setgid bit gives it Envoy's group.

    Raises BootstrapNotWritten.
    """
    new = Path(f"{path}.new")
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o640)  # whatever the umask is
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise BootstrapNotWritten(f"cannot write {path}: {error.strerror}") from error


def can_bind_ipv6() -> bool:
    """Tell whether this host can bind `::` at all; some kernels have no IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as candidate:
            candidate.bind(("::", 0))
    except OSError:
        return False
    return True
