"""What is on the wire of a lab host: tcpdump, and the question what it saw."""

import time
from pathlib import Path

from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.mesh import wait_for

PCAP_HEADER_BYTES = 24


class Capture:
    """tcpdump on one interface of a host, whole packets, until `seen` is asked."""

    def __init__(self, host: Host, interface: str, *, only: str = "") -> None:
        """`only` is a filter in tcpdump's words."""
        name = f"tcpdump-{interface}-{time.monotonic_ns()}"
        self._file = host.folder / f"{name}.pcap"
        words = ["tcpdump", "-i", interface, "-s", "0", "-U", "--immediate-mode", "-Z", "root"]
        self._process = host.spawn(name, [*words, "-w", str(self._file), *only.split()])
        wait_for("tcpdump", lambda: "listening on" in self._process.said())

    def seen(self) -> bytes:
        """Stop and give all that was captured."""
        time.sleep(0.5)  # what is still on its way through the kernel's buffer
        self._process.stop()
        return Path(self._file).read_bytes()

    def packets(self) -> bool:
        """Stop and tell whether a single packet was captured."""
        return len(self.seen()) > PCAP_HEADER_BYTES
