"""Averages over many attributions, from a token table written by hand."""

import numpy as np
import pandas as pd
import pytest

from cotdistill.saliency import aggregates
from cotdistill.saliency.tables import TOKEN_COLUMNS

# example, cluster, segment, word, sentence, text, score
ROWS = (
    ("a", "x", "question", 0, 0, " who", 1.0), ("a", "x", "question", 1, 0, " flies", -3.0), ("a", "x", "label_cue", 2, 1, " :", None),
    ("a", "x", "rationale", 3, 2, " a", 1.0), ("a", "x", "rationale", 4, 2, " cl", 2.0), ("a", "x", "rationale", 4, 2, "imber", 1.0),
    ("b", "y", "question", 0, 0, " who", 4.0), ("b", "y", "rationale", 1, 1, " climber", 6.0), ("b", "y", "rationale", 2, 1, " so", 0.0),
)  # fmt: skip


@pytest.fixture
def tokens():
    frame = pd.DataFrame(ROWS, columns=["example", "cluster", "segment", "word", "sentence", "text", "score"])
    words = {" cl": "climber", "imber": "climber"}
    frame = frame.assign(
        target_at=-1, column=frame.groupby("example").cumcount(), token=0, origin=-1,
        word_text=[words.get(t, t.strip()) for t in frame["text"]],
        word_class=["function" if t in (" who", " a", " so") else "" if t == " :" else "content" for t in frame["text"]],
    )  # fmt: skip
    return frame[list(TOKEN_COLUMNS)]


def by_name(found):
    return {m.name: m for m in found}


def test_tokens_add_up_to_words_and_sentences(tokens):
    words = aggregates.words(tokens)
    assert words[words["word_text"] == "climber"][["example", "text", "score"]].values.tolist() == [
        ["a", " climber", 3.0],
        ["b", " climber", 6.0],
    ]
    assert aggregates.sentences(tokens)["score"].tolist() == [-2.0, 4.0, 4.0, 6.0]


def test_shares_of_absolute_mass_add_up_to_one(tokens):
    found = by_name(aggregates.by_span(tokens))
    # a: 4 of 8 each; b: 4 and 6 of 10.
    assert found["question"].mean == pytest.approx((0.5 + 0.4) / 2) and found["rationale"].mean == pytest.approx(
        (0.5 + 0.6) / 2
    )
    assert (found["rationale"].examples, found["rationale"].clusters, found["rationale"].tokens) == (2, 2, 5)
    assert found["rationale"].low < found["rationale"].mean < found["rationale"].high
    assert sum(m.mean for m in found.values()) == pytest.approx(1)


def test_cues_that_bear_scores_have_their_share(tokens):
    found = by_name(aggregates.by_span(tokens.fillna({"score": 2.0})))
    # a: 2 of 10; b has none.
    assert found["cues"].mean == pytest.approx(0.1) and sum(m.mean for m in found.values()) == pytest.approx(1)
    assert "cues" not in by_name(aggregates.by_span(tokens))


def test_scores_of_zero_have_no_shares(tokens):
    nothing = tokens.assign(score=tokens["score"] * 0)
    assert (
        aggregates.by_span(nothing) == []
        and aggregates.per_token(nothing) == []
        and aggregates.question_against_rationale(nothing) is None
    )


def test_the_order_of_the_rows_does_not_matter(tokens):
    mixed = tokens.sample(frac=1, random_state=1)
    for mean in (aggregates.by_span, aggregates.per_token, aggregates.by_place, aggregates.by_class):
        assert mean(mixed) == mean(tokens)
    assert aggregates.words(mixed).equals(aggregates.words(tokens))


def test_tokens_are_measured_against_the_mean_of_their_example(tokens):
    found = by_name(aggregates.per_token(tokens))
    # a: mean 8 / 5; question 4 / 2, rationale 4 / 3. b: mean 10 / 3; question 4, rationale 3.
    assert found["question"].mean == pytest.approx((2 / 1.6 + 4 / (10 / 3)) / 2)
    classes = by_name(aggregates.by_class(tokens))
    assert classes["content"].mean == pytest.approx(((3 + 2 + 1) / 3 / 1.6 + 6 / (10 / 3)) / 2)


def test_places_are_tenths_of_the_rationale(tokens):
    found = by_name(aggregates.by_place(tokens))
    # a has three tokens (tenths 0, 3, 6), b two (0 and 5); means 4 / 3 and 3.
    assert set(found) == {"0", "3", "5", "6"} and found["0"].mean == pytest.approx((1 / (4 / 3) + 6 / 3) / 2)
    assert found["5"].mean == 0 and found["3"].low is None
    assert aggregates.by_place(tokens, "label") == []


def test_the_rationales_share_is_missing_where_none_is_readable(tokens):
    assert aggregates.question_against_rationale(tokens).mean == pytest.approx((0.5 + 0.6) / 2)
    assert aggregates.question_against_rationale(tokens[tokens["segment"] != "rationale"]) is None
    # An example without a rationale is left out; it does not count as one that rests on nothing of it.
    alone = aggregates.question_against_rationale(
        tokens[(tokens["segment"] != "rationale") | (tokens["example"] == "b")]
    )
    assert alone.mean == pytest.approx(0.6) and (alone.examples, alone.clusters, alone.low) == (1, 1, None)


def test_the_top_words_are_those_scored_often_enough(tokens, monkeypatch):
    assert aggregates.top_words(tokens) == []
    monkeypatch.setattr(aggregates, "LEAST", 2)
    (word,) = aggregates.top_words(tokens)
    assert (word.name, word.mean, word.tokens) == ("climber", 4.5, 2)
    monkeypatch.setattr(aggregates, "LEAST", 1)
    assert [m.name for m in aggregates.top_words(tokens, "question", absolute=True)] == ["flies", "who"]
    assert [m.name for m in aggregates.top_words(tokens, "question")] == ["who", "flies"]


def test_scores_are_handed_on_by_span_with_gaps_where_nothing_is_read(tokens):
    found = aggregates.scores_by_example(tokens.sample(frac=1, random_state=0))
    assert list(found["b", ""]) == [("question", " who"), ("rationale", " climber", " so")]
    assert found["b", ""]["rationale", " climber", " so"].tolist() == [6.0, 0.0]
    assert (
        found["a", ""]["question", " who", " flies"].tolist() == [1.0, -3.0]
        and np.isnan(found["a", ""]["label_cue", " :"]).all()
    )


def test_an_explained_rationale_token_is_the_same_wherever_its_sequence_puts_it(tokens):
    rationale = tokens[tokens["example"] == "b"].assign(origin=[-1, 0, 1], target_at=1)
    behind = rationale.assign(column=rationale["column"] + 2, target_at=3)
    assert (
        list(aggregates.scores_by_example(rationale))
        == list(aggregates.scores_by_example(behind))
        == [("b", "0  climber")]
    )
