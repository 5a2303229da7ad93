"""10,000 runs: mean accuracy by condition, from disk to table. Ours against MLflow's search_runs on SQLite and pandas' groupby.

    python benchmarks/against/grouping.py [--repeats 5]

The same conditions and accuracies stand in a store of ours (a study of whole configurations, read as page Compare and the notebook read it: every
column of a run) and in a database of MLflow's, filled behind its back by SQL, since its own calls would take minutes.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import uuid
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import sqlalchemy
from paired import compare, repeats_asked

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cotdistill.config import RunConfig, Seeds, StudentConfig, TrainingConfig  # noqa: E402
from cotdistill.results import results  # noqa: E402
from cotdistill.store.records import JobSpec, StudyDraft, document  # noqa: E402
from cotdistill.store.store import Store  # noqa: E402

RUNS, CONDITIONS = 10_000, 20


def names() -> list[str]:
    return [f"post_cot/drop(fraction={(i % CONDITIONS) / 100})" for i in range(RUNS)]


def fill_ours(home: Path, conditions: list[str], accuracies: np.ndarray) -> None:
    queue = Store.open(home).queue
    queue.set_paused(True)
    jobs = []
    for i, condition in enumerate(conditions):
        run = RunConfig(
            "bench",
            "0" * 64,
            condition,
            student=StudentConfig(),
            training=TrainingConfig(),
            seeds=Seeds.of_replicate(i, {"world": 0}),
        )
        jobs.append(JobSpec("train", run.job_config(), (), f"{condition} {i}", 10.0))
    members = tuple(
        (job.identity, condition, i, "run") for i, (job, condition) in enumerate(zip(jobs, conditions, strict=True))
    )
    numbers = queue.submit(jobs, study=StudyDraft("bench", {}, "", members)).new
    rows = [
        (document({"accuracy": float(accuracies[i]), "mode": "direct"}), number) for i, number in enumerate(numbers)
    ]
    with queue.database.write() as connection:
        connection.executemany("UPDATE job SET state = 'finished', result = ? WHERE id = ?", rows)


def fill_mlflow(where: str, conditions: list[str], accuracies: np.ndarray) -> None:
    mlflow.set_tracking_uri(where)
    client = mlflow.MlflowClient()
    pattern = client.create_run("0").info.run_id
    engine = sqlalchemy.create_engine(where)
    with engine.begin() as connection:
        columns = dict(
            connection.execute(sqlalchemy.text("SELECT * FROM runs WHERE run_uuid = :u"), {"u": pattern})
            .mappings()
            .one()
        )
        ids = [uuid.uuid4().hex for _ in conditions]
        runs = [{**columns, "run_uuid": i, "name": i[:8], "status": "FINISHED"} for i in ids]
        told = ", ".join(f":{name}" for name in columns)
        connection.execute(sqlalchemy.text(f"INSERT INTO runs ({', '.join(columns)}) VALUES ({told})"), runs)
        params = [{"u": i, "v": c} for i, c in zip(ids, conditions, strict=True)]
        connection.execute(
            sqlalchemy.text("INSERT INTO params (run_uuid, key, value) VALUES (:u, 'condition', :v)"), params
        )
        metrics = [{"u": i, "v": float(a)} for i, a in zip(ids, accuracies, strict=True)]
        for table in ("metrics", "latest_metrics"):
            statement = f"INSERT INTO {table} (run_uuid, key, value, timestamp, step, is_nan) VALUES (:u, 'accuracy', :v, 0, 0, 0)"
            connection.execute(sqlalchemy.text(statement), metrics)
        connection.execute(sqlalchemy.text("DELETE FROM runs WHERE run_uuid = :u"), {"u": pattern})


def ours(home: Path) -> pd.Series:
    return results.runs(Store.open(home), "bench").groupby("condition")["accuracy"].mean()


def peer() -> pd.Series:
    table = mlflow.search_runs(["0"], max_results=RUNS + 1)
    return table.groupby("params.condition")["metrics.accuracy"].mean()


def main() -> None:
    repeats = repeats_asked(__doc__)
    logging.disable(logging.WARNING)
    accuracies, conditions = np.random.default_rng(0).uniform(0.4, 0.9, RUNS), names()
    with tempfile.TemporaryDirectory(prefix="cotdistill-bench-") as folder:
        home, where = Path(folder) / "ours", f"sqlite:///{folder}/mlflow.db"
        fill_ours(home, conditions, accuracies)
        fill_mlflow(where, conditions, accuracies)
        mine, theirs = ours(home), peer()
        apart = float(np.abs(mine.sort_values().to_numpy() - theirs.sort_values().to_numpy()).max())
        assert len(mine) == len(theirs) == CONDITIONS and apart < 1e-9, f"The means of both sides differ by {apart}."

        def act_ours() -> float:
            return float(ours(home).notna().any())

        def act_peer() -> float:
            return float(peer().notna().any())

        what = f"{RUNS:,} runs: mean accuracy by condition, from disk to table"
        same = f"{CONDITIONS} means agree to {apart:.0e}"
        compare(
            what, "MLflow search_runs on SQLite", act_ours, act_peer, unit="s", same=same, aim=20.0, repeats=repeats
        )


if __name__ == "__main__":
    main()
