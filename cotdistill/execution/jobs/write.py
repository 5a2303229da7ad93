"""What a student writes about the training questions, as a job: a row a question, with what its rationale tells of the
label.
"""

from __future__ import annotations

import pandas as pd

from cotdistill.execution.context import Outcome
from cotdistill.execution.jobs.modes import longest_written
from cotdistill.execution.open_student import open_run
from cotdistill.execution.worker import WorkerContext
from cotdistill.planning.rounds import WriteConfig
from cotdistill.store.artifacts import parquet
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import answers_after, asked, choice_scores, predicted
from cotdistill.studies.inspection_jobs import source_of

COLUMNS = {
    "id": "of the question",
    "text": "the rationale that the student wrote, greedily",
    "finish": "stop: it ended with the answer cue; length: it was cut off",
    "answer": "label of the choice that it prefers after it",
    "gain": "log p(right label | question, rationale) less log p(right label | question), nats",
}


def job(context: WorkerContext) -> Outcome:
    """The job kind "write": product "written" (see COLUMNS)."""
    config = WriteConfig.from_plain(context.config)
    opened = open_run(context.store, config.run)
    examples = opened.task.examples("train", source_of(opened.job) or None)
    reader, encoder, placement = Forward(opened.model), opened.encoder, opened.condition.spec
    targets, pad = [encoder.targets(example) for example in examples], encoder.specials.pad
    prompts, written = asked(reader, encoder, examples, placement, "own", longest_written(opened, examples))
    context.report(1, 3)
    after = answers_after(reader, encoder, examples, prompts)
    context.report(2, 3)
    directly = choice_scores(reader, asked(reader, encoder, examples, placement, "direct", 1)[0], targets, pad)
    context.report(3, 3)
    rows = []
    for example, one, answer, without in zip(examples, written or [], after, directly, strict=True):
        choice = predicted(encoder, example, answer.sums, "own", metric=opened.metric, written=one, answer=answer.text)
        label = example.answer if choice.correct else choice.written_answer
        if label is None:
            label = example.choices[choice.predicted].label
        gain = answer.sums[example.gold] - without[example.gold]
        rows.append((example.id, choice.rationale or "", "stop" if one.terminated else "length", label, gain))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    n = len(table)
    right = sum(example.answer == label for example, label in zip(examples, table["answer"], strict=True))
    result = {
        "n": n,
        "right": right,
        "ended": int((table["finish"] == "stop").sum()),
        "gain": float(table["gain"].mean()) if n else None,
    }
    used = {"weights": opened.job.produced[f"weights@{opened.checkpoint}"], "task": opened.task.digest}
    return Outcome(result, {"written": context.keep(parquet(table), "written", "parquet")}, used)
