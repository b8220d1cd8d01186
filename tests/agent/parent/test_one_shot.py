import os
import sys

import pytest

from hostmesh_agent.parent import one_shot, processes

pytestmark = pytest.mark.process


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(processes, "own", lambda *words: (sys.executable, "-c", text, *words))


def test_gives_status_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import sys; sys.stderr.write(sys.argv[1] + '\\n'); sys.exit(2)")
    assert one_shot.run(["words"]) == (2, "words")


def test_a_terminal_s_interrupt_is_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C goes to the parent's session; a removal half-way is no end."""
    program(monkeypatch, "import os,sys; sys.stderr.write(f'{os.getsid(0)} {os.getpgid(0)}')")
    status, said = one_shot.run([])
    assert status == 0
    assert str(os.getsid(0)) not in said.split()
    assert str(os.getpgid(0)) not in said.split()


def test_what_cannot_be_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "own", lambda *_: ("/no/such/program",))
    status, said = one_shot.run(["drain"])
    assert status == 1
    assert said.startswith("cannot run `drain`: ")
