"""Whether replicates were added to a study after its first results had been seen."""

from __future__ import annotations

from typing import Any

from cotdistill.config import plain
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping


def extended(store: Store, study: Study) -> dict[str, Any] | None:
    """The launch that this study extends after a look: the same plan with fewer replicates, of which a run had ended before this one was launched.
    {"id", "replicates"} of the earliest such launch (id None: it is in the store that this study was imported from), None if there is none."""
    if study.extends is not None:
        return {"id": None, "replicates": study.extends}
    mine = _but_replicates(study)
    for other in sorted(store.queue.studies(), key=lambda one: one.id):
        if (
            other.id >= study.id
            or int(other.spec["replicates"]) >= int(study.spec["replicates"])
            or _but_replicates(other) != mine
        ):
            continue
        runs = {member.job_id for member in other.members if member.role == "run"}
        ended = (job.finished for job in store.queue.jobs(study=other.id) if job.id in runs and job.state == "finished")
        if any(at is not None and at < study.created for at in ended):
            return {"id": other.id, "replicates": int(other.spec["replicates"])}
    return None


def _but_replicates(study: Study) -> dict[str, Any]:
    spec = plain(spec_from_mapping(study.spec))
    return {key: value for key, value in spec.items() if key not in ("name", "title", "replicates", "baseline")}
