"""Accuracy on parts of the test questions, and the paired difference there."""

import numpy as np
import pytest

from cotdistill.results.prediction_matrix import PredictionMatrix
from cotdistill.results.slices import slices


def test_each_kind_of_question_has_its_accuracy_and_its_difference_to_the_baseline():
    # Two conditions, two replicates, eight questions; the second condition is better on the even ones alone.
    base = np.array([[1, 0, 1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1, 1, 0]])
    better = base.copy()
    better[:, ::2] = 1
    right = np.stack([base, better]).astype(np.int8)
    none = np.zeros(right.shape, np.float32)
    items = tuple(f"q{i}" for i in range(8))
    answers = PredictionMatrix(
        items=items, clusters=items, conditions=("label_only", "post_cot"), replicates=(0, 1), right=right, gold=none,
        confidence=none, margin=none,
    )  # fmt: skip
    metadata = [{"kind": "even" if i % 2 == 0 else "odd"} for i in range(8)]
    found = {
        (one.value, one.condition): one for one in slices(answers, metadata, "kind", answers.conditions, "label_only")
    }
    even = found["even", "post_cot"]
    assert even.interval.mean == 1 and (even.items, even.replicates) == (4, 2)
    # Of the even questions label only has 2 and 2 of 4 right.
    assert even.difference.mean == pytest.approx(0.5) and found["even", "label_only"].difference is None
    assert found["odd", "post_cot"].difference.mean == 0
    assert found["odd", "post_cot"].difference.low < 0 < found["odd", "post_cot"].difference.high
