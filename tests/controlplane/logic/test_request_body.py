"""Fields of a write to the operator API: read with their type, or named in the error."""

from collections.abc import Callable

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


WRONG: dict[str, tuple[Callable[[RequestBody], object], object, str]] = {
    "a number for a text": (lambda b: b.text("x", ""), 7, "expected a text, not 7"),
    "a text for a list": (lambda b: b.texts("x"), "a", "expected a list of texts"),
    "a list with a number": (lambda b: b.texts("x"), ["a", 7], "expected a list of texts"),
    "a text for a number": (lambda b: b.number("x", 1, low=0, high=9), "1", "from 0 to 9"),
    "true for a number": (lambda b: b.number("x", 1, low=0, high=9), True, "from 0 to 9"),
    "a number too high": (lambda b: b.number("x", 1, low=0, high=9), 10, "from 0 to 9"),
    "a part of one": (lambda b: b.whole("x", 1, low=0, high=9), 0.5, "expected a whole number"),
    "a text for a flag": (lambda b: b.flag("x"), "true", "expected true or false"),
    "an unknown choice": (
        lambda b: b.choice("x", Role, Role.SIDECAR),
        "gatway",
        'did you mean "gateway"?',
    ),
    "a label of no form": (lambda b: b.labels("x"), ["version"], "is not KEY=VALUE"),
    "a label with an empty key": (lambda b: b.labels("x"), ["=v2"], "is not KEY=VALUE"),
    "a label twice": (lambda b: b.labels("x"), ["a=1", "a=2"], "is given twice"),
    "no network": (lambda b: b.cidrs("x"), ["ten"], "is no network such as"),
    "a network with host bits": (lambda b: b.cidrs("x"), ["fd00::1/64"], '"fd00::/64"?'),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_field_is(case: str) -> None:
    read, value, words = WRONG[case]
    with pytest.raises(BadInput, match=r"^cannot do it: x: ") as caught:
        read(_body(x=value))
    assert words in str(caught.value)


def test_labels_have_one_order_and_patterns_are_read() -> None:
    body = _body(labels=["b=2", "a=1"], names=["pay*", "web"])
    assert body.labels("labels") == (("a", "1"), ("b", "2"))
    assert body.patterns("names") == ("pay*", "web")


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
