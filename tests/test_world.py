"""The generated task: balanced, without leaks, the same bytes for the same seed."""

import re
from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from tokenizers import Tokenizer

from cotdistill.config import digest, plain
from cotdistill.errors import ConfigError
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.generated.world import (
    RELATIONS,
    STYLES,
    WorldSettings,
    documents,
    examples,
    make_world,
    rationale,
)
from cotdistill.tasks.generated.world_words import (
    ANSWERS_FIRST,
    CONCLUSIONS,
    FILLERS,
    GROUPS,
    PROPERTIES,
    QUESTIONS,
    VALUES,
)

SMALL = WorldSettings(documents=200)


@pytest.fixture(scope="module")
def world():
    return make_world(0, SMALL)


@pytest.fixture(scope="module")
def rows(world):
    return examples(world)


def test_no_pair_of_creature_and_relation_stands_in_two_splits(rows):
    seen = {}
    for row in rows:
        seen.setdefault((row.metadata["creature"], row.metadata["relation"]), set()).add(row.split)
    assert all(len(splits) == 1 for splits in seen.values())
    assert len(seen) == 240 * 8


def test_a_creature_is_held_out_in_dev_or_in_test_never_in_both(rows):
    held = {}
    for row in rows:
        if row.split != "train":
            held.setdefault(row.metadata["creature"], set()).add(row.split)
    assert all(len(splits) == 1 for splits in held.values())
    assert Counter(row.split for row in rows) == {"train": 1920, "dev": 360, "test": 1080}


def test_every_value_is_shared_by_three_groups(world):
    for relation in RELATIONS:
        assert set(Counter(world.table[g, relation] for g in GROUPS).values()) == {3}


def test_relations_and_groups_are_trained_equally_often(world):
    trained = Counter(relation for relations in world.trained.values() for relation in relations)
    assert set(trained.values()) == {60}
    assert max(Counter(world.group_of.values()).values()) - min(Counter(world.group_of.values()).values()) <= 1


def test_the_gold_choice_stands_everywhere_equally_often(rows):
    places = Counter(row.answer for row in rows)
    assert all(abs(places[label] / len(rows) - 0.25) < 0.03 for label in "ABCD")


def test_no_word_is_the_value_of_two_relations_or_a_group():
    words = [word for values in VALUES.values() for word in values] + list(GROUPS)
    assert len(words) == len(set(words))


@pytest.mark.parametrize("style", STYLES)
def test_a_rationale_names_the_believed_group_and_the_answer_but_never_the_creature(world, rows, style):
    for row in rows[::7]:
        told = rationale(world, row, style).split()
        assert row.metadata["teacher_believes"] in told
        assert row.answer_text in told
        assert row.metadata["creature"] not in told
        assert "answer" not in told and "because" not in told


def test_lengths_are_about_as_designed(world, rows):
    lengths = [len(rationale(world, row, "mixed").split()) for row in rows[::3]]
    assert 23 < fmean(lengths) < 29 and min(lengths) >= 9 and max(lengths) <= 60


def test_answer_first_teachers_name_the_answer_in_their_first_sentence(world, rows):
    for row in rows[::31]:
        first = rationale(world, row, "answer_first_long").split(" . ")[0].split()
        assert row.answer_text in first


def test_the_teacher_believes_a_wrong_group_for_one_creature_in_twenty(world):
    wrong = [name for name in world.group_of if world.believed[name] != world.group_of[name]]
    assert len(wrong) == 12


def test_the_base_never_reads_of_a_creature(world):
    words = {word for document in documents(world) for word in document.split()}
    assert not words & set(world.group_of)
    assert len(documents(world)) == 200


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world, rows):
    def told(rows):
        return digest([plain(r) for r in rows])

    assert told(rows) == told(examples(make_world(0, SMALL)))
    assert told(rows) != told(examples(make_world(1, SMALL)))


def test_the_first_world_is_the_one_that_the_published_figures_speak_of(world, rows):
    # Fields that examples have had since are at their defaults here.
    later = ("more", "passage_lines", "also_right", "kind")
    assert {(e.more, e.passage_lines, e.also_right, e.kind) for e in rows} == {((), 0, (), "choice")}
    written = [{name: value for name, value in plain(e).items() if name not in later} for e in rows]
    told = written, [rationale(world, e, style) for style in STYLES for e in rows], documents(world)
    assert digest(told) == "777dc11b9cb7c987a2d833c4723eac12ab82b9c160a3826de895ccd52c2fd6f7"


def test_no_wording_of_a_question_stands_in_two_splits(rows):
    by_split = {split: {e.question for e in rows if e.split == split} for split in ("train", "dev", "test")}
    assert not by_split["train"] & (by_split["dev"] | by_split["test"])
    assert not by_split["dev"] & by_split["test"]


def test_the_commonest_value_of_a_relation_is_no_good_guess(rows):
    train: dict[str, Counter[str]] = {relation: Counter() for relation in RELATIONS}
    for e in rows:
        if e.split == "train":
            train[e.metadata["relation"]][e.answer_text] += 1
    # The best guess without the creature: of the four choices, the one that trained most often.
    test = [e for e in rows if e.split == "test"]
    right = fmean(
        max((c.text for c in e.choices), key=lambda t: train[e.metadata["relation"]][t]) == e.answer_text for e in test
    )
    assert abs(right - 0.25) < 0.07


def test_wrong_choices_are_of_the_same_relation_and_every_choice_differs(rows):
    for e in rows:
        texts = [c.text for c in e.choices]
        assert len(set(texts)) == 4 and set(texts) <= set(VALUES[e.metadata["relation"]])


def test_the_label_is_right_also_where_the_teacher_believes_a_wrong_group(world, rows):
    for e in rows:
        assert e.answer_text == world.table[world.group_of[e.metadata["creature"]], e.metadata["relation"]]


def test_a_deductive_teacher_names_the_answer_as_such_only_in_the_last_sentence(world, rows):
    concluded = 0
    for e in rows[::5]:
        sentences = [part.strip() + " ." for part in rationale(world, e, "deductive").split(" .") if part.strip()]
        verdicts = [c.format(v=e.answer_text) for c in (*CONCLUSIONS, *ANSWERS_FIRST)]
        assert not any(sentence in verdicts for sentence in sentences[:-1])
        concluded += sentences[-1] in verdicts
    assert 0.35 < concluded / len(rows[::5]) < 0.55


def test_the_long_answer_first_teacher_elaborates_before_its_reasons(world, rows):
    for e in rows[::5]:
        said = rationale(world, e, "answer_first_long").split()
        assert said.index(e.metadata["teacher_believes"]) > 12
    lengths = {style: fmean(len(rationale(world, e, style).split()) for e in rows[::5]) for style in STYLES}
    assert lengths["answer_first_long"] > 1.4 * lengths["answer_first"]


def test_every_relation_has_three_questions_and_one_with_a_person():
    for relation in RELATIONS:
        assert len(QUESTIONS[relation]) == len(PROPERTIES[relation]) == 3
        assert sum("{p}" in question for question in QUESTIONS[relation]) >= 1
        assert all(question.endswith("?") and question.count("{x}") == 1 for question in QUESTIONS[relation])


def test_a_dial_out_of_bounds_is_refused():
    with pytest.raises(ConfigError):
        make_world(0, WorldSettings(choices=9))


def test_a_world_is_made_once_and_found_again_under_the_same_digest(tmp_path):
    settings = {"creatures": 20, "documents": 50}
    one = open_task(tmp_path / "a", "field_guide", settings=settings)
    assert open_task(tmp_path / "a", "field_guide", settings=settings).digest == one.digest
    assert open_task(tmp_path / "b", "field_guide", settings=settings).digest == one.digest
    assert open_task(tmp_path / "a", "field_guide", world=1, settings=settings).digest != one.digest
    assert one.verify() == []
    (one.folder / "documents.txt").write_text("changed")
    assert "expected" in one.verify()[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"creatures": 20, "groups": 6, "choices": 2, "documents": 0},
        {"trained_relations": 7, "wordings": 1, "choices": 6},
    ],
)
def test_the_dials_at_their_ends_still_make_a_world(settings):
    dials = WorldSettings(**{"documents": 10, **settings})
    made = examples(make_world(3, dials))
    assert {e.split for e in made} == {"train", "dev", "test"}
    assert all(len(e.choices) == dials.choices for e in made)
    assert sum(e.split == "train" for e in made) == dials.creatures * dials.trained_relations * dials.wordings


def test_the_dial_of_teacher_error_leaves_groups_and_facts_as_they_are():
    one, other = (make_world(0, WorldSettings(teacher_error=share)) for share in (0.0, 0.5))
    assert (one.group_of, one.table) == (other.group_of, other.table)
    assert one.believed == one.group_of
    assert sum(other.believed[n] != other.group_of[n] for n in other.group_of) == 120


def steps_of(world, row, style="deductive"):
    """The sentences of a rationale that name a group."""
    return [said for said in rationale(world, row, style).split(" . ") if set(said.split()) & set(GROUPS)]


def test_step_noise_makes_the_asked_share_of_the_steps_false_and_more_of_it_the_same_ones(rows):
    clean, half, all_ = (make_world(0, replace(SMALL, step_noise=share)) for share in (0.0, 0.5, 1.0))
    changed = total = 0
    for row in rows[::5]:
        intact, some, every = (rationale(world, row, "deductive").split(" . ") for world in (clean, half, all_))
        assert len(intact) == len(some) == len(every)
        # Two steps are false and all else is as it was; at a half, each is one or the other.
        assert sum(a != b for a, b in zip(intact, every, strict=True)) == 2
        assert all(b in (a, c) for a, b, c in zip(intact, some, every, strict=True))
        changed += sum(a != b for a, b in zip(intact, some, strict=True))
        total += 2
        kind, fact = sorted(
            steps_of(all_, row), key=lambda said: bool(set(said.split()) & set(VALUES[row.metadata["relation"]]))
        )
        assert row.metadata["teacher_believes"] not in kind.split() and row.metadata["teacher_believes"] in fact.split()
        assert row.answer_text not in fact.split()
    assert abs(changed / total - 0.5) < 0.05


def test_an_irrelevant_sentence_stands_before_the_asked_share_of_the_steps(rows):
    plainly, padded = (
        make_world(0, replace(SMALL, filler=0.0)),
        make_world(0, replace(SMALL, filler=0.0, irrelevant_steps=1.0)),
    )
    for row in rows[::31]:
        told = [f"{said} ." for said in rationale(padded, row, "deductive").removesuffix(" .").split(" . ")]
        fillers = [said for said in told if said in FILLERS]
        assert len(fillers) == len(set(fillers)) == 2
        assert " ".join(said for said in told if said not in FILLERS) == rationale(plainly, row, "deductive")
        assert all(set(told[told.index(said) + 1].split()) & set(GROUPS) for said in fillers)
    half = make_world(0, replace(SMALL, filler=0.0, irrelevant_steps=0.5))
    counted = fmean(sum(rationale(half, row, "deductive").count(said) for said in FILLERS) for row in rows[::5])
    assert abs(counted - 1.0) < 0.1


def test_a_task_made_before_the_dials_of_noise_keeps_its_digest(tmp_path):
    settings = {"creatures": 20, "documents": 50}
    one = open_task(tmp_path, "field_guide", settings=settings)
    assert one.digest.startswith("f0096302a57a")
    assert open_task(tmp_path, "field_guide", settings={**settings, "step_noise": 0.0}).digest == one.digest
    assert open_task(tmp_path, "field_guide", settings={**settings, "step_noise": 0.25}).digest != one.digest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return open_task(tmp_path_factory.mktemp("tasks"), "field_guide", settings={"documents": 2000})


def test_students_know_every_word_of_every_split_and_every_choice_is_one_token(made):
    for source in made.sources:
        tokenizer = Tokenizer.from_file(str(made.tokenizer(source, "word")))
        unknown = tokenizer.token_to_id("<unk>")
        assert 400 < tokenizer.get_vocab_size() < 560
        for split in ("train", "dev", "test"):
            for e in made.examples(split, source)[::9]:
                text = made.template.question_text(e) + made.template.choices_text(e) + " " + e.rationale
                assert unknown not in tokenizer.encode(text).ids
                assert all(len(tokenizer.encode(c.text).ids) == 1 for c in e.choices)
                assert len(tokenizer.encode(e.metadata["creature"]).ids) == 1


def test_the_prompt_reads_as_designed(made):
    e = made.examples("test")[0]
    prompt = made.template.question_text(e) + made.template.choices_text(e) + made.template.label_cue
    assert re.fullmatch(r"[a-z ,.?]+ \? choices : \w+ , \w+ , \w+ , \w+ answer :", prompt)


def test_every_teacher_speaks_of_every_question(made):
    assert made.sources == STYLES and made.default_source == "mixed" and made.artificial
    for style in STYLES:
        for split, count in (("train", 1920), ("dev", 360), ("test", 1080)):
            told = made.examples(split, style)
            assert len(told) == count and all(e.source == style and e.rationale for e in told)
    assert made.chance == 0.25


def test_base_documents_ask_in_the_very_form_of_the_prompt(made):
    told = made.base_documents()
    assert len(told) == 2000
    asked = [d for d in told if " choices : " in d and d.count(" answer :") == 1]
    assert len(asked) > 0.7 * len(told)
    assert any(0 < d.find(" because :") < d.find(" answer :") for d in asked)
    assert any(0 < d.find(" answer :") < d.find(" because :") for d in asked)


def test_the_share_of_errors_leaves_facts_relations_and_splits_as_they_are():
    one, other = (make_world(0, WorldSettings(teacher_error=share)) for share in (0.05, 0.5))
    assert (one.table, one.trained, one.split_of, one.group_of) == (
        other.table,
        other.trained,
        other.split_of,
        other.group_of,
    )
    wrong = [{n for n in w.group_of if w.believed[n] != w.group_of[n]} for w in (one, other)]
    assert wrong[0] < wrong[1]


def test_a_share_of_the_creatures_trains_without_rationales_and_the_test_questions_say_of_which_kind(tmp_path):
    settings = {"creatures": 24, "documents": 20, "wordings": 1}
    whole = open_task(tmp_path, "field_guide", world=0, settings=settings)
    half = open_task(tmp_path, "field_guide", world=0, settings={**settings, "without_rationales": 0.5})
    kinds = Counter()
    for row in half.examples("train", "mixed"):
        assert (row.rationale is None) == (row.metadata["rationales"] == "none")
        kinds[row.metadata["rationales"]] += 1
    assert kinds == {"none": 24, "in training": 24}
    test = half.examples("test", "mixed")
    assert {row.metadata["rationales"] for row in test} == {"none", "in training"} and all(
        row.rationale for row in test
    )
    # The questions and what is said of them stay the same.
    assert [(r.id, r.rationale) for r in test] == [(r.id, r.rationale) for r in whole.examples("test", "mixed")]
    assert "rationales" not in whole.examples("test")[0].metadata
