"""The generated task: balanced, without leaks, the same bytes for the same seed."""

from collections import Counter
from statistics import fmean

import pytest

from cotdistill.config import digest, plain
from cotdistill.errors import ConfigError
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.world import RELATIONS, STYLES, WorldSettings, documents, examples, make_world, rationale
from cotdistill.tasks.world_words import GROUPS, VALUES

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
