"""Notes, tags and a pinned baseline of a study: kept, changed in part, refused where they make no sense."""

from __future__ import annotations

import pytest

from cotdistill.config import plain
from cotdistill.errors import UnknownName, UsageError
from cotdistill.store.records import JobSpec, StudyDraft
from cotdistill.store.store import Store
from cotdistill.studies.annotations import Remark, pinned, remark, set_remark
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path)
    for name, conditions in (("plain", "label_only,post_cot"), ("tokens", "post_cot,label_only")):
        spec = checked(spec_from_mapping({"name": name, "conditions": conditions}, StudySpec()))
        trained = [f"{c}@tokens=pre_cot" if name == "tokens" else c for c in spec.conditions]
        jobs = [JobSpec("train", {"study": name, "condition": c}) for c in trained]
        members = tuple((job.identity, c, 0, "run") for job, c in zip(jobs, trained, strict=True))
        store.queue.submit(jobs, study=StudyDraft(name, plain(spec), spec.plan_hash, members))
    return store


def test_a_study_of_which_nothing_was_said_has_an_empty_remark(store):
    assert remark(store, "plain") == Remark()


def test_what_is_not_given_stays_as_it_was(store):
    set_remark(store, "plain", note=" Looks odd. ", tags=["b", "a", "a "])
    set_remark(store, "plain", baseline="post_cot")
    said = remark(store, "plain")
    assert (said.note, said.tags, said.baseline) == ("Looks odd.", ("a", "b"), "post_cot") and said.changed > 0
    assert remark(store, "tokens") == Remark()
    assert set_remark(store, "plain", note="", tags=[]).tags == ()


def test_the_pinned_baseline_is_the_hand_picked_one_else_the_plans_own(store):
    study = store.queue.study("plain")
    assert pinned(store, study) == "label_only"
    set_remark(store, "plain", baseline="post_cot")
    assert pinned(store, study) == "post_cot"
    set_remark(store, "plain", baseline="")
    assert pinned(store, study) == "label_only"
    assert pinned(store, store.queue.study("tokens")) == "label_only@tokens=pre_cot"


@pytest.mark.parametrize("tags", [["x" * 41], ["a,b"], ["a\nb"], [str(n) for n in range(21)]])
def test_a_tag_that_is_none_is_refused_and_nothing_changes(store, tags):
    set_remark(store, "plain", tags=["kept"])
    with pytest.raises(UsageError):
        set_remark(store, "plain", tags=tags)
    assert remark(store, "plain").tags == ("kept",)


def test_a_baseline_that_the_study_does_not_have_is_refused_with_those_it_has(store):
    with pytest.raises(UnknownName, match="pre_cot"):
        set_remark(store, "plain", baseline="pre_cot")
    with pytest.raises(UsageError, match="10,001 characters"):
        set_remark(store, "plain", note="x" * 10_001)
