import json
from collections.abc import Mapping

import pytest

from hostmesh_core.errors import BadInput
from hostmesh_core.runner_file import RunnerSettings

SETTINGS = RunnerSettings(
    binary="/usr/lib/hostmesh/envoy",
    socket="/run/hostmesh/default/admin/runner.sock",
    bootstrap_dir="/run/hostmesh/default/envoy",
    state_dir="/run/hostmesh/default/hot-restart",
    client_uids=(0, 991),
    drain_seconds=10,
    stop_seconds=2.5,
    admin_socket="/run/hostmesh/default/admin/admin.sock",
    own_ports=(15021, 15090),
    held_ports=(15001, 15006),
)


def test_reads_back_what_it_writes() -> None:
    assert RunnerSettings.decode(SETTINGS.encode(), file="runner.json") == SETTINGS


def test_its_own_files_lie_in_its_own_folder() -> None:
    own = (SETTINGS.hot_restart_socket, SETTINGS.base_id_file, SETTINGS.lock_file)
    assert all(path.startswith("/run/hostmesh/default/hot-restart/") for path in own)
    assert len(set(own)) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"version": 2}, "expected version 1", id="a later version"),
        pytest.param({"argv": ["x"]}, "unknown key 'argv'", id="a key that is not known"),
        pytest.param({"binary": "envoy"}, "binary cannot be 'envoy'", id="a relative binary"),
        pytest.param({"socket": 5}, "socket cannot be 5", id="a number for a path"),
        pytest.param({"client_uids": "0"}, "client_uids cannot be '0'", id="a text for uids"),
        pytest.param({"client_uids": [-1]}, "client_uids cannot be [-1]", id="a negative uid"),
        pytest.param({"client_uids": [True]}, "client_uids cannot be [True]", id="true as a uid"),
        pytest.param({"own_ports": [15021.0]}, "own_ports cannot be [15021.0]", id="half a port"),
        pytest.param({"held_ports": 15001}, "held_ports cannot be 15001", id="no list"),
        pytest.param({"admin_socket": "a"}, "admin_socket cannot be 'a'", id="a relative socket"),
        pytest.param({"drain_seconds": 0}, "drain_seconds cannot be 0", id="no drain time"),
        pytest.param({"drain_seconds": 1.5}, "drain_seconds cannot be 1.5", id="half a second"),
        pytest.param({"stop_seconds": True}, "stop_seconds cannot be True", id="true for seconds"),
    ],
)
def test_refuses_what_it_would_not_write(change: Mapping[str, object], words: str) -> None:
    text = json.dumps({**json.loads(SETTINGS.encode()), **change})
    with pytest.raises(BadInput, match=r"^cannot use runner\.json: .*envoy compile$") as refusal:
        RunnerSettings.decode(text, file="runner.json")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="an empty file"),
        pytest.param("{", id="half a file"),
        pytest.param("[]", id="a list"),
        pytest.param('{"version": 1}', id="nothing but the version"),
    ],
)
def test_refuses_what_is_not_such_a_file(text: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot use runner\.json: "):
        RunnerSettings.decode(text, file="runner.json")
