"""A dozen kills at random moments while real students are trained: nothing is lost, doubled or changed."""

import pytest

from benchmarks.kills import soak


@pytest.mark.timeout(420)
def test_after_a_dozen_kills_every_run_is_finished_once_with_the_bits_of_an_undisturbed_run(tmp_path):
    report = soak(tmp_path, kills=12, seed=1, seconds=360)
    assert report["problems"] == []
    assert report["kills"] == 12
