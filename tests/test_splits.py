"""Clusters, roles of the splits, duplicates: small cases counted by hand."""

from dataclasses import replace

import pytest

from cotdistill.errors import DataError, UsageError
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.splits import checks, folded, pattern_of, with_clusters, with_roles

AB = (Choice("A", "yes"), Choice("B", "no"))


def row(i, split="train", question=None, cluster="", choices=AB):
    return Example(f"q{i}", question or f"question {i} ?", choices, "A", split, cluster=cluster)


def clusters(rows, pattern=None, warnings=None):
    return [e.cluster for e in with_clusters(rows, pattern, [] if warnings is None else warnings)]


def splits(rows):
    cut, roles = with_roles(with_clusters(rows, None, []), [])
    return cut, roles


def test_a_repeated_question_shares_a_cluster_whatever_its_case_and_punctuation():
    assert clusters([row(1, question="Is it so?"), row(2, question="is it  so"), row(3, question="Is it?")]) == [
        "is it so",
        "is it so",
        "is it",
    ]


def test_premises_are_recognised_and_the_report_says_so():
    warnings = []
    rows = [row(i, question=f"Premise: A man {i // 2} sleeps. Hypothesis: he is {i}.") for i in range(4)]
    assert clusters(rows, warnings=warnings) == ["a man 0 sleeps", "a man 0 sleeps", "a man 1 sleeps", "a man 1 sleeps"]
    assert warnings == ["4 questions have a premise: questions on the same premise form one cluster."]


def test_the_first_group_of_a_pattern_names_the_cluster_and_a_given_cluster_stays():
    rows = [
        row(1, question="Tom: how?"),
        row(2, question="tom: why?"),
        row(3, question="Tom: who?", cluster="own"),
        row(4, question="none"),
    ]
    assert clusters(rows, pattern_of("regex:^(\\w+):")) == ["tom", "tom", "own", "none"]


@pytest.mark.parametrize("rule", ["regex:(", "regex:abc", "regex:(?P<x>"])
def test_a_pattern_that_cannot_be_used_is_a_usage_error(rule):
    with pytest.raises(UsageError):
        pattern_of(rule)


def test_punctuation_alone_still_makes_a_cluster():
    assert folded("?!") == "?!"


def test_official_splits_stay_as_they_are():
    rows = [row(1), row(2, "dev"), row(3, "test")]
    cut, roles = splits(rows)
    assert [e.split for e in cut] == ["train", "dev", "test"]
    assert roles == {"train": "official train", "dev": "official dev", "test": "official test"}


def test_without_a_test_official_dev_is_the_test_and_about_a_tenth_of_train_is_dev():
    rows = [row(i) for i in range(1000)] + [row(i, "dev") for i in range(2000, 2050)]
    cut, roles = splits(rows)
    assert [e.id for e in cut] == [e.id for e in rows]
    assert {e.id for e in cut if e.split == "test"} == {f"q{i}" for i in range(2000, 2050)}
    assert 70 < sum(e.split == "dev" for e in cut) < 130
    assert roles == {
        "train": "official train less a hash-fixed 10 %",
        "dev": "a hash-fixed 10 % of train",
        "test": "official dev",
    }


def test_more_rows_leave_the_others_in_their_splits():
    few, _ = splits([row(i) for i in range(200)])
    many, _ = splits([row(i) for i in range(600)])
    assert [e.split for e in many[:200]] == [e.split for e in few]


def test_one_split_is_cut_into_three_cluster_by_cluster():
    cut, roles = splits([row(i, "", cluster=f"c{i // 5}") for i in range(1000)])
    sizes = {split: sum(e.split == split for e in cut) for split in ("train", "dev", "test")}
    assert 700 < sizes["train"] < 880 and sizes["dev"] > 40 and sizes["test"] > 40
    where = {}
    for e in cut:
        where.setdefault(e.cluster, set()).add(e.split)
    assert all(len(found) == 1 for found in where.values())
    assert roles["test"] == "10 % of the rows, by hash"


def test_three_clusters_are_enough_and_two_are_too_few():
    cut, _ = splits([row(i, "", cluster=f"c{i % 3}") for i in range(30)])
    assert {e.split for e in cut} == {"train", "dev", "test"}
    with pytest.raises(DataError, match="2 clusters are too few"):
        splits([row(i, "", cluster=f"c{i % 2}") for i in range(30)])


def test_dev_and_test_without_training_rows_are_refused():
    with pytest.raises(DataError, match="no training split"):
        splits([row(1, "dev"), row(2, "test")])


def test_duplicates_and_overlaps_are_counted_by_hand():
    other = (Choice("A", "no"), Choice("B", "Yes!"))
    rows = [
        row(1, question="same"),
        row(2, question="same"),  # word for word
        row(3, question="Same?", choices=other),  # the same but for case, punctuation and order
        row(4, "test", question="same"),
        row(5, "dev", question="alone"),
        row(
            6, "test", question="alone", choices=(*AB, Choice("C", "perhaps"))
        ),  # other choices: the cluster overlaps, the question does not
    ]
    warnings = []
    assert checks(with_clusters(rows, None, []), warnings) == {
        "repeated_within_a_split": 2,
        "word_for_word": 1,
        "in_two_splits": {"train and test": 1},
        "clusters_in_two_splits": 2,
    }
    assert warnings == [
        "2 questions are repeated within a split with the same choices, 1 word for word.",
        "1 question is in both train and test, with the same choices.",
        "1 cluster is in both dev and test: the same question or premise.",
        "1 cluster is in both train and test: the same question or premise.",
    ]


def test_clean_rows_have_nothing_to_report():
    warnings = []
    found = checks([replace(row(i), cluster=str(i)) for i in range(5)], warnings)
    assert not any(found.values()) and warnings == []
