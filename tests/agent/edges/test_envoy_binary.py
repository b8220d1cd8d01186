from pathlib import Path

import pytest

from hostmesh_agent.edges import envoy_binary
from hostmesh_core.errors import BadInput


def program(path: Path, *, content: bytes = b"\x7fELF\x02", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(envoy_binary, "PACKAGED", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path / "path1") + ":" + str(tmp_path / "path2"))
    paths = {"platlib": str(tmp_path / "site")}
    monkeypatch.setattr("sysconfig.get_paths", lambda: paths)


def test_the_configured_one_comes_first(tmp_path: Path) -> None:
    program(tmp_path / "path1" / "envoy")
    mine = program(tmp_path / "mine")
    assert envoy_binary.find(str(mine)) == str(mine)


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        pytest.param(b"#!/bin/sh\n", 0o755, id="a script"),
        pytest.param(b"\x7fELF", 0o644, id="not executable"),
        pytest.param(None, 0, id="not there"),
    ],
)
def test_a_configured_one_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, mode: int
) -> None:
    program(tmp_path / "path1" / "envoy")
    mine = tmp_path / "mine"
    if content is not None:
        program(mine, content=content, mode=mode)
    with pytest.raises(BadInput, match=f"^cannot use envoy.binary {mine}: "):
        envoy_binary.find(str(mine))


def test_then_the_package_then_path_then_the_python_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = program(tmp_path / "site" / "envoy" / "_bin" / "envoy")
    assert envoy_binary.find() == str(python)
    on_path = program(tmp_path / "path2" / "envoy")
    assert envoy_binary.find() == str(on_path)
    packaged = program(tmp_path / "lib" / "envoy")
    monkeypatch.setattr(envoy_binary, "PACKAGED", str(packaged))
    assert envoy_binary.find() == str(packaged)


def test_wrapper_scripts_on_path_are_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "path1" / "envoy", content=b"#!/usr/bin/python3\n")
    real = program(tmp_path / "path2" / "envoy")
    assert envoy_binary.find() == str(real)


def test_none_at_all_says_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"^cannot find Envoy: .* name it in envoy\.binary$"):
        envoy_binary.find()


SAYS = "#!/bin/sh\necho; echo '/x  version: 9e55/{version}/Clean/RELEASE/BoringSSL'\n"


@pytest.mark.process
@pytest.mark.parametrize("version", ["1.40.0", "1.41.2", "2.0.0"])
def test_takes_what_was_tried_and_newer(tmp_path: Path, version: str) -> None:
    says = program(tmp_path / "envoy", content=SAYS.format(version=version).encode())
    assert envoy_binary.check_version(str(says)) == version


@pytest.mark.process
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(SAYS.format(version="1.39.9"), "cannot use Envoy 1.39.9 at ", id="older"),
        pytest.param("#!/bin/sh\necho hello\n", "it is not Envoy, it says 'hello'", id="not Envoy"),
        pytest.param("#!/nonexistent\n", "cannot run ", id="not to be run"),
    ],
)
def test_refuses_what_is_too_old_or_no_envoy(tmp_path: Path, content: str, words: str) -> None:
    says = program(tmp_path / "envoy", content=content.encode())
    with pytest.raises(BadInput) as refusal:
        envoy_binary.check_version(str(says))
    assert words in str(refusal.value)
