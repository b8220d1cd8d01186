import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core import documents, yaml_nodes
from hostmesh_core.errors import BadInput

TWO = """\
# a comment first
kind: ServiceEntry
spec:
  hosts: [a.test]
  ports:
    - number: 80
      name: http
    - number: 443
---
kind: WorkloadEntry
spec:
  weight: 2
"""


def test_gives_each_document_with_its_lines() -> None:
    first, second = documents.load_all(TWO, file="mesh.yaml")
    assert (first.line, second.line) == (2, 10)
    assert second.plain() == {"kind": "WorkloadEntry", "spec": {"weight": 2}}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param((), 2, id="the document itself"),
        pytest.param(("spec",), 3, id="a key's own line, not its value's"),
        pytest.param(("spec", "ports", 1), 8, id="an item of a list"),
        pytest.param(("spec", "ports", 1, "number"), 8, id="a key inside an item"),
        pytest.param(("spec", "ports", 0, "protocol"), 6, id="an absent key: what would hold it"),
        pytest.param(("spec", "ports", 9), 5, id="an absent item: the list"),
        pytest.param(("Spec", "Hosts"), 4, id="another spelling of a key"),
    ],
)
def test_knows_the_line_of_a_path(path: documents.Path, line: int) -> None:
    document = documents.load_all(TWO, file="mesh.yaml")[0]
    assert document.line_of(path) == line
    assert document.where(path) == f"mesh.yaml:{line}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("true", True, id="a boolean"),
        pytest.param("'true'", "true", id="quoted: a text"),
        pytest.param("yes", "yes", id="YAML 1.1's booleans are text"),
        pytest.param("0777", "0777", id="an integer with a leading zero is text"),
        pytest.param("0x1F", 31, id="a hexadecimal integer"),
        pytest.param("-5", -5, id="a negative integer"),
        pytest.param("1:30", "1:30", id="no sexagesimal numbers"),
        pytest.param("2026-01-02", "2026-01-02", id="no dates"),
        pytest.param("1.5", 1.5, id="a number"),
        pytest.param("1e3", 1000.0, id="a number with an exponent"),
        pytest.param("1e999", "1e999", id="a number too large is text"),
        pytest.param("1.2.3", "1.2.3", id="a version is text"),
        pytest.param("~", None, id="nothing"),
        pytest.param("!!str 5", "5", id="an explicit text"),
        pytest.param("!!float 5", 5.0, id="an explicit number"),
        pytest.param("9" * 5000, "9" * 5000, id="more digits than Python reads is text"),
        pytest.param("[1, {a: b}]", [1, {"a": "b"}], id="nested flow"),
    ],
)
def test_reads_scalars_by_the_core_schema(text: str, value: yaml_nodes.Plain) -> None:
    document = documents.load_all(f"key: {text}", file="f")[0]
    assert document.plain() == {"key": value}
    assert type(document.plain()["key"]) is type(value)  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a: 1\nb: c: d\n", 2, "not YAML: mapping values", id="a syntax error"),
        pytest.param("a: 'x\nb: 1\n", 2, "quoted scalar", id="a quote that never ends"),
        pytest.param("a:\n\t- b\n", 2, "cannot start any token", id="a tab"),
        pytest.param("a: \x01\n", 1, "control characters", id="a control character"),
        pytest.param("a: \udc80\n", 1, "not UTF-8", id="half a surrogate pair"),
        pytest.param(
            "a: 1\nb: 2\na: 3\n", 3, 'key "a" is here twice, first on line 1', id="a key twice"
        ),
        pytest.param("a: {b: 1, b: 2}\n", 1, 'key "b" is here twice', id="a key twice in flow"),
        pytest.param("? [a]\n: b\n", 1, "a list cannot be a key", id="a list as a key"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys", id="a merge key"),
        pytest.param("a: *x\n", 1, "*x has no anchor", id="an alias without anchor"),
        pytest.param("a: &x [*x]\n", 1, "inside its own anchor", id="an alias inside itself"),
        pytest.param("a: !!python/object:os.x 1\n", 1, "python/object:os.x", id="a Python tag"),
        pytest.param("a: !secret x\n", 1, "'!secret' is not read", id="a private tag"),
        pytest.param("a: !!int x\n", 1, "not of its tag", id="a tag that does not fit"),
        pytest.param("[" * 100 + "]" * 100, 1, "deeper than 64", id="nested too deep"),
        pytest.param("[" * 200_000, 1, "deeper than 64", id="nested so deep that C would crash"),
    ],
)
def test_refuses_what_is_not_plain_yaml(text: str, line: int, words: str) -> None:
    with pytest.raises(BadInput, match=rf"^cannot use mesh\.yaml:{line}: ") as refusal:
        documents.load_all(text, file="mesh.yaml")
    assert words in str(refusal.value)


def test_aliases_repeat_what_they_name_but_cannot_explode() -> None:
    text = "a: &a [1, 2]\nb: *a\n"
    assert documents.load_all(text, file="f")[0].plain() == {"a": [1, 2], "b": [1, 2]}
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
    )
    with pytest.raises(BadInput, match="aliases repeat more than 10000 values"):
        documents.load_all(bomb, file="f")


def test_a_bad_document_never_hides_the_next_one() -> None:
    text = "a: 1\n---\nb: c: d\n---\n# fine\ne: 5\n--- \nf: 1\nf: 2\n...\n"
    found, problems = documents.read_all(text, file="f")
    assert [document.plain() for document in found] == [{"a": 1}, {"e": 5}]
    assert [problem.line for problem in problems] == [3, 9]
    with pytest.raises(BadInput, match=r"f:3: .*\ncannot use f:9: "):
        documents.load_all(text, file="f")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="an empty file"),
        pytest.param("# nothing\n---\n# here\n---\n", id="comments alone"),
        pytest.param("%YAML 1.2\n---\n...\n", id="a directive and nothing"),
    ],
)
def test_leaves_out_empty_documents(text: str) -> None:
    assert documents.load_all(text, file="f") == []


def test_refuses_a_file_that_is_too_large() -> None:
    text = "#" * (documents.MAX_BYTES + 1)
    with pytest.raises(BadInput, match="cannot use f:1: larger than 16 MiB"):
        documents.load_all(text, file="f")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        pytest.param("prot", "port", id="letters swapped"),
        pytest.param("controlPlanes", "control_planes", id="camel case"),
        pytest.param("control-planes", "control_planes", id="hyphens"),
        pytest.param("PORT", "port", id="capitals"),
        pytest.param("zebra", None, id="nothing near"),
    ],
)
def test_suggests_the_likely_meant_word(word: str, meant: str | None) -> None:
    assert documents.suggest(word, ["port", "control_planes", "weight"]) == meant


def test_says_what_is_known_where_nothing_is_near() -> None:
    assert documents.did_you_mean("zebra", ["b", "a"]) == "; known: a, b"


ASCII = st.text(st.characters(codec="ascii"), max_size=8).filter(lambda text: text != "<<")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ASCII,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII, inner, max_size=4),
    max_leaves=12,
)


@given(value=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), JSON, min_size=1))
def test_reads_back_what_json_writes(value: dict[str, yaml_nodes.Plain]) -> None:
    assert documents.load_all(json.dumps(value), file="f")[0].plain() == value


@given(st.text())
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    found, problems = documents.read_all(text, file="f")
    for document in found:
        document.plain()
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in problems)
