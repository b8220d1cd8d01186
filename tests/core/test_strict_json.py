import pytest

from hostmesh_core import strict_json
from hostmesh_core.errors import BadInput


def _read(text: str) -> dict[str, object]:
    f = strict_json.load(text.encode(), where="x.json", limit=200)
    found: dict[str, object] = {
        "number": f.integer("number", 1, 10),
        "flag": f.flag("flag"),
        "text": f.text("text", 5),
        "list": f.items("list", lambda value, _: str(value), 2),
    }
    f.end()
    return found


GOOD = '{"number": 3, "flag": true, "text": "abc", "list": ["a"]}'


def test_reads_what_the_schema_says() -> None:
    assert _read(GOOD) == {"number": 3, "flag": True, "text": "abc", "list": ("a",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "Expecting value", id="nothing"),
        pytest.param("[]", "expected an object, found a list of 0", id="a list"),
        pytest.param(GOOD[:-1], "delimiter", id="cut off"),
        pytest.param(
            GOOD.replace("3", "11"), "number: expected a whole number from 1 to 10", id="too large"
        ),
        pytest.param(
            GOOD.replace("3", "true"), "number: expected a whole", id="a flag for a number"
        ),
        pytest.param(GOOD.replace("3", "3.0"), "number: expected a whole", id="a fraction"),
        pytest.param(GOOD.replace("3", "NaN"), "NaN is no JSON", id="no number"),
        pytest.param(
            GOOD.replace("true", "1"), "flag: expected true or false", id="a number for a flag"
        ),
        pytest.param(
            GOOD.replace("abc", "abcdef"), "text: expected a text of at most 5", id="too long"
        ),
        pytest.param(
            GOOD.replace('["a"]', '["a","b","c"]'),
            "list: expected a list of at most 2",
            id="too many",
        ),
        pytest.param(GOOD.replace('"flag"', '"flog"'), "flag is missing", id="missing"),
        pytest.param(GOOD.replace("{", '{"more": 1, '), "unknown key more", id="unknown"),
        pytest.param(GOOD.replace("{", '{"number": 4, '), "key 'number' stands twice", id="twice"),
        pytest.param(" " * 300, "300 bytes, the limit is 200", id="too many bytes"),
        pytest.param("[" * 199, "cannot read x.json", id="too deep"),
    ],
)
def test_refuses_everything_else(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=r"cannot read x\.json") as raised:
        _read(text)
    assert said in str(raised.value)


def test_equal_values_are_equal_bytes() -> None:
    assert strict_json.dump({"b": 1, "a": (2,)}) == strict_json.dump({"a": [2], "b": 1})
