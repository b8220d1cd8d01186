"""An agent that does nothing but keep Envoy up, as a process of its own: to be killed."""

import asyncio
import json
import sys

from hostmesh_agent.app.envoy import Callbacks, EnvoyService, Node
from hostmesh_agent.config import Address, AgentConfig, PortsConfig
from hostmesh_testing.envoy_host import FAST
from hostmesh_testing.rooted_layout import RootedLayout


async def main() -> None:
    """Keep Envoy up for the layout and ports that argv[1] (JSON) names; say when it serves."""
    told = json.loads(sys.argv[1])
    config = AgentConfig(
        control_planes=(Address(host="127.0.0.1", port=1),),
        ports=PortsConfig(**told["ports"]),
        envoy=FAST,
    )

    def serves(epoch: int, pid: int) -> None:
        sys.stdout.write(f"{epoch} {pid}\n")
        sys.stdout.flush()

    layout = RootedLayout(root=told["root"])
    service = EnvoyService(config, layout, Node(id="test"), Callbacks(on_running=serves))
    service.want(up=True)
    await service.run()


if __name__ == "__main__":
    asyncio.run(main())
