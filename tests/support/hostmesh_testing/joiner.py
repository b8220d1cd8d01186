"""A host that joins over real sockets, below a folder of its own."""

from pathlib import Path

from hostmesh_agent.app import join as joining
from hostmesh_agent.app.join import Joined
from hostmesh_agent.config import AgentConfig
from hostmesh_core.host_layout import HostLayout
from hostmesh_testing import forge
from hostmesh_testing.enrolment import Server, ShiftedClock

NOW_LIFE = (1_700_000_000.0, 4_000_000_000.0)


def layout_below(folder: Path) -> HostLayout:
    """Give a layout whose identity lies below `folder`."""

    class Layout(HostLayout):
        @property
        def identity_dir(self) -> str:
            return str(folder / "identity")

    return Layout()


class Pauses(ShiftedClock):
    """The agent's clock; it notes its pauses and does not take them."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.paused: list[float] = []

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)


def join(
    server: Server,
    layout: HostLayout,
    token: str,
    *,
    config: AgentConfig | None = None,
    clock: Pauses | None = None,
) -> Joined:
    """Join by this server."""
    return joining.join(
        config or server.agent_config, layout, token, hostname="web-1", clock=clock or Pauses()
    )


def nothing_changed(layout: HostLayout) -> None:
    """Hold that no byte of an identity is there."""
    assert not Path(layout.identity_dir).exists()


def only_the_key_is_kept(layout: HostLayout) -> None:
    """Hold that no identity is there, and that the same key will be asked with again."""
    folder = Path(layout.identity_dir)
    kept = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert kept == [Path("pending/request.json")]


def foreign_root(trust_domain: str = "mesh.internal") -> forge.Issuer:
    """Make a root that no token pins, valid now."""
    made = forge.certificate(
        uris=[f"spiffe://{trust_domain}"],
        authority=True,
        path_length=1,
        name="foreign",
        life=NOW_LIFE,
    )
    return forge.Issuer(made, forge.key("foreign"))


def serving(issuer: forge.Issuer, name: str = "control-plane.mesh.internal") -> tuple[bytes, bytes]:
    """Make key and chain of a control plane that is not the true one."""
    leaf = forge.certificate(
        uris=["spiffe://mesh.internal/hostmesh/control-plane"],
        dns=[name],
        issuer=issuer,
        name="serving",
        life=NOW_LIFE,
    )
    return forge.key_pem(forge.key("serving")), forge.pem(leaf) + issuer.pem
