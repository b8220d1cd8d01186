from collections.abc import Callable
from enum import StrEnum

import pytest

from hostmesh_core.errors import BadInput
from hostmesh_core.sections import Section, load_section


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


def section(text: str) -> Section:
    return load_section(text, file="f.yaml")


def test_gives_what_is_written() -> None:
    file = section(
        "name: web\nport: 80\nshare: 0.5\non: true\ncolour: green\ntags: [a, b]\n"
        "ports: [1, 2]\nlabels: {v: v1}\nhealth: {path: /up}\nservices:\n  - name: x\n  - name: y\n"
    )
    assert file.text("name") == "web"
    assert file.port("port") == 80
    assert file.number("share", low=0, high=1) == 0.5
    assert file.number("port", low=0, high=100) == 80.0
    assert file.boolean("on", default=False) is True
    assert file.choice("colour", Colour, default=Colour.RED) is Colour.GREEN
    assert file.texts("tags") == ("a", "b")
    assert file.integers("ports", low=1, high=9) == (1, 2)
    assert file.mapping("labels") == {"v": "v1"}
    assert file.section("health").text("path") == "/up"
    assert [entry.text("name") for entry in file.sections("services")] == ["x", "y"]
    file.done()


def test_gives_defaults_for_what_is_not_there_or_holds_nothing() -> None:
    file = section("name:\nport: ~\n")
    assert file.text("name", default="web") == "web"
    assert file.port("port", default=80) == 80
    assert file.number("share", low=0, high=1, default=0.5) == 0.5
    assert file.boolean("on", default=True) is True
    assert file.maybe_choice("colour", Colour) is None
    assert file.word("mode", ["a"], default="a") == "a"
    assert file.parsed("address", int, default=7) == 7
    assert file.texts("tags", default=("x",)) == ("x",)
    assert file.integers("ports", low=1, high=9) == ()
    assert file.mapping("labels") == {}
    assert file.section("health").text("path", default="/") == "/"
    assert file.sections("services") == []
    file.done()


Read = Callable[[Section], object]
COLOURS = "colour: expected one of red, green, not"
READERS: dict[str, Read] = {
    "name": lambda s: s.text("name"),
    "port": lambda s: s.port("port"),
    "share": lambda s: s.number("share", low=0, high=1),
    "on": lambda s: s.boolean("on", default=True),
    "colour": lambda s: s.maybe_choice("colour", Colour),
    "parsed": lambda s: s.parsed("parsed", int, default=0),
    "tags": lambda s: s.texts("tags"),
    "ports": lambda s: s.integers("ports", low=1, high=9),
    "labels": lambda s: s.mapping("labels"),
    "health": lambda s: s.section("health"),
    "services": lambda s: s.sections("services"),
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "name: 5", "expected a text, not '5'; put it in quotes", id="a number for a text"
        ),
        pytest.param("name:", 'key "name" is required', id="a required key that holds nothing"),
        pytest.param("port: 70000", "port: expected 1 to 65535, not 70000", id="out of range"),
        pytest.param(
            "port: true", "port: expected an integer, not 'true'", id="true for an integer"
        ),
        pytest.param("port: '80'", "port: expected an integer, not '80'", id="text for an integer"),
        pytest.param("share: 2", "share: expected 0 to 1, not 2", id="a number out of range"),
        pytest.param("share: x", "share: expected a number, not 'x'", id="a text for a number"),
        pytest.param("on: yes", "on: expected true or false, not 'yes'", id="yes for true"),
        pytest.param("colour: gren", f"{COLOURS} 'gren'; did you mean \"green\"?", id="misspelt"),
        pytest.param("colour: [red]", f"{COLOURS} a list", id="a list for a word"),
        pytest.param("parsed: x", "parsed: invalid literal for int", id="what a parser refuses"),
        pytest.param("tags: a", "tags: expected a list, not 'a'", id="a text for a list"),
        pytest.param("tags: [1]", "tags: expected a text, not '1'; put it", id="a number in texts"),
        pytest.param(
            "ports: [0]", "an integer from 1 to 9, not '0'", id="a list's item out of range"
        ),
        pytest.param("labels: [a]", "keys and values, not a list", id="a list for a mapping"),
        pytest.param(
            "labels: {v: 1}", "labels.v: expected a text, not '1'", id="a number as a label"
        ),
        pytest.param("health: x", "health: expected keys and values", id="a text for a section"),
        pytest.param("services: [x]", "services[0]: expected keys", id="a text among sections"),
    ],
)
def test_notes_what_is_wrong(text: str, words: str) -> None:
    file = section(text)
    READERS[text.partition(":")[0]](file)
    with pytest.raises(BadInput) as refusal:
        file.done()
    assert str(refusal.value).startswith("cannot use f.yaml:1: ")
    assert words in str(refusal.value)


def test_tells_all_problems_together_in_the_files_order() -> None:
    file = section("services:\n  - nmae: x\n    port: y\nzebra: 1\n")
    service = file.sections("services")[0]
    service.text("name")
    service.port("port")
    with pytest.raises(BadInput) as refusal:
        file.done()
    assert str(refusal.value).splitlines() == [
        'cannot use f.yaml:2: services[0].nmae: unknown key; did you mean "name"?',
        "cannot use f.yaml:3: services[0].port: expected an integer, not 'y'",
        "cannot use f.yaml:4: zebra: unknown key; known: services",
    ]


def test_attempt_notes_what_a_constructor_refuses() -> None:
    def refuse() -> int:
        raise ValueError("cannot hold")

    file = section("envoy:\n  stop: 1\n")
    inner = file.section("envoy")
    inner.integer("stop", low=0, high=9)
    assert inner.attempt(refuse, key="stop") is None
    assert inner.attempt(lambda: 5) == 5
    with pytest.raises(BadInput, match=r"^cannot use f.yaml:2: envoy.stop: cannot hold$"):
        file.done()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: 1\n---\nb: 2\n", "f.yaml:3: a second document", id="two documents"),
        pytest.param("- a\n", "f.yaml:1: expected keys and values, not a list", id="a list"),
        pytest.param("a: b: c\n", "f.yaml:1: not YAML", id="no YAML"),
    ],
)
def test_a_file_of_ours_is_one_mapping(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot use ") as refusal:
        section(text)
    assert words in str(refusal.value)


def test_an_empty_file_is_an_empty_mapping() -> None:
    section("# nothing\n").done()


def test_a_key_is_usable_until_something_is_noted_of_it() -> None:
    file = section("a: x\nb: 1\n")
    assert file.usable("a", "b", "c")
    file.integer("a", low=0, high=9)
    file.integer("b", low=0, high=9)
    file.integer("c", low=0, high=9)  # required, and not there
    assert [file.usable(key) for key in ("a", "b", "c")] == [False, True, False]
