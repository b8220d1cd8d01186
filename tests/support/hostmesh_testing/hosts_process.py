"""A `hosts.LoopbackControlPlane` in a process of its own, so that it can be stopped.

Run it with the folder that gets `address` and PEM files; it prints what its mesh is told.
"""

import asyncio
import sys
from pathlib import Path

from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_testing.hosts import DOMAIN, HOST, LoopbackControlPlane


async def serve(folder: Path) -> None:
    plane = LoopbackControlPlane(HOST)
    config = HostsConfig(trust_domain=DOMAIN, lease_seconds=8.0, renew_seconds=1.0)
    async with plane.running(config=config):
        credentials = plane.credentials()
        (folder / "key.pem").write_bytes(credentials.key_pem)
        (folder / "chain.pem").write_bytes(credentials.chain_pem)
        (folder / "roots.pem").write_bytes(credentials.roots_pem)
        (folder / "address").write_text(plane.address)
        told = 0
        while True:
            await asyncio.sleep(0.05)
            for line in plane.mesh.told[told:]:
                sys.stdout.write(line + "\n")
            sys.stdout.flush()
            told = len(plane.mesh.told)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
