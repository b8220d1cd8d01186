from hostmesh_agent.logic.serving import MISSES, NO_DOUBT
from hostmesh_core.silence import SILENT_SECONDS


def test_three_answers_that_say_not_ready_in_a_row_are_believed() -> None:
    doubt = NO_DOUBT
    for _ in range(MISSES - 1):
        doubt = doubt.not_ready()
        assert not doubt.verdict(0.0)
    assert doubt.not_ready().verdict(0.0) == "its workers say not ready"


def test_silence_is_believed_after_its_time_however_often_was_asked() -> None:
    doubt = NO_DOUBT
    for quarter in range(20):
        doubt = doubt.silent(100.0 + quarter / 4)
    assert not doubt.verdict(100.0 + SILENT_SECONDS - 0.1)
    assert doubt.verdict(100.0 + SILENT_SECONDS) == "no worker answers"


def test_an_answer_that_says_not_ready_ends_the_silence() -> None:
    assert not NO_DOUBT.silent(0.0).not_ready().verdict(1e9)
