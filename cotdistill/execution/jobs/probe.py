"""Linear probes on the hidden states of a student: one row per layer and place, with the control task beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cotdistill.errors import NotReadable
from cotdistill.execution.jobs.analysis import Analysed, AnalysisRequest, clustered_mean
from cotdistill.execution.open_student import Opened, training_corpus
from cotdistill.saliency.linear import control_classes, fit, hidden_states, hits, places
from cotdistill.saliency.reading import EncodedExample, read_example
from cotdistill.studies.analyses.probe import COLUMNS, ProbeConfig, class_of
from cotdistill.tasks.example import Example


@dataclass(frozen=True)
class _ProbedSequences:
    """Sequences with their examples; those that lack a place are not among them."""

    examples: list[Example]
    readings: list[EncodedExample]


def probes(request: AnalysisRequest[ProbeConfig]) -> Analysed:
    """The analysis `probe`: table "cells"."""
    opened, wanted = request.student()
    config = request.config
    learnt = list(training_corpus(opened).examples)
    drawn = sorted(np.random.default_rng(config.seed).permutation(len(learnt))[: config.rows].tolist())
    fitted, asked = [learnt[i] for i in drawn], _read(opened, wanted)
    names = list(places(_longest(asked)))
    train, test = _with(names, fitted, _read(opened, fitted)), _with(names, wanted, asked)
    cells, summary = _cells(opened, config, names, train, test, request.report)
    summary |= {"left_out": len(wanted) - len(test.examples) + summary.pop("unseen")}
    return Analysed({"cells": cells}, summary)


def _read(opened: Opened, examples: Sequence[Example]) -> list[EncodedExample]:
    return [
        read_example(opened.encoder, e, opened.condition.spec, metric=opened.metric, limit=opened.limit)
        for e in examples
    ]


def _longest(readings: Sequence[EncodedExample]) -> EncodedExample:
    return max(readings, key=lambda reading: len(places(reading)))


def _with(names: Sequence[str], examples: Sequence[Example], readings: Sequence[EncodedExample]) -> _ProbedSequences:
    pairs = [(e, r) for e, r in zip(examples, readings, strict=True) if set(names) <= set(places(r))]
    return _ProbedSequences([e for e, _ in pairs], [r for _, r in pairs])


def _cells(
    opened: Opened,
    config: ProbeConfig,
    names: Sequence[str],
    train: _ProbedSequences,
    test: _ProbedSequences,
    report: Callable[[int, int], None],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    classes_of_train = [class_of(e, config.what) for e in train.examples]
    classes = sorted(set(classes_of_train))
    if len(classes) < 2:
        raise NotReadable(
            f"The training rows have no two classes of {config.what!r}, so there is nothing to tell apart.",
            "Probe for another class.",
        )
    rows = [i for i, e in enumerate(test.examples) if class_of(e, config.what) in classes]
    if not rows:
        raise NotReadable(
            f"No {config.split} example has a class of {config.what!r} that the training rows show.",
            "A probe can only name what it was fitted on.",
        )
    asked = [test.examples[i] for i in rows]
    gold = [class_of(e, config.what) for e in asked]
    clusters = [e.cluster or e.id for e in asked]
    dealt, how = control_classes(
        [*classes_of_train, *gold], [*(e.cluster or e.id for e in train.examples), *clusters], config.seed
    )
    at = {name: i for i, name in enumerate(classes)}
    answers = {
        "own": (_numbers(at, classes_of_train), _numbers(at, gold)),
        "control": (_numbers(at, dealt[: len(classes_of_train)]), _numbers(at, dealt[len(classes_of_train) :])),
    }
    allowed = _allowed(asked, at, config.what)
    if how == "rows":
        # A choice dealt to another question is not among its own, so the control is held against the true answers:
        # chance.
        answers["control"] = (answers["control"][0], answers["own"][1])
    if how == "clusters" and config.what == "answer":
        allowed = np.ones_like(allowed)
    cells, total = [], 0
    layers, states = hidden_states(
        opened.model, [*train.readings, *(test.readings[i] for i in rows)], names, opened.encoder.specials.pad
    )
    for number, layer in zip(layers, states, strict=True):
        for order, name in enumerate(names):
            x, y = layer[order][: len(classes_of_train)], layer[order][len(classes_of_train) :]
            right = {
                kind: hits(fit(x, fitted, len(classes), config.penalty), y, true, allowed)
                for kind, (fitted, true) in answers.items()
            }
            cells.append(_row(number, order, name, names, right, clusters))
            total += 1
            report(total, len(layers) * len(names))
    # A place that reads the label tells it back; there is always one before it.
    best = max((cell for cell in cells if "label" not in cell["reads"]), key=lambda cell: float(cell["over"]))
    frame = pd.DataFrame(cells, columns=list(COLUMNS)).astype(
        {name: "Float64" for name in ("low", "high", "over_low", "over_high")}
    )
    guess = max(set(classes_of_train), key=lambda name: (classes_of_train.count(name), name))
    return frame, {
        "what": config.what,
        "classes": len(classes),
        "rows": len(classes_of_train),
        "examples": len(asked),
        "clusters": len(set(clusters)),
        "unseen": len(test.examples) - len(asked),
        "control": how,
        "guess": float((1 / allowed.sum(1)).mean()) if config.what == "answer" else gold.count(guess) / len(gold),
        "layers": layers,
        "places": list(names),
        "best": {name: best[name] for name in ("layer", "place", "accuracy", "over", "over_low", "over_high")},
    }


def _numbers(at: dict[str, int], names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([at[name] for name in names], np.int64)


def _allowed(asked: Sequence[Example], at: dict[str, int], what: str) -> npt.NDArray[np.bool_]:
    """(examples, classes): which classes may be named. An answer is one of the question's own choices."""
    allowed = np.zeros((len(asked), len(at)), bool) if what == "answer" else np.ones((len(asked), len(at)), bool)
    if what == "answer":
        for row, example in enumerate(asked):
            allowed[row, [at[c.text] for c in example.choices if c.text in at]] = True
    return allowed


def _row(
    number: int,
    order: int,
    name: str,
    names: Sequence[str],
    right: dict[str, npt.NDArray[np.float64]],
    clusters: Sequence[str],
) -> dict[str, Any]:
    accuracy, over = (clustered_mean(values, clusters) for values in (right["own"], right["own"] - right["control"]))
    before = names[: order + 1]
    means = [
        what
        for what, marks in (("label", ("label",)), ("rationale", ("rationale_half", "rationale")))
        if any(m in before for m in marks)
    ]
    return {
        "layer": number,
        "place": name,
        "order": order,
        "reads": " and ".join(means) or "nothing",
        "accuracy": accuracy["mean"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "control": float(right["control"].mean()),
        "over": over["mean"],
        "over_low": over["low"],
        "over_high": over["high"],
    }
