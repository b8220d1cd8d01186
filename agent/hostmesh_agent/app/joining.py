"""`join --enrol-only`, `check`, `capture compile`, and the users whose the processes will be."""

from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.app import capture, enrolling
from hostmesh_agent.app.configuration import read_config_of, read_running
from hostmesh_agent.app.enrolling import Answer, Place, Say
from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import mesh_disk, users
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

    def of(self, config: AgentConfig) -> tuple[User, User]:
        """Give the agent's and Envoy's. Raises BadInput where `run --all` would refuse them.

        Explicit mode needs no root: then everything is one user's, as in `run --all`.
        """
        own = None if config.capture.enabled else users.ordinary()
        if own is not None:
            return own, own
        agent, envoy = self.agent_user(), self.envoy_user()
        users.check_apart(agent, envoy)
        return agent, envoy

    def ids(self) -> redirect.Users:
        """Give what capture needs of them."""
        envoy = self.envoy_user()
        return redirect.Users(
            proxy_uid=envoy.uid, proxy_gid=envoy.gid, agent_uid=self.agent_user().uid
        )


def become(agent_user: str) -> None:
    """Drop to the agent's user before anything is opened."""
    users.become(users.find(agent_user, option="--agent-user"))


def join(
    config_path: str, layout: HostLayout, token: str | None, *, as_users: Users, say: Say
) -> Answer:
    """Enrol this host and give what to show; `token` None = an earlier run used it.

    The socket and the key are never root's. Raises what `enrolling.enrolled` raises.
    """
    config = read_config_of(layout, config_path)
    if token is not None:
        JoinToken.parse(token)  # before anything is made for it
    agent, envoy = as_users.of(config)
    with enrolling.enrolled(Place(config, layout, agent, envoy), token, say) as joined:
        return joined


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
