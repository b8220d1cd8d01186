"""More networks between lab hosts than the lab's own: management, or what lies behind a router."""

from hostmesh_ctl.demo.hosts import Host, Lab


class Network:
    """A switch of its own, 10.NUMBER.0.0/24; NUMBER is neither 77 nor that of another one."""

    def __init__(self, lab: Lab, number: int) -> None:
        self._lab = lab
        self._number = number
        bridge = f"br{number}"
        lab.switch_ip(
            f"link add {bridge} type bridge mcast_snooping 0 forward_delay 0",
            f"link set {bridge} up",
        )

    def attach(self, host: Host, *, alone: bool = False) -> str:
        """Plug a host in; give its address. `alone`: its interface to the lab's network goes."""
        number, address = self._number, f"10.{self._number}.0.{host.number}"
        port, device = f"n{number}p{host.number}", f"eth{number}"
        self._lab.switch_ip(
            f"link add {port} type veth peer name {device} netns {host.holder.pid}",
            f"link set {port} master br{number} up",
        )
        if alone:
            host.run(["ip", "link", "delete", "eth0"])
        host.run(["ip", "link", "set", device, "up"])
        host.run(["ip", "address", "add", f"{address}/24", "dev", device])
        return address


def masquerade(router: Host, *, behind: str) -> None:
    """Let a host forward, and hide what is `behind` it (a network) from the others."""
    script = "echo 1 >/proc/sys/net/ipv4/ip_forward"
    router.run(["sh", "-c", script])
    rule = ["-s", behind, "-o", "eth0", "-j", "MASQUERADE"]
    router.run(["iptables", "-t", "nat", "-A", "POSTROUTING", *rule])


def route(host: Host, network: str, router: str) -> None:
    """Let a host reach a network through a router."""
    host.run(["ip", "route", "replace", network, "via", router])
