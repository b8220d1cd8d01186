import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.app import agent_main, enrolling, joining
from hostmesh_agent.edges import redirect_files
from hostmesh_agent.edges.identity_disk import IdentityDisk, Membership
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_testing import forge
from hostmesh_testing.rooted_layout import RootedLayout

ME = joining.Users(agent=str(os.geteuid()), envoy="65534")
AGENT_YAML = "control_planes: [127.0.0.1:9]\nservices: [{name: web, port: 8080}]\n"
TOKEN = ".".join(("hm1", "0" * 16, "1" * 64, "2" * 64))

MEMBERSHIP = Membership("f" * 32, "mesh.internal", 1_800_000_000.0, "cp1:15013")
GRANT = Grant((Claim("default", "web", "web"),))
BUNDLES = TrustBundles.of({"mesh.internal": [forge.root().der]})
_URI = "spiffe://mesh.internal/hostmesh/host/" + "f" * 32
_MADE = forge.certificate(uris=[_URI], private=forge.key("host"))
HOST = CertificateSet.read(forge.key_pem(forge.key("host")), forge.pem(_MADE))


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "agent.yaml"
    file.write_text(AGENT_YAML)
    return str(file)


def _layout(folder: Path) -> RootedLayout:
    return RootedLayout(root=str(folder / "host"))


@pytest.mark.parametrize(
    ("users", "token", "said"),
    [
        pytest.param(ME, "hm1.half", "cannot read the token", id="a token that is none"),
        pytest.param(
            joining.Users(agent="no-such-user", envoy="65534"),
            TOKEN,
            "--agent-user",
            id="an agent's user that does not exist",
        ),
        pytest.param(
            joining.Users(agent=str(os.geteuid()), envoy="no-such-user"),
            TOKEN,
            "--envoy-user",
            id="an Envoy's user that does not exist",
        ),
    ],
)
def test_a_join_that_cannot_begin_makes_no_folder(
    tmp_path: Path, config: str, users: joining.Users, token: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        joining.join(config, _layout(tmp_path), token, as_users=users, say=print)
    assert not Path(_layout(tmp_path).root).exists()


def _join(config: str, layout: RootedLayout) -> object:
    return joining.join(config, layout, TOKEN, as_users=ME, say=print)


def _compile(config: str, layout: RootedLayout) -> object:
    joining.compile_capture(config, layout, as_users=ME)
    return None


def _run(config: str, layout: RootedLayout) -> object:
    agent_main.main(config, layout, log_level="warning")
    return None


@pytest.mark.parametrize("command", [_join, _compile, _run])
@pytest.mark.parametrize(
    ("written", "asked", "words"),
    [
        pytest.param(
            "gw",
            "default",
            "for instance 'default': it says `instance: gw`; call it with --instance gw",
            id="the option is forgotten",
        ),
        pytest.param(
            "default",
            "gw",
            "for instance 'gw': it says `instance: default`; call it with --instance default",
            id="the file is the default instance's",
        ),
    ],
)
def test_a_file_of_another_instance_is_refused(
    tmp_path: Path,
    command: Callable[[str, RootedLayout], object],
    written: str,
    asked: str,
    words: str,
) -> None:
    ports = "{outbound: 1, inbound: 2, status: 3, readiness: 4, prometheus: 5}"
    file = tmp_path / "agent.yaml"
    file.write_text(f"{AGENT_YAML}instance: {written}\nports: {ports}\n")
    layout = RootedLayout(asked, root=str(tmp_path / "host"))
    with pytest.raises(BadInput) as refused:
        command(str(file), layout)
    assert str(refused.value) == f"cannot use {file} {words}"
    assert not Path(layout.root).exists()


def test_a_file_is_checked_with_what_capture_makes_of_it(tmp_path: Path, config: str) -> None:
    assert joining.check(config, RootedLayout()) == 1
    Path(config).write_text(AGENT_YAML.replace("8080", "22"))
    with pytest.raises(BadInput, match="ssh is never captured"):
        joining.check(config, RootedLayout())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.yaml"]


def test_capture_is_compiled_for_the_users_on_the_command_line(tmp_path: Path, config: str) -> None:
    layout = _layout(tmp_path)
    Path(layout.state_dir).mkdir(parents=True)
    users = joining.Users(agent="1234", envoy="2345:3456")
    joining.compile_capture(config, layout, as_users=users)
    plan = json.loads(Path(layout.capture_file).read_text())
    assert (plan["agent_uid"], plan["proxy_uid"], plan["proxy_gid"]) == (1234, 2345, 3456)
    assert plan["mesh_domain"] == "mesh.internal"


def test_capture_for_an_envoy_that_is_root_is_refused_and_leaves_the_old_plan(
    tmp_path: Path, config: str
) -> None:
    layout = _layout(tmp_path)
    Path(layout.state_dir).mkdir(parents=True)
    Path(layout.capture_file).write_text("the old one")
    users = joining.Users(agent="1234", envoy="0")
    with pytest.raises(BadInput, match="cannot capture for an Envoy that runs as root"):
        joining.compile_capture(config, layout, as_users=users)
    assert Path(layout.capture_file).read_text() == "the old one"


@pytest.mark.skipif(os.geteuid() != 0, reason="there is no capture without root")
def test_the_mesh_is_what_root_saw_when_it_joined(tmp_path: Path, config: str) -> None:
    """The agent may write its own folder: it must not make `com` the domain that it may name."""
    layout = _layout(tmp_path)
    Path(layout.state_dir).mkdir(parents=True)
    enrolling.note_mesh(layout, {"trust_domain": "mesh.acme.test", "clock_seconds": 0.1})
    enrolling.note_mesh(layout, {"trust_domain": "com", "clock_seconds": None})
    disk = IdentityDisk(Path(layout.identity_dir))
    disk.store_join(
        replace(MEMBERSHIP, trust_domain="com"), host=HOST, grant=GRANT, bundles=BUNDLES
    )
    _compile(config, layout)
    plan = redirect_files.read_plan(layout.capture_file)
    assert plan is not None
    assert plan.mesh_domain == "mesh.acme.test"


def test_a_damaged_note_of_the_mesh_is_bad_input(tmp_path: Path, config: str) -> None:
    layout = _layout(tmp_path)
    Path(layout.state_dir).mkdir(parents=True)
    Path(layout.mesh_file).write_text("{")
    with pytest.raises(BadInput, match=r"mesh\.json: it does not name a mesh"):
        _compile(config, layout)
