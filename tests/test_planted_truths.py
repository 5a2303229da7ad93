"""Studies whose truth is known, through `runs import` to the printed word: what the verdicts may say, and what they may not.

Answers are made by rule, not drawn: of the questions in order of difficulty a condition gets the first so many right in a
replicate, and a few more or less from replicate to replicate. So every expectation can be checked by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cotdistill.cli.study_text import report
from cotdistill.errors import BadRows, UsageError
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.report.export import extended_told
from cotdistill.results.findings import findings
from cotdistill.results.rivals import rivals
from cotdistill.store.store import Store

SHUFFLED, RANDOM = "post_cot/shuffle(unit=token)", "post_cot/random_tokens"
KEY, CONTROL = "post_cot/key_tokens(selector={},k={})", "post_cot/matched_random_k(selector={},k={})"
# Accuracies move by so many questions of 200 from replicate to replicate.
WOBBLE = (0, 1, -1, 2, -2, 1, 0, -1)
ITEMS = 200


def write(
    path: Path,
    accuracies: dict[str, Any],
    replicates: int = 5,
    *,
    items: int = ITEMS,
    dev: dict[str, float] | None = None,
    nested: bool = False,
    without: tuple[tuple[str, int], ...] = (),
) -> Path:
    """A file of answers. accuracies: of each condition a share, or one per replicate. dev: shares on dev, None for none."""
    rows = []
    for place, (condition, level) in enumerate(accuracies.items()):
        for replicate in range(replicates):
            if (condition, replicate) in without:
                continue
            levels = level if isinstance(level, (list, tuple)) else [level] * replicates
            wobble = 0 if isinstance(level, (list, tuple)) else WOBBLE[(replicate + place) % len(WOBBLE)]
            right = min(items, max(0, round(levels[replicate] * items) + wobble))
            prefix = f"w{replicate}-" if nested else ""
            # Two hard questions change places, so that replicates differ in which they get right, too.
            for i in range(items):
                good = (i + 7 * ((replicate + place) % 3)) % items < right
                rows.append(_row(f"{prefix}q{i:03}", condition, replicate, good, "test"))
            for i in range(100 if dev else 0):
                good = i < round(100 * dev[condition]) + (replicate * (1 + place % 2)) % 3
                rows.append(_row(f"{prefix}d{i:03}", condition, replicate, good, "dev"))
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _row(item: str, condition: str, replicate: int, good: bool, split: str) -> dict[str, Any]:
    # The right answer alternates with the question, so nobody is a constant answerer by being right.
    answer = int(item[-3:]) % 2
    p = [0.9, 0.1] if (answer == 0) == good else [0.1, 0.9]
    return {
        "item": item,
        "condition": condition,
        "replicate": replicate,
        "answer": answer,
        "probabilities": p,
        "split": split,
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def plant(store: Store, tmp_path: Path):
    """Plants a study, and gives its findings."""

    def planted(accuracies: dict[str, Any], *arguments: Any, margin: float | None = None, **how: Any) -> dict[str, Any]:
        path = write(tmp_path / "answers.jsonl", accuracies, *arguments, **how)
        import_answers(store, path, "planted")
        return findings(store, "planted", margin)

    return planted


def words(document: dict[str, Any]) -> list[str]:
    return [claim["word"] for claim in document["claims"]]


FIRST = ("label_only", "pre_cot", "post_cot")
SECOND = ("label_only", RANDOM, SHUFFLED, "post_cot")
CANNOT = "cannot be asked here"


@pytest.mark.parametrize(("name", "levels", "replicates", "word"), [
    ("no effect", (0.6, 0.6, 0.6), 5, "not shown"),
    ("beats both", (0.5, 0.6, 0.8), 5, "holds"),
    ("worse than one of both", (0.5, 0.9, 0.8), 5, "fails"),
    ("worse than both", (0.7, 0.8, 0.5), 5, "fails"),
    ("four replicates are a demonstration", (0.5, 0.6, 0.8), 4, "holds (demonstration)"),
    ("a refutation by three, too", (0.5, 0.9, 0.8), 3, "fails (demonstration)"),
    ("nothing shown by two", (0.6, 0.6, 0.6), 2, "not shown (demonstration)"),
    ("one replicate shows one seed", (0.5, 0.6, 0.8), 1, "this seed only"),
    ("also where it refutes", (0.5, 0.9, 0.8), 1, "this seed only"),
    ("everybody at the ceiling", ([1.0] * 5, [1.0] * 5, [1.0] * 5), 5, "not shown"),
])  # fmt: skip
def test_the_first_claim_says_what_was_planted(plant, name, levels, replicates, word):
    assert words(plant(dict(zip(FIRST, levels, strict=True)), replicates))[0] == word, name


DEV = dict(zip(SECOND, (0.4, 0.4, 0.8, 0.8), strict=True))


@pytest.mark.parametrize(("name", "levels", "replicates", "dev", "margin", "word"), [
    ("as good as intact", (0.4, 0.41, 0.82, 0.8), 5, DEV, None, "holds"),
    ("a tie within a chosen margin", (0.4, 0.41, 0.79, 0.8), 5, None, 5.0, "holds"),
    ("better than intact needs no margin", (0.4, 0.41, 0.9, 0.8), 5, None, None, "holds"),
    ("half of the gain is lost", (0.4, 0.41, 0.6, 0.8), 5, DEV, None, "fails"),
    ("shuffled below label only, though no margin can be had", (0.6, 0.6, 0.4, 0.8), 5, None, None, "fails"),
    ("without dev and without a margin", (0.4, 0.41, 0.79, 0.8), 5, None, None, CANNOT),
    ("intact gains nothing", (0.6, 0.6, 0.6, 0.6), 5, DEV, None, CANNOT),
    ("one replicate has no margin", (0.4, 0.41, 0.79, 0.8), 1, DEV, None, CANNOT),
])  # fmt: skip
def test_the_second_claim_says_what_was_planted(plant, name, levels, replicates, dev, margin, word):
    document = plant(dict(zip(SECOND, levels, strict=True)), replicates, dev=dev, margin=margin)
    assert words(document)[1] == word, (name, document["claims"][1]["told"])


def test_a_claim_that_the_adjustment_alone_keeps_open_says_so(plant):
    """Claim 1 fails with p 1, so Holm doubles the p of claim 2: .04 to .08, with every interval on its right side."""
    levels = {**dict(zip(SECOND, (0.4, 0.41, 0.815, 0.8), strict=True)), "pre_cot": 0.95}
    claim = plant(levels, dev={**DEV, "pre_cot": 0.9})["claims"][1]
    last = claim["comparisons"][-1]
    assert claim["word"] == "not shown" and last["word"] == "no worse" and last["low"] > -2.0
    assert claim["p"] == pytest.approx(2 * last["p"])
    assert claim["change"] == (
        "Each comparison passes by itself, the weakest with p .040 (against post-CoT); adjusted for 2 claims planned"
        " together (Holm), p is .079."
    )


def test_a_larger_difference_never_shows_less(store, tmp_path):
    """What is better than the whole rationale is no worse with a smaller p than what is merely no worse."""
    ps = []
    for level in (0.815, 0.83, 0.84, 0.85, 0.87):
        path = write(tmp_path / f"{level}.jsonl", dict(zip(SECOND, (0.4, 0.41, level, 0.8), strict=True)), dev=DEV)
        import_answers(store, path, f"planted {level}")
        last = findings(store, f"planted {level}")["claims"][1]["comparisons"][-1]
        ps.append((last["word"], last["p"]))
    assert {word for word, _ in ps} == {"no worse", "better"}
    assert [p for _, p in ps] == sorted((p for _, p in ps), reverse=True)


@pytest.mark.parametrize(("replicates", "dev", "levels", "reason"), [
    (1, DEV, (0.4, 0.41, 0.79, 0.8), "needs two replicates"), (5, None, (0.4, 0.41, 0.79, 0.8), "No accuracy on dev is recorded"),
    (5, DEV, (0.6, 0.6, 0.6, 0.6), "not shown to be better than label only on test"),
    (5, dict.fromkeys(SECOND, 0.5), (0.4, 0.41, 0.79, 0.8), "better than label only on dev"),
])  # fmt: skip
def test_what_cannot_be_asked_names_the_true_reason_and_what_to_do(plant, replicates, dev, levels, reason):
    told = plant(dict(zip(SECOND, levels, strict=True)), replicates, dev=dev)["claims"][1]["told"]
    assert reason in told and ("--margin" in told or "replicates" in told)


def test_key_tokens_are_judged_against_the_control_of_their_own_selection(plant):
    strange = {"label_only": 0.4, "post_cot": 0.7, KEY.format("tf_idf", 1): 0.8, CONTROL.format("pmi", 20): 0.5}
    claim = plant(strange)["claims"][2]
    assert claim["word"] == CANNOT and "This study has no" in claim["told"] and "matched" in claim["told"]
    own = plant({**strange, CONTROL.format("tf_idf", 1): 0.795})["claims"][2]
    assert own["word"] == "not shown" and "selector=tf_idf,k=1.0" in own["comparisons"][1]["second"]


def test_the_best_of_a_sweep_is_no_planned_comparison(plant):
    sweep = {KEY.format(selector, k): 0.5 + k / 50 for selector in ("tf_idf", "pmi") for k in (1, 5, 10)}
    claim = plant({"label_only": 0.4, "post_cot": 0.6, **sweep})["claims"][2]
    assert claim["word"] == CANNOT and "6 key-token conditions" in claim["told"] and "primary" in claim["told"]
    # Of a sweep with one control, the condition that it controls is the planned one.
    study = {"label_only": 0.4, "post_cot": 0.7, **sweep, CONTROL.format("pmi", 5): 0.41}
    controlled = plant(study, margin=2.0)["claims"][2]
    assert "selector=pmi,k=5.0" in controlled["comparisons"][0]["first"] and controlled["word"] == "fails"


def test_of_an_imported_sweep_the_condition_named_primary_is_judged(store, tmp_path):
    sweep = {KEY.format("tf_idf", k): level for k, level in ((1, 0.9), (5, 0.5), (10, 0.6))}
    controls = {CONTROL.format("tf_idf", k): 0.55 for k in (1, 5)}
    path = write(tmp_path / "sweep.jsonl", {"label_only": 0.4, "post_cot": 0.7, **sweep, **controls})
    unnamed = import_answers(store, path, "unnamed", dry_run=True)
    assert any("3 key-token conditions and none is named primary: claim 3 is not judged" in n for n in unnamed.notes)
    named = import_answers(store, path, "named", primary="post_cot/key_tokens(selector=tf_idf,k=5)")
    assert not any("primary" in note for note in named.notes)
    claim = findings(store, "named", 2.0)["claims"][2]
    # 5 words: 10 points above label only, 5 below its own control, 20 below the whole rationale.
    assert "k=5.0" in claim["comparisons"][0]["first"] and claim["word"] == "fails"
    assert findings(store, "named", 2.0)["extended"] is None
    import_answers(store, path, "again", primary=KEY.format("tf_idf", 1))
    later = findings(store, "again", 2.0)
    assert later["claims"][2]["word"] == "holds"
    assert "had ended in study named" in extended_told(later)


def test_a_primary_condition_that_the_file_lacks_is_refused(store, tmp_path):
    path = write(tmp_path / "sweep.jsonl", {"label_only": 0.4, KEY.format("tf_idf", 1): 0.5, KEY.format("pmi", 1): 0.6})
    with pytest.raises(UsageError, match="is no key-token condition of the file") as refusal:
        import_answers(store, path, "ours", primary="label_only")
    assert KEY.format("pmi", 1) in refusal.value.hint
    plain = write(tmp_path / "plain.jsonl", {"label_only": 0.4, "post_cot": 0.5})
    with pytest.raises(UsageError, match="no key-token condition") as refusal:
        import_answers(store, plain, "ours", primary="post_cot")
    assert "leave --primary out" in refusal.value.hint


def test_worlds_of_their_own_are_the_unit(plant):
    document = plant(dict(zip(FIRST, (0.5, 0.6, 0.8), strict=True)), nested=True)
    first = document["claims"][0]
    assert first["word"] == "holds" and "of each of 5 worlds" in first["told"]
    assert first["comparisons"][0]["speaks_of"] == "it speaks of new worlds and new seeds"


def test_a_missing_cell_is_counted_and_no_verdict_stands(plant):
    document = plant(dict(zip(FIRST, (0.5, 0.6, 0.8), strict=True)), without=(("label_only", 3),))
    assert document["claims"][0]["word"] == "provisional" and document["missing_runs"] == 1
    assert "1 of 15 planned runs" in document["claims"][0]["told"]


def test_no_interval_has_the_width_zero(plant, store):
    plant({"label_only": [0.5], "post_cot": [0.5]}, 1, items=40)
    # The rule shifts which questions are right by condition, so plant the same answers under both names.
    document = report(store, "planted")
    for condition in document["conditions"]:
        assert condition["low"] < condition["accuracy"] < condition["high"]
    difference = document["conditions"][1]["difference"]
    assert difference["low"] < difference["points"] < difference["high"]


def test_at_the_ceiling_the_bound_is_that_of_so_many_questions(plant, store):
    plant({"label_only": [1.0] * 3, "post_cot": [1.0] * 3}, 3, items=40)
    one, other = report(store, "planted", margin=2.0)["conditions"]
    assert one["accuracy"] == 1 and one["low"] == pytest.approx(0.9124, abs=1e-4)
    # 1 - .025^(1/40) = 8.8 points.
    assert (
        other["difference"]["low"] == pytest.approx(-8.81, abs=0.01)
        and other["difference"]["word"] == "not distinguishable"
    )


def test_a_collapsed_replicate_and_a_constant_answerer_are_named(plant, store):
    plant({"label_only": [0.7, 0.71, 0.69, 0.27, 0.7], "post_cot": 0.7})
    (warning,) = report(store, "planted")["conditions"][0]["warnings"]
    assert warning == "replicate 3 (27.0 %) stands far from the others (median 70.0 %)"
    assert "replicate 3 (27.0 %)" in str(findings(store, "planted")["conditions"][0]["warnings"])


def test_of_equal_rivals_none_is_more_than_the_rationale(plant, store):
    names = ["multitask", "mixed", "pre_cot", RANDOM, "post_cot/label_text_only"]
    plant({"label_only": 0.5, "post_cot": 0.8, **dict.fromkeys(names, 0.8)})
    said = {one["condition"]: one["word"] for one in rivals(store, "planted")["rivals"]}
    assert len(said) == 5 and "more than the rationale" not in said.values()
    plant({"label_only": 0.5, "post_cot": 0.6, "multitask": 0.9, "mixed": 0.5})
    said = {one["condition"]: one["word"] for one in rivals(store, "planted")["rivals"]}
    assert said == {"multitask": "more than the rationale", "mixed": "no gain is shown"}


@pytest.mark.parametrize(("name", "again"), [
    ("more replicates", {"replicates": 5}), ("some conditions, more replicates", {"conditions": ("label_only", "post_cot"), "replicates": 5}),
    ("another file name", {"replicates": 5, "file": "other.jsonl"}), ("only some of the conditions", {"conditions": ("label_only", "post_cot")}),
])  # fmt: skip
def test_what_shares_ended_runs_with_an_earlier_look_says_so(store, tmp_path, name, again):
    levels = dict(zip(FIRST, (0.5, 0.6, 0.8), strict=True))
    first = import_answers(store, write(tmp_path / "a.jsonl", levels, 3), "first")
    assert findings(store, "first")["extended"] is None and first.study == 1
    kept = {name: levels[name] for name in again.get("conditions", FIRST)}
    # Levels by place in the first file, so that the shared runs have the same answers.
    places = {condition: place for place, condition in enumerate(FIRST)}
    path = tmp_path / again.get("file", "a.jsonl")
    rows = [json.loads(line) for line in write(path, levels, again.get("replicates", 3)).read_text().splitlines()]
    path.write_text(
        "\n".join(json.dumps(row) for row in rows if row["condition"] in kept and row["condition"] in places)
    )
    import_answers(store, path, "again")
    document = findings(store, "again")
    assert document["extended"]["id"] == 1 and "had ended in study first" in extended_told(document), name


@pytest.mark.parametrize("margin", [0.0, -1.0, 20.5, 50.0])
def test_a_margin_that_would_call_anything_as_good_is_refused(plant, margin):
    with pytest.raises(UsageError, match="expected more than 0 and at most 20"):
        plant(dict(zip(SECOND, (0.4, 0.41, 0.79, 0.8), strict=True)), margin=margin)


def test_the_same_answer_twice_is_refused_with_its_line(store, tmp_path):
    path = write(tmp_path / "a.jsonl", {"label_only": 0.5, "post_cot": 0.6}, 1, items=10)
    path.write_text(path.read_text() + "\n" + path.read_text().splitlines()[0])
    with pytest.raises(BadRows) as raised:
        import_answers(store, path, "twice")
    assert "in line 1 already" in raised.value.problems[0].reason


def test_advice_to_add_data_is_given_only_where_it_could_help(plant):
    claim = plant(dict(zip(FIRST, (0.62, 0.5, 0.6), strict=True)))["claims"][0]
    assert claim["comparisons"][0]["points"] < 0 and claim["comparisons"][0]["settled_by"] is None
    assert "would show it" not in claim["change"]
