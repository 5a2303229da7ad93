"""Linear probes: places, fits and controls by hand, and a tiny real student."""

import numpy as np
import pytest
import torch

from cotdistill.errors import UnknownName
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.linear import Linear, control_classes, fit, hidden_states, hits, layers_read, places
from cotdistill.saliency.reading import read_example
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.studies.analyses.probe import class_names, class_of
from tests.conftest import example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)


def reading(encoder, placement, rationale="it has wings . it flies so it lives in the tree ."):
    return read_example(encoder, example("e1", "bird", "tree", rationale), PLACEMENTS.get(placement))


def test_places_come_in_the_order_in_which_each_student_reads_them(encoder):
    assert list(places(reading(encoder, "label_only"))) == ["question", "choices", "label_cue", "label"]
    before = ["question", "choices", "rationale_cue", "rationale_half", "rationale", "label_cue", "label"]
    assert list(places(reading(encoder, "pre_cot"))) == before
    found = reading(encoder, "post_cot")
    assert list(places(found)) == [
        "question",
        "choices",
        "label_cue",
        "label",
        "rationale_cue",
        "rationale_half",
        "rationale",
    ]
    assert places(found)["label"] == found.label_at and found.columns("rationale")[-1] == places(found)["rationale"]


def test_deep_students_are_read_at_thirteen_layers_with_both_ends():
    assert layers_read(2) == [0, 1, 2] and layers_read(12) == list(range(13))
    assert layers_read(24) == list(range(0, 25, 2)) and len(layers_read(31)) == 13 and layers_read(31)[-1] == 31


def test_states_are_those_of_each_sequence_alone(encoder, words):
    model = new_built_in(TINY, len(words), seed=3)
    rows = [reading(encoder, "post_cot"), reading(encoder, "post_cot", rationale="it has wings .")]
    layers, found = hidden_states(model, rows, ["choices", "rationale"], pad=0)
    assert layers == [0, 1, 2] and found.shape == (3, 2, 2, 16)
    for i, row in enumerate(rows):
        with torch.no_grad():
            alone = model.base_model(
                input_ids=torch.from_numpy(row.ids.astype(np.int64))[None], output_hidden_states=True
            ).hidden_states
        for layer in range(3):
            assert found[layer, 1, i] == pytest.approx(alone[layer][0, places(row)["rationale"]].numpy(), abs=1e-5)


def test_a_probe_finds_a_direction_and_leaves_a_constant_feature_alone():
    x = np.array([[-1, 5], [-3, 5], [2, 5], [4, 5]], np.float32)
    probe = fit(x, np.array([0, 0, 1, 1]), 2, penalty=0.01)
    assert np.abs(probe.weights[1]).max() < 1e-6 and probe.weights[0, 1] > 0 > probe.weights[0, 0]
    assert probe.scores(np.array([[-2, 9], [3, 9]], np.float32)).argmax(1).tolist() == [0, 1]


def test_one_weight_is_the_one_that_calculus_gives():
    # Two rows at -1 and 1, one of each class: the weights are (-w, w), and the derivative of log(1 + exp(-2w)) + penalty w² is zero at
    # w = 1 / (1 + exp(2w)) / penalty.
    probe = fit(np.array([[-1], [1]], np.float32), np.array([0, 1]), 2, penalty=0.1)
    w = float(probe.weights[0, 1])
    assert probe.weights[0, 0] == pytest.approx(-w, abs=1e-5) and w == pytest.approx(
        1 / (1 + np.exp(2 * w)) / 0.1, rel=1e-3
    )


def test_hits_count_allowed_classes_only_and_share_ties():
    probe = Linear(
        np.zeros(3, np.float32), np.ones(3, np.float32), np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    )
    states = np.array([[3, 2, 1], [3, 2, 1], [1, 1, 0]], np.float32)
    allowed = np.array([[True, True, True], [False, True, True], [True, True, True]])
    assert hits(probe, states, np.array([1, 1, 0]), allowed).tolist() == [0.0, 1.0, 0.5]


def test_a_control_deals_classes_over_clusters_where_each_has_one_else_over_rows():
    clusters = ["a", "a", "b", "b", "c", "c"]
    dealt, how = control_classes(["x", "x", "y", "y", "z", "z"], clusters, seed=1)
    assert how == "clusters" and sorted(dealt) == ["x", "x", "y", "y", "z", "z"] and dealt[::2] == dealt[1::2]
    dealt, how = control_classes(["x", "y", "y", "y", "z", "z"], clusters, seed=1)
    assert how == "rows" and sorted(dealt) == ["x", "y", "y", "y", "z", "z"]
    assert control_classes(["x", "y"], ["a", "b"], seed=0)[1] == "rows"


def test_a_class_is_the_answer_its_place_or_a_key_of_the_metadata():
    one = example("e", "bird", "tree", None, metadata={"group": "birds", "id": "1"})
    assert (
        class_of(one, "answer") == one.answer_text
        and class_of(one, "place") == one.answer
        and class_of(one, "group") == "birds"
    )
    with pytest.raises(UnknownName, match="colour"):
        class_of(one, "colour")
    rows = [
        example(f"e{i}", "bird", "tree", None, metadata={"group": "birds" if i % 2 else "fish", "number": i, "same": 1})
        for i in range(8)
    ]
    assert class_names(rows) == ["answer", "place", "group"]
