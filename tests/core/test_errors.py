from hostmesh_core.errors import HostmeshError, Refused


def test_a_refusal_is_a_sentence_and_may_show_why() -> None:
    plain = Refused("cannot do it")
    assert (str(plain), dict(plain.detail)) == ("cannot do it", {})
    shown = Refused("cannot do it", {"withheld": ["10.0.0.2:80"]})
    assert str(shown) == "cannot do it"
    assert shown.detail["withheld"] == ["10.0.0.2:80"]
    assert isinstance(shown, HostmeshError)
