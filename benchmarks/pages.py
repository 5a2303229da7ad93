"""How long pages take with a full store: 10,000 finished runs in 100 studies, and one study of 30 conditions x 5 replicates x 10,000 questions.

    python benchmarks/pages.py [--home FOLDER]      a store made for it is kept there and used again

Each page is drawn in a process of its own, without a browser: once cold (imports and empty caches, as the first visitor sees it) and then
warm, the best of three. The runs are made up, their files are real. Prints wall seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.config import RunConfig, Seeds, StudentConfig, TrainingConfig, plain  # noqa: E402
from cotdistill.store.records import JobSpec, StudyDraft, document  # noqa: E402
from cotdistill.store.store import Store  # noqa: E402
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping  # noqa: E402
from cotdistill.tasks.catalog import open_task  # noqa: E402

STUDIES, REPLICATES, ITEMS = 100, 5, 200
CONDITIONS = ["label_only", "pre_cot", "post_cot", "post_cot/shuffle", "post_cot/random_tokens"]
CONDITIONS += [
    f"post_cot/{name}(fraction={share})" for name in ("mask", "drop", "truncate") for share in (0.1, 0.3, 0.5, 0.7, 0.9)
]
LARGE = [
    *CONDITIONS,
    *(f"pre_cot/drop(fraction={share})" for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
]
PAGES = (
    ("app.py", {}), ("pages/1_Data.py", {}), ("pages/2_Train.py", {}), ("pages/3_Compare.py", {}), ("pages/3_Compare.py", {"view": "curves"}),
    ("pages/3_Compare.py", {"view": "tokens"}), ("pages/3_Compare.py", {"view": "examples"}), ("pages/3_Compare.py", {"view": "modes"}),
    ("pages/3_Compare.py", {"view": "studies"}), ("pages/3_Compare.py", {"view": "runs"}), ("pages/4_Saliency.py", {}), ("pages/5_Key_tokens.py", {}),
    ("pages/6_Findings.py", {}),
    ("pages/3_Compare.py", {"study": "large"}), ("pages/3_Compare.py", {"study": "large", "view": "examples"}),
)  # fmt: skip


def predictions(rng: np.random.Generator, items: int, accuracy: float, mode: str) -> bytes:
    """A run's answers to `items` questions of four choices."""
    chances = rng.dirichlet(np.ones(4), items)
    answer = np.where(rng.random(items) < accuracy, chances.argmax(1), rng.integers(0, 4, items)).astype("int16")
    table = pd.DataFrame(
        {
            "id": [f"question-{i:06}" for i in range(items)],
            "cluster": [f"c{i // 6}" for i in range(items)],
            "mode": mode,
        }
    )
    ordered = np.sort(chances, 1)
    table = table.assign(
        answer=answer, predicted=chances.argmax(1).astype("int16"), margin=np.log(ordered[:, 3] / ordered[:, 2])
    )
    table["probabilities"] = table["scores"] = table["sums"] = list(chances)
    table["correct"] = table["predicted"] == table["answer"]
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def curve(rng: np.random.Generator) -> bytes:
    rows = [
        (step, step * 100, step * 0.01, name, float(rng.random()))
        for step in range(0, 601, 25)
        for name in ("loss", "dev_accuracy")
    ]
    buffer = io.BytesIO()
    pd.DataFrame(rows, columns=["step", "tokens", "seconds", "name", "value"]).to_parquet(buffer, index=False)
    return buffer.getvalue()


def fill(store: Store) -> None:
    """The studies and their runs, finished."""
    rng = np.random.default_rng(0)
    digest = open_task(store.tasks_root, "field_guide").digest
    for number in range(STUDIES):
        _study(store, rng, f"study-{number:03}", CONDITIONS, digest, ITEMS, lr=1e-3 * (number + 1))
    _study(store, rng, "large", LARGE, digest, 10_000, lr=0.5)


def _study(
    store: Store, rng: np.random.Generator, name: str, conditions: list[str], task: str, items: int, lr: float
) -> None:
    settings = {
        "name": name,
        "task": "field_guide",
        "conditions": conditions,
        "replicates": REPLICATES,
        "training": {"lr": lr},
    }
    spec = checked(spec_from_mapping(settings, StudySpec()))
    jobs, members = [], []
    for condition in spec.conditions:
        for replicate in range(REPLICATES):
            seeds = Seeds.of_replicate(replicate, {"world": 0})
            run = RunConfig(
                "field_guide", task, condition, student=StudentConfig(), training=TrainingConfig(lr=lr), seeds=seeds
            )
            jobs.append(JobSpec("train", run.job_config(), (), f"{name} {condition} {replicate}", 10.0))
            members.append((jobs[-1].identity, condition, replicate, "run"))
    store.queue.set_paused(True)
    submission = store.queue.submit(jobs, study=StudyDraft(name, plain(spec), spec.plan_hash, tuple(members)))
    rows, links = [], []
    for job, spec_ in zip(submission.new, jobs, strict=True):
        mode = "own" if spec_.config["condition"].startswith("pre_cot") else "direct"
        accuracy = float(rng.uniform(0.4, 0.9))
        result = {
            "accuracy": accuracy,
            "n": items,
            "correct": int(accuracy * items),
            "chance": 0.25,
            "mode": mode,
            "dev_accuracy": accuracy,
            "steps": 600,
        }
        result |= {
            "tokens": 10**6,
            "loss_tokens": int(rng.integers(2e4, 5e5)),
            "seconds": 10.0,
            "train_rows": 900,
            "test_is": "made up",
        }
        rows.append((document(result), time.time(), time.time(), job))
        links.append(
            (
                job,
                "produced",
                "predictions",
                store.artifacts.put_bytes(predictions(rng, items, accuracy, mode), "predictions", "parquet"),
            )
        )
        links.append((job, "produced", "curve", store.artifacts.put_bytes(curve(rng), "curve", "parquet")))
    with store.queue.database.write() as connection:
        connection.executemany(
            "UPDATE job SET state = 'finished', result = ?, started = ?, finished = ?, attempt = 1 WHERE id = ?", rows
        )
        connection.executemany("INSERT INTO link (job, direction, role, digest) VALUES (?, ?, ?, ?)", links)


def draw(page: str, query: dict[str, str]) -> None:
    """In a process of its own: print the cold and the best warm time."""
    begun = time.perf_counter()
    from streamlit.testing.v1 import AppTest

    times = []
    for _ in range(4):
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        for name, value in query.items():
            app.query_params[name] = value
        if page != "app.py":
            app.switch_page(page)
        app.run()
        assert not app.exception and not [e for e in app.error if "went wrong" in e.value], (
            page,
            app.exception,
            [e.value for e in app.error],
        )
        times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    print(json.dumps({"cold": times[0], "warm": min(times[1:])}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw:
        draw(arguments.draw[0], json.loads(arguments.draw[1]))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        store = Store.open(home)
        if not store.queue.studies():
            fill(store)
        print(f"{len(store.queue.jobs()):,} runs in {len(store.queue.studies())} studies")
        for page, query in PAGES:
            environment = {**os.environ, "COTDISTILL_HOME": str(home)}
            command = [sys.executable, str(Path(__file__).resolve()), "--draw", page, json.dumps(query)]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            found = json.loads(done.stdout.strip().splitlines()[-1])
            told = " ".join([page, *(f"{k}={v}" for k, v in query.items())])
            print(f"{told:52} cold {found['cold']:6.2f} s   warm {found['warm']:6.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
