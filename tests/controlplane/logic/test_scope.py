from hostmesh_controlplane.logic.scope import EnvoyPorts
from hostmesh_core import ports


def test_the_default_instances_ports_are_the_well_known_ones() -> None:
    assert set(EnvoyPorts().all) == ports.ENVOYS_OWN - set(ports.IDENTITY_POOL)
