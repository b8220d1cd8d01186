"""The order of the end, and what it does where a step of it fails."""

import pytest

from hostmesh_agent.parent import ending
from hostmesh_core.errors import HostmeshError
from hostmesh_core.redirect_files import REMOVED_UNNOTED

DRAIN, GIVE_BACK, REMOVE = "drain --release", "redirect remove --draining", "--keep-closed"


class World:
    """Programs and one-shots that write down what is done to them."""

    def __init__(
        self, *, fails: dict[str, int] | None = None, running: str = "agent", status: int = 1
    ) -> None:
        self.did: list[str] = []
        self.running = running
        self.fails = dict(fails or {})
        """How often a one-shot with these words fails."""
        self.status = status

    def runs(self, name: str) -> bool:
        return name in self.running

    def end(self, name: str) -> None:
        self.did.append(f"end {name}")

    def run_once(self, arguments: list[str]) -> tuple[int, str]:
        words = " ".join(arguments)
        self.did.append(words.removesuffix(" --instance edge"))
        for pattern, left in self.fails.items():
            if pattern in words and left:
                self.fails[pattern] = left - 1
                return self.status, f"doing it\ncannot do {pattern}"
        return 0, ""

    def finish(self, *, has_rules: bool = True) -> None:
        ending.end(
            self, instance="edge", has_rules=has_rules, run_once=self.run_once, pause=lambda _: None
        )


IN_ORDER = [
    "drain --release",
    "end agent",
    "end redirector",
    "redirect remove --draining",
    "end runner",
    "redirect remove --keep-closed",
]


@pytest.mark.parametrize(
    ("running", "did"),
    [
        pytest.param("agent", IN_ORDER, id="the agent gives the ports back first"),
        pytest.param("", IN_ORDER[1:], id="without an agent they are given back all the same"),
    ],
)
def test_ports_are_given_back_before_envoy_ends(running: str, did: list[str]) -> None:
    world = World(running=running)
    world.finish()
    assert world.did == did


def test_a_failed_drain_is_said_and_keeps_nothing_in(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(fails={DRAIN: 9})
    world.finish()
    assert world.did == IN_ORDER
    assert f"the agent's drain: cannot do {DRAIN}; going on\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", [GIVE_BACK, REMOVE])
def test_a_removal_that_fails_is_tried_again(words: str) -> None:
    world = World(fails={words: 2})
    world.finish()
    assert sum(words in each for each in world.did) == 3


def test_a_removal_that_found_no_room_for_its_note_is_done() -> None:
    """It runs again only where rules are left; a watch that would put them in again has ended."""
    world = World(fails={"redirect remove": 9}, status=REMOVED_UNNOTED)
    world.finish()
    assert world.did == IN_ORDER


def test_rules_that_are_left_are_said_with_what_takes_them_out() -> None:
    world = World(fails={GIVE_BACK: 9, REMOVE: 9})
    with pytest.raises(
        HostmeshError,
        match=r"cannot take the rules out: cannot do --keep-closed; .* redirect remove$",
    ):
        world.finish()
    assert [each for each in world.did if each.startswith("end")] == [
        "end agent",
        "end redirector",
        "end runner",
    ]


def test_an_ordinary_user_has_no_rules_to_take_out() -> None:
    world = World()
    world.finish(has_rules=False)
    assert world.did == ["drain", "end agent", "end redirector", "end runner"]
