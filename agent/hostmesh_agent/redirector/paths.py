"""Where the redirector of one instance finds and leaves things."""

from dataclasses import dataclass, field

from hostmesh_agent.redirector import hosts_file
from hostmesh_core.host_layout import HostLayout


@dataclass(frozen=True, slots=True)
class Paths:
    """Beside the layout: what all instances of a host share."""

    layout: HostLayout
    hosts: str = field(default=hosts_file.HOSTS)

    @property
    def lock(self) -> str:
        """Held around every change: two never interleave, of whatever instance."""
        return "/run/hostmesh/redirect.lock"

    @property
    def shared(self) -> str:
        """What the host was like before its first instance: the last one restores it."""
        return "/var/lib/hostmesh/redirect-shared.json"

    @property
    def hosts_journal(self) -> str:
        """The copy that is kept while the hosts file is written in place."""
        return "/var/lib/hostmesh/hosts-journal.json"

    @property
    def switched_off(self) -> str:
        """There after `redirect remove`, until `apply`, the next `capture compile`, or a boot."""
        return f"{self.layout.redirector_dir}/off"
