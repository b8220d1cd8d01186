"""One bad document never takes the good ones down, and the last good version of it stays."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from hostmesh_core.errors import BadInput
from hostmesh_testing import command_line
from hostmesh_testing.plane_process import PlaneProcess, plane_process
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process


def _entry(name: str, address: str, *, resolution: str = "STATIC") -> str:
    return (
        "apiVersion: networking.istio.io/v1\n"
        "kind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n"
        f"  hosts: [{name}.default.mesh.internal]\n"
        f"  resolution: {resolution}\n"
        "  ports: [{number: 9080, name: http, protocol: HTTP}]\n"
        f"  endpoints: [{{address: {address}}}]\n"
    )


@pytest.fixture
def plane() -> Iterator[PlaneProcess]:
    with plane_process() as plane:
        (plane.catalog / "good.yaml").write_text(_entry("ratings", "10.9.0.1"))
        (plane.catalog / "other.yaml").write_text(_entry("reviews", "10.9.0.2"))
        plane.start()
        yield plane


def _addresses(plane: PlaneProcess) -> dict[str, list[str]]:
    services = plane.api.get("services")
    assert isinstance(services, list)
    found: dict[str, list[str]] = {}
    for row in services:
        with suppress(BadInput):  # gone between the two questions
            rows = plane.api.get("endpoints", row["host"])
            assert isinstance(rows, list)
            found[row["host"].partition(".")[0]] = [each["endpoint"] for each in rows]
    return found


def _sources(plane: PlaneProcess) -> str:
    return command_line.run("hostmesh", "--api", plane.socket, "sources").out


BOTH = {"ratings": ["10.9.0.1:9080"], "reviews": ["10.9.0.2:9080"]}


def test_the_good_stays_and_the_bad_keeps_its_last_good_version(plane: PlaneProcess) -> None:
    assert _addresses(plane) == BOTH
    other = plane.catalog / "other.yaml"

    # The bad one also moves its endpoint, and a good document comes beside it in the same file.
    bad = _entry("reviews", "10.9.0.99", resolution="STATIK")
    other.write_text(bad + "---\n" + _entry("details", "10.9.0.3"))
    wait_until(lambda: "details" in _addresses(plane), what="the good document of the same file")
    assert _addresses(plane) == BOTH | {"details": ["10.9.0.3:9080"]}
    said = _sources(plane)
    assert f"{other}:6: ServiceEntry default/reviews: spec.resolution" in said
    assert 'did you mean "STATIC"?' in said
    assert "ServiceEntry default/reviews: its last good version stays in force" in said

    # Not even YAML any more: all that the file held stays, and the other file goes on changing.
    other.write_text("{" + bad)
    (plane.catalog / "good.yaml").write_text(_entry("ratings", "10.9.0.4"))
    wait_until(
        lambda: _addresses(plane)["ratings"] == ["10.9.0.4:9080"], what="a change of the good file"
    )
    wait_until(lambda: "not YAML" in _sources(plane), what="the word about the broken file")
    assert _addresses(plane) == {
        "ratings": ["10.9.0.4:9080"],
        "reviews": ["10.9.0.2:9080"],
        "details": ["10.9.0.3:9080"],
    }

    # A control plane that starts while it is broken serves what was in force.
    plane.stop()
    plane.start()
    assert _addresses(plane)["reviews"] == ["10.9.0.2:9080"]

    other.write_text(_entry("reviews", "10.9.0.5"))
    wait_until(lambda: _addresses(plane).get("reviews") == ["10.9.0.5:9080"], what="the mended one")
    wait_until(lambda: "details" not in _addresses(plane), what="the document that is gone")
    assert "last good" not in _sources(plane)
    assert "Traceback" not in plane.log()


def test_a_folder_that_goes_away_takes_no_service_along(plane: PlaneProcess) -> None:
    aside = plane.root / "aside"
    plane.catalog.rename(aside)
    wait_until(lambda: "cannot read" in _sources(plane), what="the word about the folder")
    said = _sources(plane)
    assert "stale" in said
    assert "No such file or directory; the services that were read from it stay" in said
    assert _addresses(plane) == BOTH
    aside.rename(plane.catalog)
    wait_until(lambda: "stale" not in _sources(plane), what="the folder's return")
    assert _addresses(plane) == BOTH
