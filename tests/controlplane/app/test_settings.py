from pathlib import Path

import pytest

from hostmesh_controlplane.app import settings
from hostmesh_controlplane.config import ControlPlaneConfig, StaticSource
from hostmesh_core.errors import BadInput
from hostmesh_testing.bad_files import GOOD_SPEC, entry

CONSUL = """\
sources:
  - name: files
    kind: static
    path: {folder}
  - name: dc1
    kind: consul
    address: https://127.0.0.1:8501
    token_file: {token}
    tls: {{ca_file: {ca}}}
"""


def _written(folder: Path, **named: Path) -> str:
    file = folder / "controlplane.yaml"
    file.write_text(CONSUL.format(folder=folder, **named))
    return str(file)


def test_without_a_file_the_defaults_run() -> None:
    assert settings.load(None) == ControlPlaneConfig()
    settings.check_files(None)
    assert settings.check_catalogs(ControlPlaneConfig()) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "No such file or directory", id="a file that is not there"),
        pytest.param(b"\xff\xfe", "it is not UTF-8 text", id="a file that is no text"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "controlplane.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=said):
        settings.load(str(file))


def test_everything_that_is_named_and_there_is_good(tmp_path: Path) -> None:
    for name in ("token", "ca"):
        (tmp_path / name).write_text("x")
    settings.check_files(_written(tmp_path, token=tmp_path / "token", ca=tmp_path / "ca"))


def test_all_that_is_not_there_is_told_with_its_lines(tmp_path: Path) -> None:
    file = _written(tmp_path, token=tmp_path / "no-token", ca=tmp_path / "no-ca")
    with pytest.raises(BadInput) as problems:
        settings.check_files(file)
    first, second = str(problems.value).splitlines()
    assert first.startswith(f"cannot use {file}:8: sources[1].token_file: cannot read")
    assert second.startswith(f"cannot use {file}:9: sources[1].tls.ca_file: cannot read")


def test_catalogs_are_counted_or_all_their_problems_told(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(entry(GOOD_SPEC))
    config = ControlPlaneConfig(sources=(StaticSource(name="files", path=str(tmp_path)),))
    assert settings.check_catalogs(config) == 1
    (tmp_path / "bad.yaml").write_text(entry(GOOD_SPEC.replace("STATIC", "DNS")))
    (tmp_path / "worse.yaml").write_text("{")
    with pytest.raises(BadInput) as problems:
        settings.check_catalogs(config)
    told = str(problems.value).splitlines()
    assert [line.partition(str(tmp_path) + "/")[2].partition(":")[0] for line in told] == [
        *("bad.yaml", "worse.yaml")
    ]
