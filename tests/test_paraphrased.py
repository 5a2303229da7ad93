"""Attributions between wordings: scores made by hand, the wordings of the generated task, and what cannot be asked."""

import numpy as np
import pandas as pd
import pytest

from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.report.paraphrases import title
from cotdistill.results.replicates import pooled
from cotdistill.saliency.paraphrased import Version, agreements, compared, units_of
from cotdistill.saliency.reading import read_example
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.generated.world_words import PEOPLE, QUESTIONS
from cotdistill.tasks.paraphrases import paraphrases
from tests.conftest import example


def asked(question):
    choices = (Choice("A", "moss"), Choice("B", "roots"))
    return Example(
        "w0-blick-food-0",
        question,
        choices,
        "A",
        "dev",
        "it is a climber .",
        metadata={"creature": "blick", "relation": "food"},
    )


@pytest.mark.parametrize("wording", range(3))
def test_a_question_has_its_other_wordings_and_keeps_everything_else(wording):
    one = asked(QUESTIONS["food"][wording].format(x="blick", p="maria"))
    found = paraphrases(one)
    assert [e.id for e in found] == [f"{one.id}~{n}" for n in range(3) if n != wording]
    assert len({e.question for e in found} | {one.question}) == 3 and all("blick" in e.question for e in found)
    assert all((e.choices, e.answer, e.rationale) == (one.choices, one.answer, one.rationale) for e in found)
    # The person is the question's own, so the same every time.
    assert paraphrases(one) == found and any(p in e.question for p in PEOPLE for e in found) == (wording != 0)


def test_units_are_content_words_with_the_sum_of_their_tokens(encoder):
    reading = read_example(encoder, example("e", "bird", "tree", "the bird has wings ."), PLACEMENTS.get("pre_cot"))
    scores = np.arange(len(reading), dtype=float)
    scores[reading.label_at :] = np.nan
    found = units_of(reading, scores, absolute=False)
    # No function words, no punctuation, no words of the template; the rationale's bird is another word than the question's.
    assert [unit[:2] for unit in found] == [
        ("question", "bird"), ("question", "lives"), ("choices", "tree"), ("choices", "pond"), ("choices", "house"), ("choices", "kennel"),
        ("rationale", "bird"), ("rationale", "wings"),
    ]  # fmt: skip
    assert found["choices", "tree", 0] == next(
        c for c in reading.columns("choices") if reading.pieces[c].strip() == "tree"
    )
    assert units_of(reading, -scores, absolute=True) == found
    behind = read_example(encoder, example("e", "bird", "tree", "the bird has wings ."), PLACEMENTS.get("post_cot"))
    nothing = np.full(len(behind), np.nan)
    nothing[behind.columns("question")] = 1.0
    assert {unit[0] for unit in units_of(behind, nothing, absolute=False)} == {"question"}


def version(creature, tree, pond, predicted=0, more=()):
    return Version(
        {("question", "blick", 0): creature, ("choices", "tree", 0): tree, ("choices", "pond", 0): pond, **dict(more)},
        predicted,
    )


def test_words_that_one_version_lacks_are_left_out():
    one, other = version(3.0, 2.0, 1.0, more={("question", "eat", 0): 9.0}.items()), version(1.0, 2.0, 3.0)
    x, y = compared(one.units, other.units)
    assert x.tolist() == [3.0, 2.0, 1.0] and y.tolist() == [1.0, 2.0, 3.0]


def test_agreement_is_the_mean_over_every_two_versions_by_hand():
    # Ranks of three words: the first two agree wholly, the third is turned about: +1, -1, -1.
    versions = [
        [version(3, 2, 1), version(30, 20, 10), version(1, 2, 3, predicted=1)],
        [version(1, 2, 3), version(5, 6, 7)],
    ]
    found = {(one.example, one.scope): one for one in agreements(["a", "b"], ["ca", "cb"], versions)}
    assert set(found) == {("a", "question"), ("b", "question"), ("a", "all"), ("b", "all")}
    first = found["a", "question"]
    assert first.rank == pytest.approx(-1 / 3) and first.units == 3 and first.same == pytest.approx(1 / 3)
    # Against the other question at the same places.
    assert (
        first.control == pytest.approx(-1.0)
        and found["b", "question"].rank == 1
        and found["b", "question"].control == pytest.approx(-1.0)
    )


def test_scores_that_do_not_vary_and_too_few_words_are_not_ranked():
    flat = [[version(1, 1, 1), version(1, 2, 3)]]
    assert agreements(["a"], ["c"], flat) == []
    two = [[Version({("question", "x", 0): 1.0, ("choices", "y", 0): 2.0}, 0)] * 2]
    assert agreements(["a"], ["c"], two) == []
    alone = agreements(["a", "b"], ["c", "c"], [[version(3, 2, 1)] * 2, [version(3, 2, 1)] * 2])
    assert [one.control for one in alone] == [None] * 4  # one cluster: there is no other question to hold against


def test_the_title_names_both_ends():
    def one(rank):
        return {"scopes": {"question": {"rank": {"mean": rank}}}}

    assert title({"pre-CoT": one(0.6), "label only": one(-0.1)}) == (
        "Pre-CoT: rank correlation 0.60 between wordings, on question and choices; −0.10 for label only"
    )
    assert title({"pre-CoT": one(0.6)}).endswith("on question and choices") and title({"a": {"scopes": {}}}).startswith(
        "No question"
    )


def told(ranks, names="abcd", clusters="xxyz"):
    return pd.DataFrame({"example": list(names), "cluster": list(clusters), "rank": ranks}).astype({"rank": "Float64"})


def test_replicates_are_pooled_over_the_questions_that_all_of_them_have():
    found = pooled([told([0.1, 0.2, 0.3, None]), told([0.3, 0.4, 0.8, 0.9])], "rank")
    assert found.points == pytest.approx((0.2, 0.5)) and (found.items, found.clusters) == (3, 2)
    assert (
        found.interval.mean == pytest.approx(0.35)
        and found.interval.speaks_of == "it speaks of new questions and new seeds"
    )
    (single,) = pooled([told([0.1, 0.2, 0.3, 0.4])], "rank").points
    assert single == pytest.approx(0.25)
    # Other worlds share no question: each replicate is in its own.
    apart = pooled([told([0.1, 0.2, 0.3, 0.4]), told([0.5, 0.5, 0.5, 0.5], names="efgh")], "rank")
    assert "new worlds" in apart.interval.speaks_of and apart.points == pytest.approx((0.25, 0.5))
    assert pooled([told([None] * 4)], "rank") is None
