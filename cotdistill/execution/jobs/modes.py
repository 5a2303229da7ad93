"""Modes and test-time rationale tests: one student, every mode, every test; one row per answer."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest
from cotdistill.execution.jobs.train import prediction_table
from cotdistill.execution.open_student import Opened
from cotdistill.rationales.passage import Passage
from cotdistill.store.records import StopRequested
from cotdistill.students.scoring.evaluation import Prediction, accuracy
from cotdistill.students.scoring.generation import WrittenText
from cotdistill.students.scoring.rationale_tests import (
    Intact,
    PerturbedAnswer,
    Saved,
    StudentUnderTest,
    every_test,
    leakage,
)
from cotdistill.studies.analyses.modes import COLUMNS, ModesConfig
from cotdistill.studies.inspection_jobs import modes_of, test_rows_of
from cotdistill.tasks.example import Example
from cotdistill.tasks.generated.world import STYLES, reworded, world_of
from cotdistill.tasks.importing.roles import word_roles
from cotdistill.tasks.importing.writing import write_note
from cotdistill.tasks.splits import first_by_hash

# How often what is done is saved, so that a death costs no more than this.
SAVE_SECONDS = 20.0


def modes(request: AnalysisRequest[ModesConfig]) -> Analysed:
    """The analysis `modes`: tables "predictions" (as those of a training run, with every mode) and "answers"."""
    config, opened = request.config, request.open()
    examples = first_by_hash(opened.task.examples("test", config.source or None), test_rows_of(opened.job))
    if config.examples:
        examples = sorted(examples, key=lambda e: e.id)[: config.examples]
    train = opened.encoder.corpus(opened.task.examples("train", config.source or None))
    types = [word for word, role in word_roles(opened.task).items() if role == "type" and train.word_counts[word]]
    saved = Saved() if request.resume_file is None else read_saved(request.resume_file)
    student = StudentUnderTest(
        opened.model,
        opened.encoder,
        examples,
        opened.condition.spec,
        metric=opened.metric,
        limit=longest_written(opened, examples),
        saved=saved,
    )
    kept = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal kept
        if request.resume_file is not None and time.monotonic() - kept > SAVE_SECONDS:
            write_saved(request.resume_file, saved)
            kept = time.monotonic()
        request.report(done, total)

    try:
        by_mode, read, answers = every_test(
            student,
            config.tests,
            config.shares,
            train.unigrams,
            types,
            opened.run.seeds.transform,
            report,
            _paraphrases(opened, config, examples),
        )
    except StopRequested:
        if request.resume_file is not None:
            write_saved(request.resume_file, saved)
        raise
    tables: dict[str, pd.DataFrame | bytes] = {"predictions": prediction_table(by_mode), "answers": table(answers)}
    return Analysed(tables, summary(opened, config, examples, by_mode, read, answers))


def _paraphrases(opened: Opened, config: ModesConfig, examples: Sequence[Example]) -> list[Passage]:
    """Of the given rationales, where that test is asked for; an empty one where nobody has written it."""
    if "paraphrase" not in config.tests:
        return []
    if config.paraphrases:
        known = {
            e.id: e.rationale or ""
            for e in opened.task.examples("test", config.paraphrases)
            if e.source == config.paraphrases
        }
        return [opened.encoder.read(known.get(e.id, "")) for e in examples]
    world = world_of(opened.task)
    assert world is not None  # refused when the job was asked for
    return [opened.encoder.read(reworded(world, e, str(e.source)) if e.source in STYLES else "") for e in examples]


def longest_written(opened: Opened, examples: Sequence[Example]) -> int:
    """The most tokens that a student may write, as its run had it; where that read no rationale, the longest of the
    given ones.
    """
    longest = int((opened.job.result or {}).get("longest_rationale") or 0)
    longest = longest or max((len(opened.encoder.read(e.rationale or "")) for e in examples), default=0)
    return longest + len(opened.encoder.label_cue)


def table(answers: Sequence[PerturbedAnswer]) -> pd.DataFrame:
    """One row an answer; see COLUMNS."""
    intact = {(a.rationale, a.prediction.id): a.prediction.predicted for a in answers if not a.share}
    rows = []
    for a in answers:
        before = intact[a.rationale, a.prediction.id]
        measured, control = (
            _measures(a.prediction, before),
            (None,) * 4 if a.control is None else _measures(a.control, before),
        )
        rows.append(
            (
                a.prediction.id,
                a.prediction.cluster,
                a.rationale,
                a.test,
                a.share,
                a.tokens,
                a.touched,
                *measured,
                *control,
            )
        )
    small = {
        "tokens": "int32",
        "touched": "int32",
        "predicted": "int16",
        "control_predicted": "Int16",
        "p_gold": "float32",
    }
    flags = {"control_correct": "boolean", "control_changed": "boolean", "control_p_gold": "Float32"}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({**small, **flags})


def _measures(prediction: Prediction, before: int) -> tuple[int, bool, float, bool]:
    return (
        prediction.predicted,
        prediction.correct,
        prediction.probabilities[prediction.answer],
        prediction.predicted != before,
    )


def summary(
    opened: Opened,
    config: ModesConfig,
    examples: Sequence[Example],
    modes: dict[str, list[Prediction]],
    read: dict[str, Intact],
    answers: Sequence[PerturbedAnswer],
) -> dict[str, Any]:
    """Modes with their accuracy and whether they were trained; whose rationales were given (source -> rows); leakage:
    the share of rationales that name the right answer; empty: rows without one; unterminated: own ones that did not end
    with the answer cue; made: on how many rows each test could be made."""
    counted: dict[str, dict[str, int]] = {name: dict.fromkeys(config.tests, 0) for name in read}
    for a in answers:
        if a.share == 1.0 and a.touched:
            counted[a.rationale][a.test] += 1
    trained = modes_of(str(opened.condition))
    own_mode = modes["own"]
    return {
        "n": len(examples),
        "clusters": len({e.cluster or e.id for e in examples}),
        "chance": opened.task.chance,
        "modes": {
            name: {
                "accuracy": accuracy(p),
                "n": len(p),
                "correct": sum(x.correct for x in p),
                "trained": name in trained,
            }
            for name, p in modes.items()
        },
        "sources": dict(Counter(e.source or "none" for e in examples)),
        "leakage": {name: leakage(intact, examples) for name, intact in read.items()},
        "empty": {name: sum(not p for p in intact.passages) for name, intact in read.items()},
        "unterminated": sum(not p.terminated for p in own_mode) / len(own_mode),
        "made": counted,
    }


def write_saved(path: Path, saved: Saved) -> None:
    """What was scored so far, whole or not at all."""
    texts = None if saved.own_texts is None else [[w.ids, w.terminated, w.after] for w in saved.own_texts]
    answers = {key: [text.ids, text.terminated, text.after] for key, text in saved.answers.items()}
    write_note(path, json.dumps({"own": texts, "sums": saved.sums, "answers": answers}))


def read_saved(path: Path) -> Saved:
    """What an earlier attempt has scored; nothing if there is none, or if it cannot be read (then it is scored
    anew).
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        texts = (
            None
            if kept["own"] is None
            else [WrittenText(list(ids), bool(ended), list(after)) for ids, ended, after in kept["own"]]
        )
        return Saved(
            texts,
            {str(key): [float(v) for v in values] for key, values in kept["sums"].items()},
            {
                str(key): WrittenText(list(ids), bool(ended), list(after))
                for key, (ids, ended, after) in kept.get("answers", {}).items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Saved()
