"""Tells systemd how the agent is: the datagrams of sd_notify(3). Without systemd, does nothing."""

import os
import socket
from contextlib import suppress


class Notifier:
    """The socket that systemd named when it started this process."""

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address

    @property
    def watchdog_seconds(self) -> float:
        """How often systemd wants to hear from this process; 0 = not at all."""
        wanted = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return int(wanted) / 1e6 if mine and wanted.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        """Say that start-up is over."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Say in one line what goes on; `systemctl status` shows it."""
        self._send(f"STATUS={_one_line(text)}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # @ stands for the zero byte of an abstract socket.
        address = self._address.replace("@", "\0", 1)
        # A systemd that does not listen must not end the agent.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(text.encode(), address)


def _one_line(text: str) -> str:
    return " ".join(text.split())
