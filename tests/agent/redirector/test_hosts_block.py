import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.redirector import hosts_block

LINES = ["240.240.0.5 reviews.default.mesh.internal reviews"]
MORE = [*LINES, "240.240.0.6 details.default.mesh.internal"]

text = st.binary(max_size=200) | st.text(
    alphabet="ab# .\n\t:0127hostmesh BEGIN END", max_size=200
).map(str.encode)


def _is_marker(content: bytes) -> bool:
    return b"# BEGIN hostmesh" in content or b"# END hostmesh" in content


@given(text)
def test_taking_the_block_out_gives_back_the_very_bytes(content: bytes) -> None:
    if _is_marker(content):
        return
    with_names = hosts_block.with_block(content, "default", LINES)
    changed = hosts_block.with_block(with_names, "default", MORE)
    assert hosts_block.with_block(with_names, "default", LINES) == with_names
    for each in (with_names, changed):
        assert hosts_block.with_block(each, "default", []) == content


@given(text, st.permutations(["default", "default-two", "b"]))
def test_instances_do_not_meet(content: bytes, order: list[str]) -> None:
    if _is_marker(content):
        return
    whole = content
    for instance in ("default", "b", "default-two"):
        whole = hosts_block.with_block(whole, instance, [f"240.240.0.1 {instance}.x.mesh.internal"])
        assert hosts_block.count(whole, instance) == 1
    for instance in order:
        whole = hosts_block.with_block(whole, instance, [])
        assert b"hostmesh %s (" % instance.encode() not in whole
    assert whole.rstrip(b"\n") == content.rstrip(b"\n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", b"{}", id="an empty file"),
        pytest.param(b"127.0.0.1 localhost\n", b"127.0.0.1 localhost\n{}", id="an ordinary file"),
        pytest.param(b"127.0.0.1 localhost", b"127.0.0.1 localhost\n{}", id="no last newline"),
        pytest.param(b"127.0.0.1 x\r\n", b"127.0.0.1 x\r\n{}", id="somebody's line ends"),
    ],
)
def test_the_block_stands_at_the_end(content: bytes, expected: bytes) -> None:
    found = hosts_block.with_block(content, "default", LINES)
    before, marker, block = found.partition(b"# BEGIN hostmesh default (")
    assert before == expected.removesuffix(b"{}")
    assert marker
    assert block.endswith(b"\n# END hostmesh default\n")
    assert LINES[0].encode() in block


def test_what_is_written_below_the_block_stays_there() -> None:
    content = hosts_block.with_block(b"a\n", "default", LINES) + b"10.0.0.1 mine\n"
    changed = hosts_block.with_block(content, "default", MORE)
    assert changed.endswith(b"# END hostmesh default\n10.0.0.1 mine\n")
    assert hosts_block.with_block(changed, "default", []) == b"a\n10.0.0.1 mine\n"


def test_a_line_below_a_block_without_newline_before_keeps_its_own_line() -> None:
    content = hosts_block.with_block(b"10.0.0.1 a", "default", LINES) + b"10.0.0.2 b\n"
    assert hosts_block.with_block(content, "default", []) == b"10.0.0.1 a\n10.0.0.2 b\n"


def test_an_edited_block_is_written_anew() -> None:
    content = hosts_block.with_block(b"a\n", "default", LINES).replace(b"reviews", b"evil")
    assert b"evil" not in hosts_block.with_block(content, "default", LINES)


def test_without_its_end_only_the_marker_is_ours() -> None:
    content = hosts_block.with_block(b"", "default", LINES).replace(
        b"# END hostmesh default\n", b""
    )
    content += b"10.0.0.1 mine\n"
    assert b"10.0.0.1 mine" in hosts_block.with_block(content, "default", [])


def test_which_names_the_owner_defines() -> None:
    own = b"127.0.0.1 localhost\n10.0.0.1 DB db.corp # old-db\n#10.0.0.2 commented\n\n::1 six\n"
    content = hosts_block.with_block(own, "default", LINES)
    assert hosts_block.names_in(content) == {"localhost", "db", "db.corp", "six"}
