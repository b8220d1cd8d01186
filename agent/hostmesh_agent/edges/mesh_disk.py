"""mesh.json: which mesh this host has joined, as root saw it while it joined.

The redirector takes the agent's names within that domain alone. The agent's own folder says it too,
but there the agent could make any domain of the internet its own.
"""

import json

from hostmesh_agent.edges import redirect_files
from hostmesh_core.capture_plan import dns_name_of
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


def read(layout: HostLayout) -> str | None:
    """Give the mesh's domain; None where nobody noted it. Raises BadInput for a damaged note."""
    data = redirect_files.read_bytes(layout.mesh_file)
    if data is None:
        return None
    try:
        return dns_name_of(json.loads(data)["trust_domain"], layout.mesh_file)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"cannot read {layout.mesh_file}: it does not name a mesh; leave, and join again"
        ) from error


def write(layout: HostLayout, domain: str) -> None:
    """Note it. Raises CannotWrite."""
    data = json.dumps({"trust_domain": domain}).encode() + b"\n"
    redirect_files.write(layout.mesh_file, data)
