"""Where everything of one agent instance lies on a host (DESIGN 1). Pure: builds texts only.

The small processes import this too, so it imports nothing but dataclasses.
"""

from dataclasses import dataclass

DEFAULT_INSTANCE = "default"


@dataclass(frozen=True, slots=True)
class HostLayout:
    """Paths of one instance; folders are made by the package, the unit or `run --all`."""

    instance: str = DEFAULT_INSTANCE

    @property
    def config_file(self) -> str:
        """agent.yaml, written by people (root)."""
        name = "agent" if self.instance == DEFAULT_INSTANCE else f"agent-{self.instance}"
        return f"/etc/hostmesh/{name}.yaml"

    @property
    def state_dir(self) -> str:
        """/var/lib/hostmesh/<instance>, root-owned parent of what follows."""
        return f"/var/lib/hostmesh/{self.instance}"

    @property
    def identity_dir(self) -> str:
        """0700 hostmesh: host key and certificate; workloads/<ns>/<sa>/ sets."""
        return f"{self.state_dir}/identity"

    @property
    def callers_file(self) -> str:
        """0600 hostmesh: who has called this host's services, kept by the agent."""
        return f"{self.identity_dir}/callers.json"

    @property
    def xds_dir(self) -> str:
        """0700 hostmesh: stored generations."""
        return f"{self.state_dir}/xds"

    @property
    def capture_file(self) -> str:
        """capture.json, root:root 0644, written by `capture compile`."""
        return f"{self.state_dir}/capture.json"

    @property
    def applied_file(self) -> str:
        """What the redirector has installed: root 0600; removal works from it."""
        return f"{self.state_dir}/redirect-applied.json"

    @property
    def runner_file(self) -> str:
        """The runner's own root-written file: binary, base-id, socket paths, limits."""
        return f"{self.state_dir}/runner.json"

    @property
    def left_file(self) -> str:
        """left.json, root 0644: services that `leave --service` took out."""
        return f"{self.state_dir}/left.json"

    @property
    def mesh_file(self) -> str:
        """mesh.json, root 0644: the mesh that this host joined, by root's own word."""
        return f"{self.state_dir}/mesh.json"

    @property
    def made_file(self) -> str:
        """What of the folders was not there before, so that `leave` takes just that away."""
        return f"{self.state_dir}/made.json"

    @property
    def log_file(self) -> str:
        """What everything that `join` starts says, 0640."""
        return f"/var/log/hostmesh/{self.instance}.log"

    @property
    def run_dir(self) -> str:
        """/run/hostmesh/<instance>, root-owned parent of what follows."""
        return f"/run/hostmesh/{self.instance}"

    @property
    def envoy_dir(self) -> str:
        """2750 hostmesh:hostmesh-envoy: xds.sock and the bootstraps."""
        return f"{self.run_dir}/envoy"

    @property
    def xds_socket(self) -> str:
        """The relay's socket, for Envoy alone."""
        return f"{self.envoy_dir}/xds.sock"

    @property
    def admin_dir(self) -> str:
        """2750 hostmesh-envoy:hostmesh: admin.sock and runner.sock."""
        return f"{self.run_dir}/admin"

    @property
    def admin_socket(self) -> str:
        """Envoy's admin."""
        return f"{self.admin_dir}/admin.sock"

    @property
    def runner_socket(self) -> str:
        """The runner's orders."""
        return f"{self.admin_dir}/runner.sock"

    @property
    def hot_restart_dir(self) -> str:
        """0700 hostmesh-envoy: Envoy's hot-restart sockets."""
        return f"{self.run_dir}/hot-restart"

    @property
    def capture_dir(self) -> str:
        """0755 hostmesh: state.json and names.json, read by the redirector."""
        return f"{self.run_dir}/capture"

    @property
    def redirect_state_file(self) -> str:
        """state.json, written by the agent."""
        return f"{self.capture_dir}/state.json"

    @property
    def names_file(self) -> str:
        """names.json, written by the agent."""
        return f"{self.capture_dir}/names.json"

    @property
    def redirector_dir(self) -> str:
        """0755 root: what the redirector reports."""
        return f"{self.run_dir}/redirector"

    @property
    def redirector_report_file(self) -> str:
        """report.json, written by the redirector after each pass, read by the agent."""
        return f"{self.redirector_dir}/report.json"

    @property
    def reload_lock(self) -> str:
        """One `reload` at a time."""
        return f"{self.run_dir}/reload.lock"

    @property
    def lifecycle_lock(self) -> str:
        """One `join` or `leave` at a time, root 0600: beside the folders, which `leave` removes."""
        return f"{self.run_dir.rpartition('/')[0]}-{self.instance}.lock"

    @property
    def control_dir(self) -> str:
        """0750 hostmesh: the agent's own control socket."""
        return f"{self.run_dir}/control"

    @property
    def control_socket(self) -> str:
        """For `status`, `reload`, `leave`: peer-checked (root or the agent's own user)."""
        return f"{self.control_dir}/agent.sock"

    @property
    def running_file(self) -> str:
        """running.json, the agent's own: what it has taken in of agent.yaml."""
        return f"{self.control_dir}/running.json"

    def bootstrap_file(self, epoch: int) -> str:
        """Envoy's bootstrap of this restart epoch, 0640."""
        return f"{self.envoy_dir}/bootstrap-{epoch}.json"
