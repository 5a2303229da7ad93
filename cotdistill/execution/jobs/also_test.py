"""A student on the questions of a second task, as a job: asked as in its own task, in the mode that it is judged in."""

from __future__ import annotations

from cotdistill.execution.context import Outcome, as_planned
from cotdistill.execution.jobs.modes import longest_written
from cotdistill.execution.jobs.train import prediction_table
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import WorkerContext
from cotdistill.students.scoring.evaluation import accuracy, primary_metric, score
from cotdistill.studies.also_test import AlsoTestConfig, trained_on
from cotdistill.tasks.importing.task_bundle import version_of


def job(context: WorkerContext) -> Outcome:
    """The job kind "also_test": the product "predictions", with the columns of those of a training run."""
    config = AlsoTestConfig.from_plain(context.config)
    opened = open_run(context.store, config.run)
    task = version_of(context.store.tasks_root, config.task, config.task_digest)
    task = task or context.task(config.task, config.world, config.task_settings)
    as_planned(task, config.task, config.task_digest, "this")
    examples = task.examples("test")
    placement = opened.condition.spec
    predictions = score(
        opened.model,
        opened.encoder,
        examples,
        placement,
        placement.primary,
        metric=primary_metric(opened.encoder, examples),
        limit=longest_written(opened, examples),
    )
    produced = {
        "predictions": context.keep(prediction_table({placement.primary: predictions}), "predictions", "parquet")
    }
    counts = {
        "accuracy": accuracy(predictions),
        "n": len(predictions),
        "correct": sum(p.correct for p in predictions),
    }
    result = {
        **counts,
        "chance": task.chance,
        "mode": placement.primary,
        "modes": {placement.primary: {**counts, "trained": placement.primary in placement.trained}},
        "trained_on": trained_on(opened.task, examples),
    }
    used = {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": task.digest}
    return Outcome(result, produced, used)
