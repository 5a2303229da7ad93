"""Whether some of a study's results could be seen before the study was planned."""

from __future__ import annotations

from typing import Any

from cotdistill.store.records import Study
from cotdistill.store.store import Store


def extended(store: Store, study: Study) -> dict[str, Any] | None:
    """The earliest study whose ended runs this one shares in another composition: results that could be seen when this
    one was planned.

    {"id", "name", "replicates", "runs", "of"}: the earlier study with its replicates, how many of this study's runs had
    ended by then, and how many it has. None if there is none. Only the jobs count, not how the specs or the imported
    files are called: other replicates, some of the conditions, or a corrected file are all another composition. id
    None: the look was in the store that this study was imported from.
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
        if other.id < study.id and shared and theirs != set(runs):
            replicates = int(other.spec["replicates"])
            return {"id": other.id, "name": other.name, "replicates": replicates, "runs": len(shared), "of": len(runs)}
    return None
