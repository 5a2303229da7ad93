"""The table of runs is read from the store's rows alone, and says the same as its jobs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cotdistill.config import RunConfig, Seeds, StudentConfig, TrainingConfig
from cotdistill.errors import UnknownName
from cotdistill.results import results
from cotdistill.store.records import JobSpec, StudyDraft, document
from cotdistill.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two launches of one study: the second has two runs more, of which one failed and one was deleted."""
    found = Store.open(tmp_path)
    found.queue.set_paused(True)
    jobs = []
    for seed in range(4):
        run = RunConfig(
            "made",
            "0" * 64,
            "post_cot",
            student=StudentConfig(),
            training=TrainingConfig(),
            seeds=Seeds.of_replicate(seed, {}),
        )
        jobs.append(JobSpec("train", run.job_config(), (), f"run {seed}", 1.0))
    members = tuple((job.identity, "post_cot", seed, "run") for seed, job in enumerate(jobs))
    base = (jobs[0].identity, "", 0, "base")
    found.queue.submit(jobs[:2], study=StudyDraft("two", {}, "a", (base, *members[:2])))
    found.queue.submit(jobs, study=StudyDraft("two", {}, "b", members))
    with found.queue.database.write() as connection:
        told = document({"accuracy": 0.75, "mode": "direct", "n": 8, "modes": {"direct": {"n": 8}}})
        connection.execute("UPDATE job SET state = 'finished', result = ? WHERE id <= 2", (told,))
        connection.execute(
            "UPDATE job SET state = 'failed', error = ? WHERE id = 3",
            (document({"kind": "bug", "message": "it broke"}),),
        )
    found.queue.delete(4)
    return found


def test_a_run_is_told_by_its_row_whatever_became_of_it(store: Store) -> None:
    table = results.runs(store, "two")
    assert (
        table["replicate"].tolist() == [0, 1, 2, 3]
        and set(table["study"]) == {"two"}
        and set(table["label"]) == {"post-CoT"}
    )
    assert table["state"].tolist() == ["finished", "finished", "failed", "deleted"]
    assert table["accuracy"].tolist()[:2] == [0.75, 0.75] and table["accuracy"].isna().tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert table["job"].tolist()[:3] == [1, 2, 3] and pd.isna(table["job"][3])
    assert table["error"].tolist()[2:] == ["it broke", "the run was deleted"]


def test_a_study_is_named_by_number_or_by_name_and_all_of_them_stand_newest_first(store: Store) -> None:
    assert results.runs(store, 1)["job"].tolist() == results.runs(store, "1")["job"].tolist() == [1, 2]
    assert results.runs(store)["replicate"].tolist() == [0, 1, 2, 3, 0, 1]
    with pytest.raises(UnknownName, match="tow"):
        results.runs(store, "tow")


def test_a_store_without_studies_has_an_empty_table(tmp_path: Path) -> None:
    assert list(results.runs(Store.open(tmp_path)).columns) == list(results.RUN_COLUMNS)
