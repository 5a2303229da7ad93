"""A study out of answers that other code made: the same comparisons and verdicts as for students that were trained
here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import StudentConfig, TrainingConfig, digest, plain
from cotdistill.errors import UsageError
from cotdistill.exchange.insert_imported import IncomingJob, IncomingProduct, IncomingStudy, record, standing
from cotdistill.exchange.prediction_file import (
    AnswerColumns,
    AnswersConfig,
    PredictionFile,
    PredictionRow,
    read_answers,
    renamed,
)
from cotdistill.exchange.scorer_logs import LogChoice, log_files
from cotdistill.rationales.conditions import parse
from cotdistill.results.claims import primary_of
from cotdistill.store.artifacts import PREDICTION_TYPES, hash_file, parquet
from cotdistill.store.records import ANSWERS, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, checked
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.task import Task

# What stands where a file says nothing of it.
NOT_NAMED = "not named"


@dataclass(frozen=True)
class ImportedAnswers:
    """What an import of answers did. study: its number, None where nothing was to be written. conditions: canonical
    form by the name in the file; runs: (condition, replicate, accuracy) of each. told: what a person should know."""

    study: int | None
    name: str
    digest: str
    conditions: Mapping[str, str]
    runs: tuple[tuple[str, int, float], ...]
    items: int
    clusters: int
    nested: bool
    dev_items: int
    chance: float
    notes: tuple[str, ...]


def import_answers(
    store: Store,
    path: Path,
    study: str,
    *,
    columns: AnswerColumns | None = None,
    scores: str = "prob",
    task: str = "",
    student: str = "",
    title: str = "",
    baseline: str = "",
    primary: str = "",
    names: Sequence[str] = (),
    choice: LogChoice | None = None,
    dry_run: bool = False,
) -> ImportedAnswers:
    """Make a study of a file of answers (see `answers.read_answers`). names: NAME=CONDITION for conditions that are not
    called by our grammar. primary: of several key-token conditions, the one that claim 3 is judged by, as the file or
    the grammar calls it; name it before its answers are seen.

    UsageError with the names that are left where some are not; the same file again is the same study. A study of
    answers may be imported anew under its name, and the latest counts; one that was trained here keeps its name to
    itself.
    """
    import pandas as pd

    opened = open_task(store.tasks_root, task) if task else None
    answers = read_answers(path, columns, scores=scores, task=opened, choice=choice)
    conditions = _conditions(answers, names)
    answers = renamed(answers, conditions.__getitem__)
    chosen = _primary(conditions, primary)
    spec = _spec(answers, path.name, study, opened, student or NOT_NAMED, title, baseline, task, chosen)
    jobs = _jobs(answers, spec, opened)
    members = tuple(
        (job.identity, str(job.config["condition"]), int(job.config["replicate"]), "run") for job, _ in jobs
    )
    members += tuple(_missing(answers, spec))
    whole = IncomingStudy(
        spec.name, spec, plain(spec), spec.plan_hash, time.time(), members, tuple(job for job, _ in jobs)
    )
    tables = {product.digest: table for job, table in jobs for product in job.produced.values()}
    seen = standing(store, whole, lambda held: pd.read_parquet(io.BytesIO(tables[held])))
    origin = _origin(path)
    number = None
    if not dry_run:
        for table in tables.values():
            store.artifacts.put_bytes(table, "predictions", "parquet")
        number = record(store, whole, seen, origin)
    runs = answers.runs()
    first = next(iter(runs.values()))
    return ImportedAnswers(
        study=number,
        name=spec.name,
        digest=origin,
        conditions=conditions,
        runs=tuple((c, r, _share(mine)) for (c, r), mine in runs.items()),
        items=len(first),
        clusters=len({row.cluster for row in first}),
        nested=answers.nested,
        dev_items=len(next(iter(answers.runs("dev").values()), [])),
        chance=_chance(first),
        notes=tuple(_notes(answers, spec, opened, seen.study is not None)),
    )


def _origin(path: Path) -> str:
    """Digest of a file, or of the files of a folder with their names."""
    if path.is_file():
        return hash_file(path)
    files = [file for each in log_files(path).values() for file in each]
    return digest([[file.relative_to(path).as_posix(), hash_file(file)] for file in sorted(files)])


def _conditions(answers: PredictionFile, names: Sequence[str]) -> dict[str, str]:
    """Canonical condition by the name in the file."""
    conditions = list(dict.fromkeys(row.condition for row in answers.rows))
    mapped: dict[str, str] = {}
    for text in names:
        name = next((name for name in conditions if text.startswith(f"{name}=")), None)
        if name is None:
            raise UsageError(
                f"--map {text[:120]!r} begins with no condition of the file.",
                f"Expected NAME=CONDITION; the file has: {', '.join(conditions)[:400]}.",
            )
        mapped[name] = text[len(name) + 1 :]
    parsed, strange = {}, []
    for name in conditions:
        try:
            parsed[name] = str(parse(mapped.get(name, name)))
        except UsageError:
            if name in mapped:
                raise
            strange.append(name)
    if strange:
        example = f"--map {strange[0]!r}=post_cot" if " " in strange[0] else f"--map {strange[0]}=post_cot"
        raise UsageError(
            f"{len(strange)} conditions of the file are not called as conditions are here:"
            f" {', '.join(name[:60] for name in strange)}.",
            f"Say what each is, for example {example}; cotdistill conditions list shows what there is.",
        )
    for name, condition in parsed.items():
        if twin := next((other for other in parsed if other != name and parsed[other] == condition), None):
            raise UsageError(
                f"{name!r} and {twin!r} are both {condition}.",
                "Leave one of them out, or map them to different conditions.",
            )
    return parsed


def _primary(conditions: Mapping[str, str], name: str) -> str:
    """The canonical form of the condition that is named primary; UsageError where the file has no such key-token
    condition.
    """
    if not name:
        return ""
    swept = {called: condition for called, condition in conditions.items() if primary_of([condition])}
    condition = swept.get(name) or next((c for c in swept.values() if c == _canonical(name)), "")
    if not condition:
        raise UsageError(
            f"--primary {name[:120]!r} is no key-token condition of the file.",
            f"Expected one of: {', '.join(swept)[:400]}." if swept else "The file has none; leave --primary out.",
        )
    return condition


def _canonical(condition: str) -> str:
    with contextlib.suppress(UsageError):
        return str(parse(condition))
    return ""


def _spec(
    answers: PredictionFile,
    file: str,
    study: str,
    task: Task | None,
    student: str,
    title: str,
    baseline: str,
    name: str,
    primary: str,
) -> StudySpec:
    rows = [row for row in answers.rows if row.split == "test"]
    conditions = tuple(dict.fromkeys(row.condition for row in rows))
    replicates = {row.replicate for row in rows}
    return checked(
        StudySpec(
            name=study,
            title=title,
            task=name or NOT_NAMED,
            student=StudentConfig(name=student),
            training=TrainingConfig(steps=0),
            conditions=conditions,
            replicates=len(replicates),
            fixed_seeds={"world": 0} if task is not None and task.artificial else {},
            baseline=baseline,
            primary=primary,
            answers=file,
        )
    )


def _jobs(answers: PredictionFile, spec: StudySpec, task: Task | None) -> list[tuple[IncomingJob, bytes]]:
    """A finished job for every condition and replicate, with its predictions as a worker would have left them."""
    dev = answers.runs("dev")
    now = time.time()
    jobs = []
    for (condition, replicate), rows in answers.runs().items():
        mode = parse(condition).spec.primary
        table = _table(rows, mode)
        dev_rows = dev.get((condition, replicate), [])
        content = digest([_content(rows), _content(dev_rows)])
        config = plain(
            AnswersConfig(spec.task, task.digest if task else "", spec.student.name, condition, replicate, content)
        )
        asked = JobSpec(ANSWERS, config)
        result = _result(rows, dev_rows, mode, task)
        checksum = hashlib.sha256(table).hexdigest()
        job = IncomingJob(
            identity=asked.identity,
            kind=ANSWERS,
            recipe=asked.recipe,
            config=config,
            estimate=0.0,
            state="finished",
            seconds=0.0,
            created=now,
            label=f"{spec.name} · {parse(condition).label} · replicate {replicate}",
            started=None,
            finished=now,
            result=result,
            error=None,
            needs=(),
            produced={"predictions": IncomingProduct(checksum, checksum, "parquet")},
            used={"task": task.digest} if task else {},
            origin="",
        )
        jobs.append((job, table))
    return jobs


def _missing(answers: PredictionFile, spec: StudySpec) -> list[tuple[str, str, int, str]]:
    """Members for the cells of conditions x replicates that the file lacks: planned runs without a result, so that no
    verdict stands.
    """
    runs = answers.runs()
    planned = [(condition, replicate) for condition in spec.conditions for replicate in sorted({r for _, r in runs})]
    missing = []
    for condition, replicate in planned:
        if (condition, replicate) not in runs:
            config = AnswersConfig(spec.task, "", spec.student.name, condition, replicate, "missing")
            missing.append((JobSpec(ANSWERS, plain(config)).identity, condition, replicate, "run"))
    return missing


def _table(rows: Sequence[PredictionRow], mode: str) -> bytes:
    """The columns of `students.evaluation.Prediction`, one row a question."""
    import pandas as pd

    columns = {
        "id": [row.item for row in rows],
        "cluster": [row.cluster for row in rows],
        "mode": mode,
        "answer": [row.answer for row in rows],
        "predicted": [row.predicted for row in rows],
        "margin": [row.margin for row in rows],
        "probabilities": [list(row.probabilities) for row in rows],
        "scores": [list(row.scores) for row in rows],
        "sums": [list(row.scores) for row in rows],
        "rationale": None,
        "terminated": None,
        "parsed": [row.parsed for row in rows],
        "correct": [row.correct for row in rows],
    }
    return parquet(pd.DataFrame(columns).astype(PREDICTION_TYPES))


def _result(
    rows: Sequence[PredictionRow], dev: Sequence[PredictionRow], mode: str, task: Task | None
) -> dict[str, Any]:
    """What a worker would have recorded, as far as a file of answers can tell it."""
    correct = sum(row.correct for row in rows)
    unread = sum(row.parsed < 0 for row in rows)
    return {
        "accuracy": correct / len(rows),
        "n": len(rows),
        "correct": correct,
        "chance": _chance(rows),
        "mode": mode,
        "modes": {mode: {"accuracy": correct / len(rows), "n": len(rows), "correct": correct, "trained": True}},
        "dev_accuracy": _share(dev) if dev else None,
        "unparsable": unread / len(rows) if unread else None,
        "test_is": task.roles.get("test", "") if task else None,
        "tokens": rows[0].tokens,
    }


def _share(rows: Sequence[PredictionRow]) -> float:
    return sum(row.correct for row in rows) / len(rows)


def _chance(rows: Sequence[PredictionRow]) -> float:
    return math.fsum(row.chance for row in rows) / len(rows)


def _content(rows: Sequence[PredictionRow]) -> list[Any]:
    return [
        [r.item, r.cluster, r.answer, r.predicted, r.parsed, r.probabilities, r.scores, r.tokens]
        + ([] if r.guessed is None else [r.guessed])
        for r in rows
    ]


def _notes(answers: PredictionFile, spec: StudySpec, task: Task | None, known: bool) -> list[str]:
    notes = [*(["The study is here already."] if known else []), *answers.notes]
    runs = answers.runs()
    replicates = sorted({replicate for _, replicate in runs})
    for condition in dict.fromkeys(condition for condition, _ in runs):
        if lacking := [str(r) for r in replicates if (condition, r) not in runs]:
            notes.append(
                f"{condition} lacks replicate{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}, which other"
                " conditions have: the study is incomplete, and there is no verdict."
            )
    if answers.nested:
        notes.append(
            "Each replicate has questions of its own: the replicate is the unit, and intervals speak of new ones."
        )
    swept = [condition for condition in spec.conditions if primary_of([condition])]
    if len(swept) > 1 and primary_of(spec.conditions, spec.primary) is None:
        notes.append(
            f"{len(swept)} key-token conditions and none is named primary: claim 3 is not judged. Name one before you "
            "look: --primary CONDITION"
        )
    if not any(row.split == "dev" for row in answers.rows):
        notes.append(
            "Without rows of dev the margin of 'no worse' has to be given: compare STUDY --margin POINTS, chosen"
            " beforehand."
        )
    if any(row.tokens is None for row in answers.rows if row.split == "test"):
        notes.append("Without the column tokens nothing is known of equal training tokens.")
    if task is not None and (whole := len(task.examples("test"))) != (
        some := len({row.item for row in answers.rows if row.split == "test"})
    ):
        notes.append(f"{some:,} of the task's {whole:,} test questions were answered.")
    return notes
