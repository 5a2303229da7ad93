"""A run says what it does in every phase and how long it has left; scoring that was cut off goes on where it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cotdistill.cli.waiting import _share
from cotdistill.execution.jobs import run_progress
from cotdistill.execution.jobs.run_progress import RunProgress
from cotdistill.students.scoring.progress import ScoringProgress
from cotdistill.students.training import Log
from cotdistill.text import phase_text, share_done


class Clock:
    """time.perf_counter by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run_progress, "time", clock)
    return clock


def reporting(reports: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(report=lambda step, total, **values: reports.append({"step": step, "total": total} | values))


def test_time_left_counts_steps_and_questions_by_their_own_pace(clock: Clock) -> None:
    reports: list[dict[str, Any]] = []
    progress = RunProgress(reporting(reports), steps=10, batch_size=4, questions=100)
    progress.begins("keeping")
    assert reports[-1]["phase"] == "keeping" and reports[-1]["seconds_left"] is None
    # 6 s a step, so 0.5 s a question (a third of 6 / 4): 9 steps and 100 questions.
    progress.trained(Log(step=1, seconds=6.0), {"loss": 1.0})
    assert reports[-1]["seconds_left"] == 54 + 50 and reports[-1]["phase"] == "training" and reports[-1]["loss"] == 1.0
    progress.ended(Log(step=10, seconds=60.0))
    clock.now = 20.0
    progress.scored("scoring", 20, 100)
    # Now 1 s a question: 80 of 160 seconds are left.
    assert reports[-1]["seconds_left"] == 80 and reports[-1]["share"] == 0.5
    assert (reports[-1]["phase_done"], reports[-1]["phase_rows"], reports[-1]["step"]) == (20, 100, 10)
    clock.now = 100.0
    progress.scored("scoring", 100, 100)
    assert reports[-1]["seconds_left"] == 0 and reports[-1]["share"] == 1


def test_a_student_that_is_only_scored_has_a_time_left_after_its_first_batch(clock: Clock) -> None:
    reports: list[dict[str, Any]] = []
    progress = RunProgress(reporting(reports), steps=0, batch_size=4, questions=50)
    clock.now = 10.0
    progress.scored("scoring", 10, 50)
    assert reports[-1]["seconds_left"] == 40 and reports[-1]["share"] == 0.2


def test_what_a_person_reads_of_it() -> None:
    assert phase_text({"phase": "scoring", "phase_done": 128, "phase_rows": 1200}) == "scoring 128 of 1,200 questions"
    assert phase_text({"phase": "loading"}) == "loading" and phase_text({"step": 3}) == ""
    assert share_done({"share": 0.25, "step": 9, "total": 10}) == 0.25
    assert share_done({"step": 9, "total": 10, "share": None}) == 0.9 and share_done({}) == 0
    running: Any = SimpleNamespace(state="running", progress={"share": 0.5})
    assert _share(running) == 0.475


def test_a_batch_that_was_scored_before_a_stop_is_not_scored_again(tmp_path: Path) -> None:
    file, computed = tmp_path / "scored.jsonl", []

    def compute() -> list[float]:
        computed.append(1)
        return [0.1, -1 / 3]

    assert ScoringProgress(file=file).computed("scoring", [[1, 2]], compute) == [0.1, -1 / 3]
    file.write_text(file.read_text() + '["a line that was cut')
    again = ScoringProgress(file=file)
    assert again.computed("scoring", [[1, 2]], compute) == [0.1, -1 / 3] and len(computed) == 1
    # Another batch, another phase, and no file at all are computed.
    again.computed("scoring", [[1, 3]], compute)
    again.computed("writing", [[1, 2]], compute)
    ScoringProgress().computed("scoring", [[1, 2]], compute)
    assert len(computed) == 4
