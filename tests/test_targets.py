"""What is explained: the grammar of targets and the numbers they stand for."""

import numpy as np
import pytest
import torch

from cotdistill.errors import GrammarError, NotReadable, UnknownName, UsageError
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.saliency.probe import StudentQueries
from cotdistill.saliency.reading import read_example
from cotdistill.saliency.targets import parse_target, queries
from cotdistill.students.loading import new_built_in
from cotdistill.students.models import BuiltIn
from cotdistill.tasks.example import Choice, Example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)
MOVED = ("question", "choices", "rationale", "label")


@pytest.fixture
def model(words):
    return new_built_in(TINY, len(words), seed=3).eval()


@pytest.fixture
def longer():
    """A question whose choices have one, two and three tokens."""
    choices = (Choice("A", "tree"), Choice("B", "red pond"), Choice("C", "the red house"))
    return Example("l", "where lives it ?", choices, "B", "dev", "it has fins .", "teacher")


@torch.no_grad()
def likelihood(model, prompt, tokens):
    told = model(torch.tensor([[*prompt, *tokens]])).logits.log_softmax(-1)[0].double()
    return sum(float(told[len(prompt) - 1 + i, token]) for i, token in enumerate(tokens))


@pytest.mark.parametrize(
    "text", ["gold", "predicted", "label:B", "contrast", "contrast:B", "contrast:A-B", "span:3-5", "rationale"]
)
def test_a_target_reads_back_as_it_was_written(text):
    assert str(parse_target(text)) == text


def test_a_span_of_one_token_may_be_written_short():
    assert str(parse_target("span:7")) == "span:7-7"


@pytest.mark.parametrize(("text", "error"), [
    ("golden", UnknownName), ("", UnknownName), ("gold:A", GrammarError), ("label", GrammarError), ("label:", GrammarError),
    ("span", GrammarError), ("span:5-3", GrammarError), ("span:a-b", GrammarError), ("span:-1", GrammarError), ("contrast:", GrammarError),
    ("contrast:A-", GrammarError), ("contrast:-B", GrammarError), ("rationale:1", GrammarError),
])  # fmt: skip
def test_a_target_that_cannot_be_read_says_what_was_expected(text, error):
    with pytest.raises(error) as caught:
        parse_target(text)
    assert caught.value.hint


def value(model, encoder, example, placement, target, predicted=-1):
    reading = read_example(encoder, example, PLACEMENTS.get(placement))
    (query,) = queries(reading, parse_target(target), MOVED, predicted)
    return reading, float(StudentQueries(model, 0).values_of([query])[0])


def test_label_targets_equal_a_plain_forward_pass_of_each_choice(model, encoder, longer):
    reading, gold = value(model, encoder, longer, "pre_cot", "gold")
    prompt = reading.ids[: reading.label_at].tolist()
    a, b, c = (likelihood(model, prompt, choice) for choice in reading.choices)
    assert gold == pytest.approx(b, abs=1e-4)
    expected = {"label:C": c, "contrast": b - np.logaddexp(a, c), "contrast:A": b - a, "contrast:C-A": c - a}
    for target, wanted in expected.items():
        assert value(model, encoder, longer, "pre_cot", target)[1] == pytest.approx(wanted, abs=1e-4), target
    assert value(model, encoder, longer, "pre_cot", "predicted", predicted=2)[1] == pytest.approx(c, abs=1e-4)


def test_a_span_is_read_token_by_token_from_all_that_stands_before(model, encoder, longer):
    reading, got = value(model, encoder, longer, "post_cot", "span:5-8")
    ids = reading.ids.tolist()
    assert got == pytest.approx(likelihood(model, ids[:5], ids[5:9]), abs=1e-4)


def test_each_rationale_token_of_a_post_cot_sequence_is_explained_by_what_stands_before_it(encoder, longer):
    reading = read_example(encoder, longer, PLACEMENTS.get("post_cot"))
    found = queries(reading, parse_target("rationale"), MOVED)
    assert [query.target_at for query in found] == reading.columns("rationale").tolist()
    for query in found:
        assert query.length == query.target_at
        assert query.moves[reading.label_at] and not query.moves[reading.columns("label_cue")].any()


def test_a_sequence_without_a_rationale_has_none_to_explain(encoder, longer):
    reading = read_example(encoder, longer, PLACEMENTS.get("label_only"))
    with pytest.raises(NotReadable, match="no rationale"):
        queries(reading, parse_target("rationale"), MOVED)


@pytest.mark.parametrize(
    ("text", "error"),
    [("span:0-2", UsageError), ("span:3-900", UsageError), ("label:Z", UnknownName), ("contrast:A-A", UsageError)],
)
def test_a_target_that_the_example_does_not_have_is_refused(encoder, longer, text, error):
    with pytest.raises(error):
        queries(read_example(encoder, longer, PLACEMENTS.get("pre_cot")), parse_target(text), MOVED)


def test_choice_probabilities_follow_the_metric(model, encoder, longer):
    for metric in ("sum", "per_byte"):
        reading = read_example(encoder, longer, PLACEMENTS.get("label_only"), metric=metric)
        prompt = reading.ids[: reading.label_at].tolist()
        scores = np.array(
            [
                likelihood(model, prompt, c) / (len(t) if metric == "per_byte" else 1)
                for c, t in zip(reading.choices, reading.choice_texts, strict=True)
            ]
        )
        expected = np.exp(scores) / np.exp(scores).sum()
        assert StudentQueries(model, 0).choice_probabilities([reading])[0] == pytest.approx(expected, abs=1e-5)
