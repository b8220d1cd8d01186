from pathlib import Path

import pytest

from hostmesh_ctl.demo import commands, consul_binary

TARGETS = """\
Debian|bookworm|main|http://mirror.test/debian/
Debian|bookworm|main|http://mirror.test/debian/
Debian|bookworm-updates|main|http://mirror.test/debian/
Debian|bookworm-security|main|http://mirror.test/security/
Google|cloud-sdk|main|http://vendor.test/apt
|trixie|main|http://fresh.test/debian
Node|nodistro|main|http://node.test
Debian|bookworm|contrib|http://contrib.test/debian
broken line
"""


def test_only_debian_main_counts_as_a_mirror() -> None:
    assert consul_binary.mirrors_in(TARGETS) == [
        "http://mirror.test/debian/",
        "http://fresh.test/debian",
    ]


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param({"named", "bin/consul", "cache"}, "named", id="CONSUL_BIN comes first"),
        pytest.param({"bin/consul", "cache"}, "bin/consul", id="then PATH"),
        pytest.param({"cache"}, "cache", id="then the cache"),
        pytest.param(set(), None, id="nothing there means a download"),
    ],
)
def test_what_is_there_is_taken_in_order(
    tmp_path: Path, there: set[str], expected: str | None
) -> None:
    env = {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path)}
    places = {
        "named": tmp_path / "elsewhere/consul-1.15",
        "bin/consul": tmp_path / "bin/consul",
        "cache": tmp_path / "hostmesh/consul-bullseye",
    }
    for name in there:
        _program(places[name])
    if "named" in there:
        env["CONSUL_BIN"] = str(places["named"])
    assert consul_binary.present(env) == (places[expected] if expected else None)


def test_a_named_consul_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(consul_binary.ConsulMissing, match=r"cannot use CONSUL_BIN: .*gone is not"):
        consul_binary.present({"CONSUL_BIN": str(tmp_path / "gone")})


def test_without_any_consul_every_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_binary, "configured_mirrors", list)
    env = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    with pytest.raises(consul_binary.ConsulMissing) as refused:
        consul_binary.find(env, lambda _: None)
    for way in ("PATH", "CONSUL_BIN", "HOSTMESH_ARCHIVE_MIRROR"):
        assert way in str(refused.value)


def test_a_failed_mirror_is_not_the_end_and_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def fail(mirror: str, target: Path, *, fresh: bool) -> Path:
        asked.append((mirror, fresh))
        raise commands.CommandFailed(f"cannot go on: 404 at {mirror} for {target}")

    monkeypatch.setattr(consul_binary, "configured_mirrors", lambda: ["http://own.test"])
    monkeypatch.setattr(consul_binary, "download", fail)
    env = {
        "PATH": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "HOSTMESH_ARCHIVE_MIRROR": "http://old.test",
    }
    with pytest.raises(consul_binary.ConsulMissing) as refused:
        consul_binary.find(env, lambda _: None)
    assert asked == [("http://own.test", True), ("http://old.test", False)]
    assert "own.test" not in str(refused.value)
    assert "404" in str(refused.value)


def test_an_archive_may_be_old_but_must_be_signed(tmp_path: Path) -> None:
    old = consul_binary.apt_options(tmp_path, fresh=False)
    assert "Acquire::Check-Valid-Until=false" in old
    assert "Acquire::Check-Valid-Until=false" not in consul_binary.apt_options(tmp_path, fresh=True)
    assert not [word for word in old if "AllowInsecure" in word or "trusted" in word.lower()]


def test_every_consul_of_the_list_is_given(tmp_path: Path) -> None:
    one, two = _program(tmp_path / "a/consul"), _program(tmp_path / "b/consul")
    env = {"CONSUL_BINS": f"{one}:{two}"}
    assert consul_binary.binaries(env, lambda _: None) == [one, two]
