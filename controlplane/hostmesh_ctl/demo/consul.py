"""A real Consul server in a lab host, and the few calls that the lab makes to it."""

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.processes import Running

PORT = 8500
DNS_PORT = 8600
LEADER_SECONDS = 30.0
READ_ALL = 'service_prefix "" { policy = "read" }\nnode_prefix "" { policy = "read" }\n'
"""What a control plane needs to read: every service and node, the servers' own one included."""


class ConsulFailed(HostmeshError):
    """Consul did not come up, or said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One service instance as Consul lists it, on a node of its own."""

    service: str
    address: str
    port: int
    id: str = ""
    status: str = "passing"
    meta: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Give its id, unique in the lab."""
        return self.id or f"{self.service}-{self.address}-{self.port}"

    def registration(self) -> dict[str, object]:
        """Give the body of /v1/catalog/register."""
        check = {"CheckID": f"service:{self.key}", "Name": "alive", "Status": self.status}
        return {
            "Node": f"node-{self.address}".replace(":", "-"),
            "Address": self.address,
            "SkipNodeUpdate": False,
            "Service": {
                "ID": self.key,
                "Service": self.service,
                "Address": self.address,
                "Port": self.port,
                "Meta": dict(self.meta),
                "Tags": list(self.tags),
            },
            "Check": {**check, "ServiceID": self.key},
        }

    def checked(self, path: str, interval: str) -> dict[str, object]:
        """Give the body of /v1/agent/service/register: Consul itself asks the app over HTTP."""
        url = f"http://{self.address}:{self.port}{path}"
        check = {"HTTP": url, "Interval": interval, "Timeout": "2s", "Status": self.status}
        return {
            "ID": self.key,
            "Name": self.service,
            "Address": self.address,
            "Port": self.port,
            "Meta": dict(self.meta),
            "Check": check,
        }


class ConsulServer:
    """One server, alone in its datacenter. Its data outlives `stop` and `kill`."""

    def __init__(self, host: Host, binary: Path, *, acl: bool = False, dns: bool = False) -> None:
        self.host = host
        self.token = ""
        """The management token, once `bootstrap_acl` made it."""
        self._binary = binary
        self._process: Running | None = None
        host.write("/etc/consul-lab.json", json.dumps(settings(host.ipv4, acl=acl, dns=dns)))

    def start(self) -> None:
        """Start it and wait for its leader. Raises ConsulFailed."""
        argv = [str(self._binary), "agent", "-config-file=/etc/consul-lab.json"]
        self._process = self.host.spawn("consul", argv)
        deadline = time.monotonic() + LEADER_SECONDS
        while not self._has_leader():
            if time.monotonic() > deadline or not self._process.alive:
                words = self._process.said()[-800:]
                raise ConsulFailed(f"cannot bring up Consul on {self.host.name}: {words}")
            time.sleep(0.05)

    def _has_leader(self) -> bool:
        try:
            status, body = self._ask("GET", "/v1/status/leader")
            # A leader that has not yet written its own node answers the rest with errors.
            listed = self._ask("GET", "/v1/catalog/nodes?stale")[0] == 200
        except inside.NoAnswer:
            return False
        return status == 200 and len(body) > len('""') and listed

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.wait(5.0)

    def register(self, instance: Instance) -> None:
        """List an instance, or change what is listed. Raises ConsulFailed."""
        self.put("/v1/catalog/register", instance.registration())

    def watch(self, instance: Instance, path: str, *, interval: str = "1s") -> None:
        """List an instance whose health Consul finds out by itself. Raises ConsulFailed."""
        self.put("/v1/agent/service/register", instance.checked(path, interval))

    def deregister(self, instance: Instance) -> None:
        """Take an instance off the list. Raises ConsulFailed."""
        registration = instance.registration()
        body = {"Node": registration["Node"], "ServiceID": instance.key}
        self.put("/v1/catalog/deregister", body)

    def instances(self, service: str) -> list[dict[str, object]]:
        """Give /v1/health/service/NAME as Consul says it."""
        found: list[dict[str, object]] = json.loads(self.get(f"/v1/health/service/{service}"))
        return found

    def bootstrap_acl(self) -> str:
        """Make the management token and use it from now on; give its secret."""
        self.token = json.loads(self._patiently("/v1/acl/bootstrap"))["SecretID"]
        return self.token

    def _patiently(self, path: str) -> bytes:
        """PUT until it works: a new leader says for a moment that ACLs are not ready."""
        deadline = time.monotonic() + LEADER_SECONDS
        while True:
            try:
                return self.put(path, None)
            except ConsulFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def make_token(self, rules: str = READ_ALL, *, name: str = "hostmesh") -> tuple[str, str]:
        """Make a policy and a token of it; give (accessor id, secret)."""
        self.put("/v1/acl/policy", {"Name": name, "Rules": rules})
        made = json.loads(self.put("/v1/acl/token", {"Policies": [{"Name": name}]}))
        return made["AccessorID"], made["SecretID"]

    def set_policy(self, rules: str, *, name: str = "hostmesh") -> None:
        """Change what the tokens of a policy may do."""
        found = json.loads(self.get(f"/v1/acl/policy/name/{quote(name)}"))
        body = {"ID": found["ID"], "Name": name, "Rules": rules}
        self.put(f"/v1/acl/policy/{found['ID']}", body)

    def delete_token(self, accessor: str) -> None:
        """Take a token away."""
        self._checked("DELETE", f"/v1/acl/token/{accessor}", None)

    def get(self, path: str) -> bytes:
        """Read. Raises ConsulFailed."""
        return self._checked("GET", path, None)

    def put(self, path: str, body: Mapping[str, object] | None) -> bytes:
        """Write. Raises ConsulFailed."""
        return self._checked("PUT", path, body)

    def _checked(self, method: str, path: str, body: Mapping[str, object] | None) -> bytes:
        payload = None if body is None else json.dumps(body).encode()
        status, answer = self._ask(method, path, payload)
        if status != 200:
            words = answer.decode(errors="replace").strip()
            raise ConsulFailed(f"cannot {method} {path}: Consul says {status} {words}")
        return answer

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"X-Consul-Token": self.token} if self.token else {}
        pid = self.host.holder.pid
        return inside.ask(pid, path, port=PORT, method=method, body=body, headers=headers)


def settings(address: str, *, acl: bool, dns: bool = False) -> dict[str, object]:
    """Give the server's configuration: fast elections, nothing that calls home."""
    made: dict[str, object] = {
        "server": True,
        "bootstrap_expect": 1,
        "bind_addr": address,
        "client_addr": "0.0.0.0",  # noqa: S104 - every host of the lab, and nobody else
        "data_dir": "/var/lib/consul-lab",
        "datacenter": "dc1",
        "disable_update_check": True,
        "log_level": "warn",
        "ports": {"dns": DNS_PORT if dns else -1},
        # The default multiplier of 5 is for busy machines: a leader in 6 s instead of 1.5 s.
        "performance": {"raft_multiplier": 1},
    }
    if acl:
        made["acl"] = {"enabled": True, "default_policy": "deny", "tokens": {}}
    return made
