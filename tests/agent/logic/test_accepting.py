import pytest

from hostmesh_agent.config import Address, AgentConfig, ServiceConfig
from hostmesh_agent.logic import accepting
from hostmesh_agent.logic.accepting import Accepted
from hostmesh_agent.logic.findings import Code, Finding, Severity
from hostmesh_core.errors import BadInput


def config(*names: str) -> AgentConfig:
    services = tuple(ServiceConfig(name=name, port=80 + n) for n, name in enumerate(names))
    return AgentConfig(control_planes=(Address(host="cp1", port=15012),), services=services)


def stop(code: Code, service: str = "web") -> Finding:
    return Finding(
        code=code, severity=Severity.STOPS, service=service, text="is so", cure="do this"
    )


def test_what_is_accepted_does_not_stop() -> None:
    whole = config("web", "api")
    first, second = stop(Code.SPEAKS_FIRST), stop(Code.SPEAKS_FIRST, "api")
    every, one = (Accepted.parse([t], whole) for t in ("speaks-first", "speaks-first:api"))
    assert accepting.stopping([first, second], every) == []
    assert accepting.stopping([first, second], one) == [first]
    assert accepting.stopping([first], Accepted()) == [first]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("speak-first", 'did you mean "speaks-first"?', id="a finding misspelt"),
        pytest.param("speaks-first:wbe", 'did you mean "web"?', id="a service misspelt"),
    ],
)
def test_what_cannot_be_accepted(text: str, words: str) -> None:
    with pytest.raises(BadInput, match="cannot accept") as refused:
        Accepted.parse([text], config("web"))
    assert words in str(refused.value)


def test_the_refusal_names_cures_and_the_way_on() -> None:
    found = [stop(Code.SPEAKS_FIRST)]
    words = {"command": "reload", "unchanged": "nothing was changed"}
    accepting.check(found, Accepted(frozenset({"speaks-first"})), **words)
    with pytest.raises(BadInput) as refused:
        accepting.check(found, Accepted(), **words)
    said = str(refused.value)
    assert said.startswith("cannot reload without breaking callers; nothing was changed:")
    assert "cure: do this" in said
    assert said.endswith("--accept speaks-first:web")
