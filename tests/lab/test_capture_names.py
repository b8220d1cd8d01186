"""The managed block on real files: replaced by rename, written over a mount, and given back."""

import pytest

from hostmesh_core.redirect_files import NameTable, Outcome, RedirectState, Wanted
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing.capture_host import PLAN, CaptureHost, settled, snapshot

VIPS = ("240.240.0.5", "fd48:6d65:7368::5")
TABLE = NameTable(
    sequence=1,
    names={
        "reviews.default.mesh.internal": VIPS,
        "reviews": VIPS,
        "reviews.service.consul": VIPS,
        "db": VIPS,
        "db.default.mesh.internal": VIPS,
        "www.example.com": VIPS,
    },
)


@pytest.fixture(params=["a file", "a mount"])
def capture(lab: Lab, request: pytest.FixtureRequest) -> CaptureHost:
    host = settled(lab.host("names"))
    host.path("/etc/hosts").write_text("127.0.0.1 localhost\n10.5.5.5 db")
    if request.param == "a mount":
        host.run(["cp", "/etc/hosts", "/run/hosts"])
        host.run(["mount", "--bind", "/run/hosts", "/etc/hosts"])
        assert host.run(["mv", "/run/hosts", "/etc/hosts"], check=False).returncode != 0
    made = CaptureHost(host)
    made.write(PLAN, RedirectState(sequence=1, wanted=Wanted.CAPTURED), TABLE)
    return made


def _resolve(host: Host, name: str) -> set[str]:
    """Give what the C library answers, as every program on the host sees it."""
    shown = host.run(["getent", "ahosts", name], check=False).stdout
    return {line.split()[0] for line in shown.splitlines()}


def test_names_lead_to_virtual_addresses_and_are_given_back(capture: CaptureHost) -> None:
    host, before = capture.host, snapshot(capture.host)
    said = capture.redirect("apply", "--assume-ready")
    assert _resolve(host, "reviews.default.mesh.internal") == set(VIPS)
    assert _resolve(host, "reviews") == set(VIPS)
    # What the host answers itself, and what root has not handed over, stays as it was.
    assert _resolve(host, "db") == {"10.5.5.5"}
    assert _resolve(host, "db.default.mesh.internal") == set(VIPS)
    text = host.path("/etc/hosts").read_text()
    assert "reviews.service.consul" not in text
    assert "www.example.com" not in text
    assert "name db is not written: this host's own configuration defines it" in said
    capture.redirect("remove")
    assert snapshot(host) == before
    assert host.path("/etc/hosts").read_bytes() == b"127.0.0.1 localhost\n10.5.5.5 db"


def test_an_operators_edit_below_the_block_survives(capture: CaptureHost) -> None:
    host = capture.host
    capture.redirect("apply", "--assume-ready")
    host.run(["sh", "-c", "echo 10.6.6.6 mine >>/etc/hosts"])
    capture.write(names=NameTable(sequence=2, names={"x.y.mesh.internal": ("240.240.0.9", "")}))
    capture.redirect("apply", "--assume-ready")
    assert _resolve(host, "mine") == {"10.6.6.6"}
    assert _resolve(host, "x.y.mesh.internal") == {"240.240.0.9"}
    assert "reviews" not in host.path("/etc/hosts").read_text()
    capture.redirect("remove")
    assert (
        host.path("/etc/hosts").read_text() == "127.0.0.1 localhost\n10.5.5.5 db\n10.6.6.6 mine\n"
    )


def test_a_file_that_cannot_be_written_leaves_the_rules_in_and_is_reported(
    capture: CaptureHost,
) -> None:
    capture.host.run(["mount", "--bind", "/etc/hosts", "/etc/hosts"])
    capture.host.run(["mount", "-o", "remount,bind,ro", "/etc/hosts"])
    capture.redirect("apply", "--assume-ready")
    report = capture.report()
    assert report is not None
    assert (report.outcome, report.names, report.names_sequence) == (Outcome.APPLIED, 0, 0)
    assert any(text.startswith("cannot write /etc/hosts: ") for text in report.missing)
    assert "HOSTMESH_DEFAULT_OUT" in capture.host.run(["iptables-save"]).stdout
