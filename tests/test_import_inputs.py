"""Files in the forms that data are published in, damaged at random: read, or refused in words (benchmarks/import_inputs.py with more)."""

from benchmarks.import_inputs import tried


def test_whatever_is_published_is_read_or_refused_in_words():
    assert [problem for number in range(300) if (problem := tried(0, number, number % 50 == 0))] == []
