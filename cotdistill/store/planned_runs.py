"""The planned runs of a study: as jobs, or as plain rows where a table of 10,000 of them builds no job and parses no
document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotdistill.errors import UnknownName
from cotdistill.store.records import Job, Study
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


def extended(store: Store, study: Study) -> dict[str, Any] | None:
    """The earliest study whose ended runs this one shares in another composition: results that could be seen when this
    one was planned.

    {"id", "name", "replicates", "runs", "of"}: the earlier study with its replicates, how many of this study's runs had
    ended by then, and how many it has; None if there is none. id None: the look was in the store that this study was
    imported from. Only the jobs count, not how the specs or the imported files are called: other replicates, some of
    the conditions, a corrected file, or a condition named primary since are all another composition.
    """
    runs = {member.identity: member.job_id for member in study.members if member.role == "run"}
    if study.extends is not None:
        return {"id": None, "name": None, "replicates": study.extends, "runs": None, "of": len(runs)}
    jobs = {job.id: job for job in store.queue.jobs(study=study.id)}
    ended = set()
    for identity, number in runs.items():
        job = jobs.get(number)
        if job is not None and job.state == "finished" and job.finished is not None and job.finished < study.created:
            ended.add(identity)
    for other in sorted(store.queue.studies(), key=lambda launched: launched.id):
        theirs = {member.identity for member in other.members if member.role == "run"}
        shared = ended & theirs
        named_later = study.spec.get("primary") not in ("", None, other.spec.get("primary"))
        if other.id < study.id and shared and (theirs != set(runs) or named_later):
            replicates = int(other.spec["replicates"])
            return {"id": other.id, "name": other.name, "replicates": replicates, "runs": len(shared), "of": len(runs)}
    return None
