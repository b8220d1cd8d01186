"""Two lab hosts with the real Envoy, fed with what is rendered: a client and a server."""

import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import envoy

from hostmesh_core.xds.resource import Resource, Resources
from hostmesh_ctl.demo.hosts import Host
from hostmesh_testing.render_ads import AdsServer, Served, bootstrap
from hostmesh_testing.waiting import wait_until

ENVOY = str(Path(next(iter(envoy.__path__))) / "_bin" / "envoy")
ENVOY_UID = 1337
VIPS = {"iptables": "240.240.0.0/16", "ip6tables": "fd48:6d65:7368::/64"}


class Sidecar:
    """One host's Envoy and the ADS server that feeds it."""

    def __init__(self, host: Host, rendered: Resources, secrets: Mapping[str, Resource]) -> None:
        self.host = host
        folder = host.folder / "sidecar"
        folder.mkdir()
        folder.chmod(0o777)
        self.admin_socket = folder / "admin.sock"
        self.served = Served(rendered, secrets)
        self.ads = AdsServer(folder / "xds.sock", self.served)
        config = folder / "bootstrap.json"
        config.write_text(json.dumps(bootstrap(folder / "xds.sock", self.admin_socket, node="t")))
        words = [ENVOY, "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
        words += os.environ.get("HOSTMESH_TEST_ENVOY_ARGS", "-l warning").split()
        self.process = host.spawn("envoy", words, uid=ENVOY_UID)
        wait_until(self._live, what=f"Envoy on {host.name}: {self.process.log}")

    def admin(self, path: str, *, method: str = "GET") -> str:
        """Ask Envoy's admin."""
        with closing(_Unix(str(self.admin_socket))) as connection:
            connection.request(method, path)
            return connection.getresponse().read().decode()

    def stat(self, name: str) -> int:
        """Give one counter or gauge; 0 where Envoy has none of that name."""
        for line in self.admin(f"/stats?filter={quote(re.escape(name))}").splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return int(value)
        return 0

    def warming(self) -> int:
        return self.stat("cluster_manager.warming_clusters")

    def stop(self) -> None:
        self.process.stop(seconds=0.5)
        self.ads.stop()

    def _live(self) -> bool:
        assert self.process.alive, self.process.said()
        try:
            # A worker that listens: the admin says LIVE while listeners still warm.
            return "LIVE" in self.admin("/ready") and self.ads.settled() and not self.warming()
        except OSError:
            return False


class _Unix(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(5)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made


def capture_outbound(host: Host, *, default: int = 15001, uids: Mapping[int, int]) -> None:
    """Send what goes to virtual addresses to Envoy; `uids` go to an identity's own port."""
    for program, vips in VIPS.items():
        for uid, port in uids.items():
            _redirect(host, program, vips, f"-m owner --uid-owner {uid}", port)
        _redirect(host, program, vips, f"-m owner ! --uid-owner {ENVOY_UID}", default)
    host.run(["ip", "route", "add", VIPS["iptables"], "dev", "lo"])
    host.run(["ip", "-6", "route", "add", VIPS["ip6tables"], "dev", "lo"])


def capture_address(host: Host, address: str, port: int) -> None:
    """Send what goes to one registered endpoint to Envoy."""
    program = "ip6tables" if ":" in address else "iptables"
    where = f"--dport {port} -m owner ! --uid-owner {ENVOY_UID}"
    _redirect(host, program, address, where, 15001)


def capture_inbound(host: Host, *ports: int) -> None:
    """Send what comes to these ports to Envoy."""
    for program in VIPS:
        for port in ports:
            words = f"-t nat -A PREROUTING -p tcp --dport {port} -j REDIRECT --to-ports 15006"
            host.run([program, *words.split()])
    host.run(["ip", "addr", "add", "::6/128", "dev", "lo"])


def _redirect(host: Host, program: str, where: str, match: str, port: int) -> None:
    words = f"-t nat -A OUTPUT -p tcp -d {where} {match} -j REDIRECT --to-ports {port}"
    host.run([program, *words.split()])
