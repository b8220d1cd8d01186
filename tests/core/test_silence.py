from hostmesh_core.silence import ANSWERED, SILENT_SECONDS


def test_silence_is_measured_by_the_clock_and_not_by_the_number_of_questions() -> None:
    silence = ANSWERED
    for tenth in range(50):
        silence = silence.missed(100.0 + tenth / 10)
    assert silence.since == 100.0
    assert not silence.over(100.0 + SILENT_SECONDS - 0.1)
    assert silence.over(100.0 + SILENT_SECONDS)


def test_an_answer_ends_it() -> None:
    assert not ANSWERED.over(1e9)
