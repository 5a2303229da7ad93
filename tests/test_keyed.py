"""Key tokens and their controls, against rankings written by hand; and what a run reports of them."""

import dataclasses

import pytest

from cotdistill.config import RunConfig, TrainingConfig
from cotdistill.errors import DataError, GrammarError, NotFound
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.keyed import matches, number
from cotdistill.rationales.passage import units
from cotdistill.rationales.selection import Selection, read_selection, selection_bytes
from cotdistill.rationales.transforms import Draw
from cotdistill.students.preparation import prepare

# "it has wings . it flies so it lives in the tree ." scored by hand: flies, wings, tree; the second "it" ties with the third.
SCORES = {"e1": (0, 1, 8, 0, 3, 9, 1, 3, 2, 1, 1, 7, 0)}


def shown(encoder, examples, text, index=0, scores=None, seed=0):
    condition = parse(text)
    found = {name: Selection(name, "d", SCORES if scores is None else scores) for name in condition.selectors}
    corpus = encoder.corpus(examples, found)
    return [
        encoder.piece(t.id).strip() for t in condition.rewrite(corpus.passages[index], Draw.of(corpus, index, seed))
    ]


@pytest.mark.parametrize(("condition", "kept"), [
    ("key_tokens(k=3)", "wings flies tree"),
    ("key_tokens(k=3,order=score)", "flies wings tree"),
    ("key_tokens(k=4)", "wings it flies tree"),  # a tie goes to the earlier one
    ("key_tokens(k=0.25,unit=token)", "wings flies tree"),  # a quarter of 13, rounded
    ("key_tokens(k=3,rest=mask)", "_ _ wings _ _ flies _ _ _ _ _ tree _"),
    ("key_tokens(k=1,unit=sentence)", "it flies so it lives in the tree ."),
    ("key_tokens(k=99)", "it has wings . it flies so it lives in the tree ."),
    ("key_tokens(k=0)", ""),
    ("drop_key_tokens(k=3)", "it has . it so it lives in the ."),
    ("bottom_k(k=3)", "it . ."),
    ("strip_labels/key_tokens(k=3)", "wings it flies"),  # "tree" is a choice and gone before the ranking
])  # fmt: skip
def test_what_stays_follows_the_ranking(encoder, examples, condition, kept):
    assert shown(encoder, examples, f"post_cot/{condition}") == kept.split()


def test_masked_tokens_are_read_and_not_predicted(encoder, examples):
    condition = parse("post_cot/key_tokens(k=2,rest=mask)")
    corpus = encoder.corpus(examples, {"integrated_gradients": Selection("integrated_gradients", "d", SCORES)})
    passage = condition.rewrite(corpus.passages[0], Draw.of(corpus, 0, 0))
    assert [token.loss for token in passage] == [encoder.piece(t.id) != " _" for t in passage]
    assert sum(token.loss for token in passage) == 2


def test_a_rationale_scored_by_words_adds_up_its_tokens(encoder, examples):
    # "of the" read as one word: 2 + 2 ties with "red" and stands before it.
    corpus = encoder.corpus(examples, {"s": Selection("s", "d", {"e4": (1, 2, 2, 4, 0, 0)})})
    passage = tuple(dataclasses.replace(t, word=(0, 1, 1, 2, 3, 4)[i]) for i, t in enumerate(corpus.passages[3]))
    kept = parse("post_cot/key_tokens(selector=s,k=1)").rewrite(passage, Draw.of(corpus, 3, 0))
    assert [encoder.piece(t.id).strip() for t in kept] == ["of", "the"]


def test_matched_units_are_none_of_the_selected_of_the_same_class_and_nearest_in_frequency(encoder, examples):
    corpus = encoder.corpus(examples, {"integrated_gradients": Selection("integrated_gradients", "d", SCORES)})
    parts = units(corpus.passages[0], "word")
    texts = [part[0].text for part in parts]
    selected = [texts.index("wings"), texts.index("flies"), texts.index("tree")]
    found = matches(parts, selected, Draw.of(corpus, 0, 0))
    taken = [texts[match] for _, match, _ in found]
    # Of the content words only "lives" is left; the other two must take function words.
    assert taken[0] == "lives" and len({match for _, match, _ in found}) == 3
    assert not {match for _, match, _ in found} & set(selected)
    # wings stands once in all rationales, lives twice (e1, e5): log 2.
    assert found[0][2] == pytest.approx(0.6931, abs=1e-4)
    kept = shown(encoder, examples, "post_cot/matched_random_k(k=3)")
    assert len(kept) == 3 and not {"wings", "flies", "tree"} & set(kept)


def test_matching_ends_where_the_rationale_has_no_more(encoder, examples):
    assert len(shown(encoder, examples, "post_cot/matched_random_k(k=8)")) == 13 - 8
    assert shown(encoder, examples, "post_cot/matched_random_k(k=99)") == []


def test_human_marks_keep_what_was_marked_and_unmarked_rows_have_no_rationale(encoder, examples):
    marks = {"e1": (0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)}
    assert shown(encoder, examples, "post_cot/human(annotations=ann)", scores=marks) == ["wings", "flies"]
    assert shown(encoder, examples, "post_cot/human(annotations=ann)", index=1, scores=marks) == []


def test_the_number_of_units_is_k_or_a_share_and_never_more_than_there_are():
    assert [number(k, 10) for k in (0, 0.25, 0.5, 1, 3, 10, 11)] == [0, 2, 5, 1, 3, 10, 10]


def test_a_selection_of_another_text_or_on_foreign_tokens_is_refused(encoder, examples):
    with pytest.raises(DataError, match="another rationale"):
        shown(encoder, examples, "post_cot/key_tokens(k=3)", scores={"e1": (1.0, 2.0)})
    with pytest.raises(DataError, match="not the example's own"):
        shown(encoder, examples, "post_cot/random_tokens/key_tokens(k=3)")


def test_a_selection_that_is_not_made_yet_says_how_to_make_it(encoder, examples):
    condition = parse("post_cot/key_tokens(selector=tf_idf)")
    corpus = encoder.corpus(examples)
    with pytest.raises(NotFound, match="tf_idf") as caught:
        condition.rewrite(corpus.passages[0], Draw.of(corpus, 0, 0))
    assert "keytokens select" in caught.value.hint
    # One that stands for it gives texts of the right length.
    later = encoder.corpus(examples, {"tf_idf": Selection("tf_idf")})
    assert len(condition.rewrite(later.passages[0], Draw.of(later, 0, 0))) == 5


def test_score_order_makes_no_sense_for_masked_rests():
    with pytest.raises(GrammarError, match="order=score"):
        parse("post_cot/key_tokens(order=score,rest=mask)")


def test_a_condition_names_the_selectors_it_reads_those_of_its_budget_included():
    assert parse("post_cot/key_tokens(selector=tf_idf)").selectors == ["tf_idf"]
    assert parse("post_cot/human(annotations=lab)").selectors == ["human:lab"]
    assert parse("label_only@tokens=post_cot/key_tokens(selector=pmi)").selectors == ["pmi"]
    assert parse("post_cot/strip_labels/key_tokens@tokens=post_cot").label.startswith(
        "post-CoT, strip labels, 5 key words by integrated gradients"
    )


def test_a_selection_is_read_back_from_parquet(tmp_path):
    path = tmp_path / "abc.parquet"
    path.write_bytes(selection_bytes(SCORES))
    found = read_selection(path, "pmi")
    assert found.digest == "abc" and found.scores == {"e1": tuple(float(s) for s in SCORES["e1"])}
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be read"):
        read_selection(path, "pmi")


def test_a_run_reports_short_and_unselected_rows_and_how_well_controls_match(encoder, examples):
    def facts(condition):
        run = RunConfig(
            "t", "0" * 64, condition, source="t", sources=("t",), training=TrainingConfig(steps=2, batch_size=2)
        )
        found = {
            "integrated_gradients": Selection(
                "integrated_gradients", "d", {**SCORES, "e4": (1.0, 2.0, 3.0, 4.0, 5.0, 0.0)}
            )
        }
        return prepare(encoder, {"t": examples}, run, 128, found).facts

    keyed = facts("post_cot/key_tokens(k=8)")
    assert (keyed.unselected_rows, keyed.short_rows, keyed.match_gap) == (3, 1, None)
    matched = facts("post_cot/matched_random_k(k=4)")
    assert matched.match_gap > 0 and matched.unmatched_share == pytest.approx(
        2 / 8
    )  # e4 has six units: two of its four find no match


def test_a_run_without_selections_keeps_the_identity_it_always_had():
    run = RunConfig("t", "d", "post_cot")
    assert "selections" not in run.job_config()
    assert RunConfig.from_plain(run.job_config()) == run
    chosen = dataclasses.replace(run, selections={"pmi": "abc"})
    assert RunConfig.from_plain(chosen.job_config()) == chosen
