"""From results to what a figure says: rows, titles and captions. No Streamlit, no Plotly; the terminal may use it as
well.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cotdistill.report.figures.base import AccuracyRow, ForestRow, LearningCurve, verdict_color
from cotdistill.results.results import Comparison, ConditionSummary
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec
from cotdistill.text import capital, listed, percent, plural, points

if TYPE_CHECKING:
    import pandas as pd


def accuracy_rows(summaries: Sequence[ConditionSummary]) -> list[AccuracyRow]:
    """Rows of the accuracy figure; conditions without a finished run are left out (the caption names them)."""
    return [
        AccuracyRow(s.condition, s.label, s.mean, s.low, s.high, tuple(s.points), s.planned)
        for s in summaries
        if s.mean is not None and s.points
    ]


def accuracy_title(rows: Sequence[AccuracyRow], chance: float | None) -> str:
    """What the accuracies say in one line."""
    if not rows:
        return "No run has finished yet"
    best = max(rows, key=lambda row: row.mean)
    if chance is not None and all(row.low is not None and row.low <= chance for row in rows):
        return f"No condition is above chance ({percent(chance)})"
    if len(rows) == 1:
        return f"{capital(best.label)} answers {percent(best.mean)} of the test questions"
    worst = min(rows, key=lambda row: row.mean)
    if best.low is not None and best.low <= worst.mean:
        near = "" if chance is None else f" (chance {percent(chance)})"
        return f"No condition stands out: all lie between {100 * worst.mean:.1f} and {percent(best.mean)}{near}"
    return f"{capital(best.label)} is highest with {percent(best.mean)}"


# Below this accuracy of the best condition, a task with written answers has not been learnt.
NEAR_ZERO = 0.03


def written_told(summaries: Sequence[ConditionSummary]) -> str:
    """What stands beside the accuracies of written answers: what was not ended or not readable, and the flexible
    reading; "" where answers are chosen.
    """
    written = [(s, s.written) for s in summaries if s.written is not None]
    if not written:
        return ""
    parts = [
        f"{s.label}: {percent(w.not_ended)} not ended, {percent(w.unreadable)} not readable, {percent(w.flexible)} by"
        " the flexible reading"
        for s, w in written
    ]
    nothing = (
        " No condition answers more than a few of the questions: differences between them say little about rationales."
        if max((s.mean or 0.0 for s, _ in written), default=0.0) < NEAR_ZERO
        else ""
    )
    return (
        "Answers are written and judged strictly: right where the student ends an answer that equals the gold. Not"
        f" ended and not readable count as wrong; the flexible reading is never judged. {'; '.join(parts)}.{nothing}"
    )


def difference_rows(comparison: Comparison) -> list[ForestRow]:
    return [
        ForestRow(r.condition, r.label, r.difference, r.low, r.high, r.word, verdict_color(r.word))
        for r in comparison.rows
    ]


def difference_title(rows: Sequence[ForestRow], baseline: str, lead: str = "post_cot") -> str:
    """The difference that matters most: post-CoT's if it is there, else the largest; never more than the verdict
    allows.
    """
    if not rows:
        return f"Nothing to compare with {baseline} yet"
    row = next((r for r in rows if r.condition == lead), max(rows, key=lambda r: abs(r.difference)))
    size = f"{abs(100 * row.difference):.1f} points"
    if row.word == "better":
        return f"{capital(row.label)} beats {baseline} by {size}"
    if row.word == "worse":
        return f"{capital(row.label)} falls {size} short of {baseline}"
    if row.word in ("no worse", "not distinguishable"):
        return (
            f"{capital(row.label)}: {row.word}{' than' if row.word == 'no worse' else ' from'} {baseline}"
            f" ({points(row.difference)} points)"
        )
    return f"{capital(row.label)} stands {points(row.difference)} points from {baseline}"


def world_told(spec: StudySpec) -> str:
    """How far a study of a generated task can speak: ", in this one artificial world"; empty for real text."""
    if spec.worlds is None:
        return ""
    return ", in this one artificial world" if spec.worlds == 1 else f", over {plural(spec.worlds, 'artificial world')}"


def rows_told(store: Store, study: Study) -> str:
    """What the accuracies of a study rest on: which questions the test is, how many rows were trained on, how many were
    left out.
    """
    finished = store.queue.jobs(state="finished", kind="train", study=study.id)
    results = [job.result for job in finished if job.result and job.result.get("train_rows")]
    if not results:
        return ""
    result = max(results, key=lambda row: int(row["train_rows"]))
    up_to = "up to " if any(row["train_rows"] < result["train_rows"] for row in results) else ""
    parts = [f"Test: {result['test_is']}."] if result.get("test_is") else []
    left_out = f" ({result['excluded_rows']:,} without a rationale left out)" if result.get("excluded_rows") else ""
    cut = int(result.get("cut_questions") or 0)
    cut_told = [f"{plural(cut, 'test question')} too long for the student: cut at the start."] if cut else []
    return " ".join([*parts, *cut_told, f"Trained on {up_to}{result['train_rows']:,} rows{left_out}."])


def missing_told(summaries: Sequence[ConditionSummary]) -> str:
    """Which runs of the plan are not there yet; empty if none."""
    waiting = [s for s in summaries if s.finished < s.planned]
    if not waiting:
        return ""
    left = sum(s.planned - s.finished for s in waiting)
    return f"Provisional: {plural(left, 'planned run')} still missing ({listed(s.label for s in waiting)})."


def curve_rows(frame: pd.DataFrame, labels: Mapping[str, str], name: str, axis: str) -> list[LearningCurve]:
    """Learning curves of one value by condition; replicates are averaged at their k-th record, which is the same step
    in all of them.
    """
    curves: list[LearningCurve] = []
    chosen = frame[(frame["name"] == name) & frame["value"].notna()]
    for condition, label in labels.items():
        rows = chosen[chosen["condition"] == condition]
        lines = [part.sort_values("step") for _, part in rows.groupby("replicate")]
        if not lines:
            continue
        length = min(len(line) for line in lines)
        x = [math.fsum(float(line[axis].iloc[k]) for line in lines) / len(lines) for k in range(length)]
        y = [math.fsum(float(line["value"].iloc[k]) for line in lines) / len(lines) for k in range(length)]
        each = tuple((tuple(map(float, line[axis])), tuple(map(float, line["value"]))) for line in lines)
        curves.append(LearningCurve(condition, label, tuple(x), tuple(y), each))
    return curves


def curve_title(rows: Sequence[LearningCurve], what: str, *, share: bool) -> str:
    """Which condition ends where it should: highest for an accuracy, lowest for a loss."""
    ends = [row for row in rows if row.y]
    if not ends:
        return f"No record of {what} yet"
    if not share:
        return capital(what)
    best = max(ends, key=lambda row: row.y[-1])
    return f"{capital(best.label)} ends highest on dev, at {percent(best.y[-1])}"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV that a spreadsheet reads as data: text that would start a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell(column) for column in columns])
    writer.writerows([[cell(value) for value in row] for row in rows])
    return buffer.getvalue()


def cell(value: Any) -> Any:
    """One CSV cell: numbers as they are, missing as empty, text that begins like a formula (= + - @ tab return) quoted
    by an apostrophe.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
