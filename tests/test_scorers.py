"""Other scorers of a finished student's choices: equal to plain sums of log-softmax, to the record of the run, and to means made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cotdistill.execution.jobs.scorers import table
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.report.scorers import title
from cotdistill.results import scorers
from cotdistill.results.scorers import ScorerCell
from cotdistill.statistics.intervals import Interval
from cotdistill.students.loading import new_built_in
from cotdistill.students.marginal import Marginal, marginals
from cotdistill.students.models import BuiltIn
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import asked, score
from cotdistill.students.scoring.full_text import likelihoods
from cotdistill.students.scoring.generation import Lots
from cotdistill.students.scoring.scorers import SCORERS, Likelihoods, scores
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Choice, Example

TINY = BuiltIn("tiny", "for tests", layers=2, width=16, heads=2, positions=96)


def rows():
    """Choices of one and of several tokens."""
    choices = tuple(
        Choice(label, text) for label, text in zip("ABC", ("tree", "the red house", "pond water"), strict=True)
    )
    asked = ("where does the bird live ?".replace("live", "lives"), "what does the cat in the house ?")
    return [Example(f"e{i}", question, choices, "AB"[i], "test", None) for i, question in enumerate(asked)]


def plainly(model, before, after):
    """The sum of log p(after | before), a pass for the whole row and a loop over its tokens."""
    ids = [*before, *after]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    return sum(float(torch.log_softmax(logits[at - 1], -1)[ids[at]]) for at in range(len(before), len(ids)))


def test_every_scorer_is_a_plain_sum_of_log_softmax(encoder, words):
    model = new_built_in(TINY, len(words), seed=5).eval()
    examples = rows()
    prompts = [encoder.prompt(e, ("question", "choices", "label_cue")) for e in examples]
    told = []
    found = likelihoods(Forward(model), encoder, examples, prompts, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    cue = encoder.label_cue
    for example, prompt, one in zip(examples, prompts, found, strict=True):
        ids = [[t.id for t in encoder.read(c.text)] for c in example.choices]
        question = [t.id for t in encoder.parts(example, ("question",), (), ())[-1].tokens]
        text = [plainly(model, prompt, each) for each in ids]
        neutral = [plainly(model, cue, each) for each in ids]
        expected = {
            "label": [v / len(c.text) for v, c in zip(text, example.choices, strict=True)],
            "text": text,
            "per_token": [v / n for v, n in zip(text, (1, 3, 2), strict=True)],
            "per_byte": [v / n for v, n in zip(text, (4, 13, 10), strict=True)],
            "pmi": [a - b for a, b in zip(text, neutral, strict=True)],
            "question": [plainly(model, [*cue, *each], question) for each in ids],
        }
        assert list(expected) == [scorer.name for scorer in SCORERS if not scorer.sampled]
        for name, values in expected.items():
            assert scores(one, name, "per_byte") == pytest.approx(values, abs=1e-4), name
        assert scores(one, "label", "sum") == pytest.approx(text, abs=1e-4)


def test_letters_are_judged_by_the_letter_and_scored_by_the_text(encoder, words):
    lettered = Encoder(encoder.path, replace(encoder.template, target="letter", choice="{label} {text}"))
    model = new_built_in(TINY, len(words), seed=5).eval()
    examples = [
        replace(
            e,
            choices=tuple(Choice(label, c.text) for label, c in zip(("a", "an", "one"), e.choices, strict=True)),
            answer="a",
        )
        for e in rows()
    ]
    prompts, _ = asked(Forward(model), lettered, examples, PLACEMENTS.get("label_only"), "direct", 8)
    found = likelihoods(Forward(model), lettered, examples, prompts)
    judged = score(model, lettered, examples, PLACEMENTS.get("label_only"), "direct", metric="sum", limit=8)
    for example, prompt, one, prediction in zip(examples, prompts, found, judged, strict=True):
        assert list(one.label) == prediction.sums
        assert one.text == pytest.approx(
            [plainly(model, prompt, [t.id for t in lettered.read(c.text)]) for c in example.choices], abs=1e-4
        )
    frame = table(examples, found, "sum").set_index(["scorer", "example"])
    assert [frame.loc[("label", p.id), "predicted"] for p in judged] == [p.predicted for p in judged] and frame.loc[
        "label"
    ]["agrees"].all()


def one(label, text, neutral, question):
    n = len(label)
    return Likelihoods(
        *(np.array(v, float) for v in (label, text, neutral, question, [1, 2, 4][:n], [4, 6, 2][:n], [1] * n))
    )


def test_answers_probabilities_and_agreement_by_hand():
    example = rows()[0]
    found = one([-1, -2, -3], [-2, -3, -8], [-1, -4, -9], [-10, -9, -9.5])
    frame = table([example], [found], "sum").set_index("scorer")
    assert frame["predicted"].to_dict() == {
        "label": 0,
        "text": 0,
        "per_token": 1,
        "per_byte": 0,
        "pmi": 1,
        "question": 1,
    }
    assert frame["correct"].tolist() == frame["agrees"].tolist() == [True, True, False, True, False, False]
    assert frame.loc["pmi", "margin"] == -2
    # PMI: -2+1, -3+4, -8+9.
    weights = np.exp([-1, 1, 1])
    assert frame.loc["pmi", "p_gold"] == pytest.approx(weights[0] / weights.sum(), rel=1e-5)


def test_the_marginal_is_the_log_of_a_mean_and_its_error_that_of_the_mean():
    made = Marginal(np.log([0.2, 0.4]), np.array([[0.1, 0.9], [0.7, 0.3]]))
    assert made.log_likelihood == pytest.approx(math.log(0.3))
    # 0.2 and 0.4: standard deviation 0.1414 over the root of 2, over their mean.
    assert made.standard_error == pytest.approx(math.sqrt(0.02 / 2) / 0.3)
    assert (
        np.exp(made.choices) == pytest.approx([0.4, 0.6])
        and Marginal(np.log([0.2]), np.array([[0.5, 0.5]])).standard_error is None
    )
    example, found = rows()[0], one([-1, -2, -3], [-2, -3, -8], [-1, -4, -9], [-10, -9, -9.5])
    frame = table([example], [replace(found, marginal=np.log([0.2, 0.5, 0.3]))], "sum").set_index("scorer")
    assert (frame.loc["marginal", "predicted"], frame.loc["marginal", "correct"]) == (1, False)
    assert frame.loc["marginal", "p_gold"] == pytest.approx(0.2) and frame.loc["marginal", "margin"] == pytest.approx(
        math.log(0.2 / 0.5)
    )


def test_a_draw_is_read_off_the_cumulated_probabilities():
    class Said:
        def __init__(self, *numbers):
            self.numbers = list(numbers)

        def random(self):
            return self.numbers.pop(0)

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.0, 0.9]]))
    assert Lots([Said(0.49), Said(0.51), Said(0.05)], 1.0).draw(logits, [0, 1, 2]) == [0, 1, 0]
    # At temperature 1/2 probabilities are squared: 25, 9 and 4 of 38.
    assert Lots([Said(0.65), Said(0.66)], 0.5).draw(logits[:2], [0, 1]) == [0, 1]


@pytest.mark.parametrize("cached", [True, False])
def test_the_mean_over_many_draws_is_the_sum_over_every_rationale(cached, encoder, words, monkeypatch):
    """A rationale of at most one token: every one there is, times its probability."""
    model = new_built_in(TINY, len(words), seed=5).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 3.0  # so that rationales matter
    reader, placement, example = Forward(model), PLACEMENTS.get("pre_cot"), rows()[0]
    if not cached:
        monkeypatch.setattr(reader, "abilities", replace(reader.abilities, left_padding=False))
    start, cue = encoder.prompt(example, placement.prompt("own")), encoder.label_cue
    answer = encoder.targets(example)[example.gold]

    def after(ids):
        with torch.no_grad():
            return torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1].double(), -1).numpy()

    first = after(start)
    # The end token, and the cue itself, leave an empty rationale.
    ended = first[encoder.specials.eos] + first[cue[0]] * after([*start, cue[0]])[cue[1]]
    exact = ended * math.exp(plainly(model, [*start, *cue], answer))
    for token, share in enumerate(first):
        if token != encoder.specials.eos:
            whole = share * (1 - after([*start, token])[cue[1]] if token == cue[0] else 1.0)
            exact += whole * math.exp(plainly(model, [*start, token, *cue], answer))
    many = [replace(example, id=f"q{number}") for number in range(1500)]
    made = marginals(reader, encoder, many, placement, samples=1, seed=1, limit=1, metric="sum")
    found = np.exp([one.log_likelihood for one in made])
    assert found.std() > 0.05 * found.mean() and abs(found.mean() - exact) < 3.5 * found.std() / math.sqrt(len(found))
    again = marginals(reader, encoder, many[:3], placement, samples=1, seed=1, limit=1, metric="sum")
    assert [one.log_likelihood for one in again] == pytest.approx([one.log_likelihood for one in made[:3]], abs=1e-5)


def cell(condition, scorer, points, over=None):
    mean = float(np.mean(points))
    told = Interval(mean, None, None, None, None, "", "new questions")
    spread = float(np.std(points, ddof=1)) if len(points) > 1 else None
    gain = None if over is None else Interval(over, None, None, None, None, "", "")
    return ScorerCell(condition, condition, scorer, "direct", told, gain, told, tuple(points), spread, 10, 5, 2)


def test_variance_over_restarts_is_pooled_over_conditions():
    cells = [cell("a", "label", (0.5, 0.7)), cell("b", "label", (0.4, 0.4, 0.7)), cell("c", "label", (0.2,))]
    (row,) = scorers.by_scorer(cells)
    # Squared deviations: 0.02 with one degree of freedom, 0.06 with two.
    assert (
        row.freedom == 3
        and row.spread == pytest.approx(math.sqrt(0.08 / 3))
        and row.spread_low < row.spread < row.spread_high
    )
    assert row.accuracy == pytest.approx((0.6 + 0.5 + 0.2) / 3) and row.conditions == 3
    (alone,) = scorers.by_scorer([cells[2]])
    assert alone.spread is None and alone.freedom == 0


def test_a_title_says_the_largest_gain_else_the_largest_loss():
    assert title([cell("a", "label", (0.5,))]) == "no student has been scored anew yet"
    assert title([cell("a", "text", (0.5,), 0.0)]) == "every scorer gives the accuracy that the runs are judged by"
    lost = cell("b", "pmi", (0.5,), -0.2)
    assert title([cell("a", "text", (0.5,), -0.1), lost]).endswith("under PMI: b, −20.0 points")
    # A gain counts where its interval is above zero.
    gained = cell("a", "text", (0.5,), 0.1)
    assert "is seen to do better" in title([gained, lost])
    sure = replace(gained, over_label=Interval(0.1, 0.05, 0.15, None, None, "", ""))
    assert title([sure, lost]) == "A answers 50.0 % under full text, +10.0 points on as judged"
