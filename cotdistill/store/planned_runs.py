"""The planned runs of a study: as jobs, or as plain rows where a table of 10,000 of them builds no job and parses no
document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.store.records import Job
from cotdistill.store.store import Store

PlannedRuns = Sequence[tuple[str, int, Job | None]]


def planned_runs(store: Store, study: int | str) -> list[tuple[str, int, Job | None]]:
    """(condition, replicate, job or None if it was deleted) of every planned run."""
    record = store.queue.study(study)
    jobs = {job.id: job for job in store.queue.jobs(study=record.id)}
    return [(m.condition, m.replicate, jobs.get(m.job_id)) for m in record.members if m.role == "run"]


def outcomes(store: Store, study: int | str | None = None) -> list[tuple[Any, ...]]:
    """(study's name, condition, replicate, job's number, state, result, error) of every planned run in the order of its
    plan; of every study, newest first, if none is named. result and error are text as stored. The last four are None
    for a run that was deleted. UnknownName."""
    text = str(study)
    key = {"number": int(text) if text.isdecimal() and len(text) < 19 else None, "name": text}
    named = "SELECT coalesce((SELECT id FROM study WHERE id = :number), (SELECT max(id) FROM study WHERE name = :name))"
    query = """
        SELECT study.name, member.condition, member.replicate, job.id, job.state, job.result, job.error
        FROM study JOIN member ON member.study = study.id LEFT JOIN job ON job.identity = member.identity
        WHERE study.id = coalesce(?, study.id) AND member.role = 'run' ORDER BY study.id DESC, member.place
    """
    with store.queue.database.read() as connection:
        number = None if study is None else connection.execute(named, key).fetchone()[0]
        if study is None or number is not None:
            return [tuple(row) for row in connection.execute(query, (number,))]
    raise UnknownName("launched study", text, [one.name for one in store.queue.studies()])
