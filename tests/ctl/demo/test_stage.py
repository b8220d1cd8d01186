from hostmesh_controlplane.logic import config_file as controlplane_file
from hostmesh_ctl.demo import stage

AGENT = stage.AGENT_YAML.splitlines()


def test_the_client_differs_from_the_readme_in_its_services_alone() -> None:
    assert stage.CLIENT_YAML.splitlines() == [*AGENT[:-1], "services: []"]


def test_the_control_plane_accepts_what_the_demo_writes() -> None:
    text = stage.CONTROL_PLANE_YAML.replace("CONSUL", stage.CONSUL_SOURCE)
    config = controlplane_file.parse(text, file="controlplane.yaml")
    assert [source.name for source in config.sources] == ["static", "consul"]
    without = stage.CONTROL_PLANE_YAML.replace("CONSUL\n", "")
    assert len(controlplane_file.parse(without, file="controlplane.yaml").sources) == 1
