"""`join` as the command line runs it: root makes the folders, the agent's user does the rest."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app import capture
from hostmesh_agent.app.configuration import read_config_of, read_running
from hostmesh_agent.app.join import Joined
from hostmesh_agent.app.join import join as enrol
from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import folders, made_folders, mesh_disk, users
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_agent.edges.users import User
from hostmesh_agent.logic import redirect
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN
from hostmesh_core.token import JoinToken


@dataclass(frozen=True, slots=True)
class Users:
    """The users of the agent's processes, as written on the command line."""

    agent: str
    envoy: str

    def agent_user(self) -> User:
        """Give the agent's ids. Raises BadInput."""
        return users.find(self.agent, option="--agent-user")

    def envoy_user(self) -> User:
        """Give Envoy's ids. Raises BadInput."""
        return users.find(self.envoy, option="--envoy-user")

    def ids(self) -> redirect.Users:
        """Give what capture needs of them."""
        envoy = self.envoy_user()
        return redirect.Users(
            proxy_uid=envoy.uid, proxy_gid=envoy.gid, agent_uid=self.agent_user().uid
        )


def become(agent_user: str) -> None:
    """Drop to the agent's user before anything is opened."""
    users.become(users.find(agent_user, option="--agent-user"))


def join(config_path: str, layout: HostLayout, token: str, *, as_users: Users) -> dict[str, object]:
    """Enrol this host and give what to show. The socket and the key are never root's."""
    config = read_config_of(layout, config_path)
    JoinToken.parse(token)  # before anything is made for it
    own = None if config.capture.enabled else users.ordinary()
    # Explicit mode needs no root: then everything is one user's, as in `run --all`.
    agent, envoy = own or as_users.agent_user(), own or as_users.envoy_user()
    made_folders.make(layout, folders.wanted(layout, agent=agent, envoy=envoy))
    joined = run_as(
        agent,
        lambda: _shown(enrol(config, layout, token, hostname=socket.gethostname()), config, layout),
    )
    note_mesh(layout, joined)
    return joined


def note_mesh(layout: HostLayout, joined: Mapping[str, object]) -> None:
    """Let root note which mesh was joined while it is: later the agent has a hand in it.

    `clock_seconds` None says that this run found the host joined. Raises CannotWrite.
    """
    fresh = joined["clock_seconds"] is not None
    if os.geteuid() == 0 and (fresh or not Path(layout.mesh_file).exists()):
        mesh_disk.write(layout, str(joined["trust_domain"]))


def check(config_path: str, layout: HostLayout) -> int:
    """Read agent.yaml and what capture would make of it; gives how many services it declares.

    Raises BadInput, also where it is another instance's.
    """
    config = read_config_of(layout, config_path)
    redirect.plan(config, redirect.Users(proxy_uid=2, proxy_gid=2, agent_uid=1))
    return len(config.services)


def compile_capture(config_path: str, layout: HostLayout, *, as_users: Users) -> None:
    """Write capture.json, for the mesh that this host has joined. Raises BadInput."""
    config = read_running(layout, config_path).config
    domain = mesh_disk.read(layout)
    if domain is None:  # joined without root, by an earlier version, or not yet
        stored = IdentityDisk(Path(layout.identity_dir)).load()
        domain = stored.membership.trust_domain if stored else DEFAULT_TRUST_DOMAIN
    capture.compile_capture(config, layout, as_users.ids(), mesh_domain=domain)


def _shown(joined: Joined, config: AgentConfig, layout: HostLayout) -> dict[str, object]:
    services = sorted({c.service for c in joined.grant.claims if c.service})
    identity = str(joined.default_identity) if joined.default_identity else "several identities"
    return {
        "host_id": joined.host_id,
        "identity": identity,
        "trust_domain": joined.trust_domain,
        "clock_seconds": joined.clock_seconds,
        "control_plane": str(config.control_planes[0]),
        "services": services,
        "identity_dir": layout.identity_dir,
    }
