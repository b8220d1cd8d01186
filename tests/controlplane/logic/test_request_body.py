"""Fields of a write to the operator API: read with their type, or named in the error."""

import pytest

from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Role


def _body(**values: object) -> RequestBody:
    return RequestBody(values, what="do it")


def test_what_is_there_is_read_and_what_is_not_has_its_default() -> None:
    body = _body(name="a", list=["x", "y", "x"], number=2.5, whole=3, flag=True, role="gateway")
    assert body.text("name", "") == "a"
    assert body.text("absent", "default") == "default"
    assert body.texts("list") == ("x", "y")
    assert body.texts("absent") == ()
    assert body.number("number", 1, low=0, high=9) == 2.5
    assert body.whole("whole", 1, low=0, high=9) == 3
    assert body.whole("absent", 1, low=0, high=9) == 1
    assert body.flag("flag")
    assert not body.flag("absent")
    assert body.choice("role", Role, Role.SIDECAR) is Role.GATEWAY
    assert body.choice("absent", Role, Role.SIDECAR) is Role.SIDECAR
    body.done()


def test_null_is_as_good_as_absent() -> None:
    assert _body(name=None).text("name", "default") == "default"


def test_what_nobody_asked_for_is_refused_with_what_was_meant() -> None:
    body = _body(nmae="a")
    body.text("name", "")
    with pytest.raises(BadInput, match=r'cannot do it: unknown field .nmae.; did you mean "name"'):
        body.done()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a_b", id="with an underscore"),
        pytest.param("a b", id="with a space"),
        pytest.param("a\n", id="with a line break"),
        pytest.param("ä", id="with another script"),
        pytest.param("a" * 254, id="too long"),
    ],
)
def test_no_pattern_is_one(text: str) -> None:
    with pytest.raises(BadInput, match="cannot do it: name: "):
        _body().pattern("name", text)


def test_a_bare_address_is_a_network_of_its_own() -> None:
    assert _body(c=["10.0.0.1", "::1", "10.0.0.1/32"]).cidrs("c") == ("10.0.0.1/32", "::1/128")
