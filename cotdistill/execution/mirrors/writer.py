"""What writes into a mirror: a script of its own, run by the interpreter of the mirror's environment, where nothing of
cotdistill is installed.

Reads one JSON document a line on stdin, a run each: run (identity), name, group, state, created (unix time), config
(flat), points ([name, step, value, seconds]), result (flat, null before the end). Answers each with one line: {"ok":
true}, or {"ok": false, "message": ...}.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[[dict[str, Any]], None]
# MLflow takes no more at once.
BATCH = 1000
# MLflow and TensorBoard show long texts badly, and MLflow refuses longer ones.
LONGEST = 500


def tensorboard(to: str) -> Write:
    """Event files, one folder a run; written with the event writer of TensorBoard itself, so no torch and no TensorFlow
    is needed.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def write(run: dict[str, Any]) -> None:
        writer = EventFileWriter(str(Path(to) / folder_of(run)))
        try:
            if run["result"] is not None:
                text = "\n".join(f"    {name}: {value}" for name, value in sorted(run["config"].items()))
                writer.add_event(Event(wall_time=run["created"], step=0, summary=text_pb("config", text)))
            for name, step, value, seconds in points_of(run):
                summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
                writer.add_event(Event(wall_time=run["created"] + seconds, step=step, summary=summary))
            writer.flush()
        finally:
            writer.close()

    return write


def mlflow(to: str) -> Write:
    """A tracking server (an address), or a SQLite file in a folder. A run is found again by its identity, so it is
    never doubled.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    if "://" in to:
        client, place = MlflowClient(to), None
    else:
        Path(to).mkdir(parents=True, exist_ok=True)
        client, place = MlflowClient(f"sqlite:///{Path(to) / 'mlflow.db'}"), (Path(to) / "artifacts").as_uri()

    def experiment(name: str) -> str:
        known = client.get_experiment_by_name(name)
        return str(known.experiment_id if known else client.create_experiment(name, artifact_location=place))

    def write(run: dict[str, Any]) -> None:
        number = experiment(run["group"])
        runs = client.search_runs([number], f"tags.`cotdistill.run` = '{run['run']}'")
        at = (
            runs[0]
            if runs
            else client.create_run(number, int(1000 * run["created"]), {"cotdistill.run": run["run"]}, run["name"])
        )
        metrics = [
            Metric(name, value, int(1000 * (run["created"] + seconds)), step)
            for name, step, value, seconds in points_of(run)
        ]
        for first in range(0, len(metrics), BATCH):
            client.log_batch(at.info.run_id, metrics=metrics[first : first + BATCH])
        params = [
            Param(name, str(value)[:LONGEST])
            for name, value in sorted(run["config"].items())
            if name not in at.data.params
        ]
        for first in range(0, len(params), 100):
            client.log_batch(at.info.run_id, params=params[first : first + 100])
        client.log_batch(at.info.run_id, tags=[RunTag("cotdistill.state", run["state"])])
        if run["result"] is not None:
            client.set_terminated(
                at.info.run_id, {"finished": "FINISHED", "failed": "FAILED"}.get(run["state"], "KILLED")
            )

    return write


def wandb(to: str) -> Write:
    """Runs in offline mode, in a folder: `wandb sync` sends them when a person wants that. A run is written when it has
    ended, in one piece.
    """
    os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb as library

    Path(to).mkdir(parents=True, exist_ok=True)

    def write(run: dict[str, Any]) -> None:
        if run["result"] is None:
            return
        settings = library.Settings(x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True)
        begun = library.init(
            project=run["group"],
            dir=to,
            id=run["run"][:32],
            name=run["name"],
            config=run["config"],
            mode="offline",
            settings=settings,
        )
        rows: dict[int, dict[str, float]] = {}
        for name, step, value, _ in points_of(run):
            rows.setdefault(step, {})[name] = value
        for step in sorted(rows):
            begun.log(rows[step], step=step)
        begun.summary.update({"state": run["state"]})
        begun.finish(exit_code=0 if run["state"] == "finished" else 1)

    return write


WRITERS = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}


def points_of(run: dict[str, Any]) -> list[tuple[str, int, float, float]]:
    """The points of a run and, at its last step, the numbers of its result; without what is no number."""
    points = [(str(name), int(step), float(value), float(seconds)) for name, step, value, seconds in run["points"]]
    last, late = max(((step, seconds) for _, step, _, seconds in points), default=(0, 0.0))
    points += [(f"result/{name}", last, float(value), late) for name, value in sorted((run["result"] or {}).items())]
    return [point for point in points if math.isfinite(point[2])]


def folder_of(run: dict[str, Any]) -> str:
    """A file name that a person can read, and that no other run has."""
    return f"{re.sub(r'[^A-Za-z0-9_.=-]+', '-', run['name'])[:80].strip('-.')}-{run['run'][:12]}"


def main() -> int:
    kind, to = sys.argv[1:3]
    # What a library prints belongs to the log; the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        write = WRITERS[kind](to)
    except Exception as error:
        answer(ok=False, message=f"{type(error).__name__}: {error}")
        return 1
    answer(ok=True)
    for line in sys.stdin:
        try:
            write(json.loads(line))
        except Exception as error:
            print(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            answer(ok=False, message=f"{type(error).__name__}: {error}"[:1000])
        else:
            answer(ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
