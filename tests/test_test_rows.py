"""A study may score a fixed sub-sample of the test questions; the sub-sample is part of a run's identity and is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cotdistill.config import RunConfig, stable_seed
from cotdistill.execution.jobs.train import _test_is
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.tasks.splits import first_by_hash


def test_the_sub_sample_is_the_first_by_hashed_id_in_the_order_of_the_split() -> None:
    rows: Any = [SimpleNamespace(id=id) for id in "abcdefgh"]
    chosen = [row.id for row in first_by_hash(rows, 3)]
    assert set(chosen) == set(sorted("abcdefgh", key=lambda id: stable_seed("test", id))[:3])
    assert chosen == sorted(chosen)
    # More questions do not change which are taken first.
    assert set(chosen) < {row.id for row in first_by_hash(rows, 5)}
    assert first_by_hash(rows, 0) == first_by_hash(rows, 8) == rows


def test_a_run_and_a_plan_without_it_are_what_they_were() -> None:
    run = RunConfig("task", "digest", "label_only")
    assert "test_rows" not in run.job_config()
    assert RunConfig("task", "digest", "label_only", test_rows=200).job_config()["test_rows"] == 200
    spec = StudySpec(conditions=("label_only",))
    assert spec_from_mapping({"test_rows": 0}, spec).plan_hash == spec.plan_hash
    assert spec_from_mapping({"test_rows": 200}, spec).plan_hash != spec.plan_hash


def test_what_was_scored_is_said_beside_the_accuracy() -> None:
    assert _test_is("official dev", 1221, 1221) == "official dev"
    assert _test_is("official dev", 200, 1221) == "official dev, 200 of its 1,221 questions, by hashed id"
    assert _test_is("", 200, 1221) == "200 of its 1,221 questions, by hashed id"
