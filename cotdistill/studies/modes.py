"""Which students of a study have been asked in every mode and after every test of their rationale, and which are
missing. No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.errors import UnknownName, UsageError
from cotdistill.rationales.perturbations import PERTURBATIONS, SHARES, checked_tests
from cotdistill.store.planned_runs import planned_runs
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.analyses.modes import ModesConfig
from cotdistill.studies.inspection_jobs import task_of, test_rows_of
from cotdistill.tasks.splits import first_by_hash

# Which of several jobs that would do is read.
_WORTH = {"finished": 3, "running": 2, "queued": 2, "failed": 1}


@dataclass(frozen=True)
class Wanted:
    """What a person wants to see of a study: tests (none: all that its task allows), of how many test questions (0:
    all), whose rationales are given ("": the study's), and whose are their paraphrases."""

    tests: tuple[str, ...] = ()
    examples: int = 0
    source: str = ""
    paraphrases: str = ""


EVERYTHING = Wanted()


@dataclass(frozen=True)
class ModesRequest:
    """A planned run with what is known of it. trained: its training job (None: deleted); spec: the job that asks it
    (None before it has finished training); job: the finished job to read, else the one under way, else the failed
    one."""

    condition: str
    replicate: int
    trained: Job | None
    spec: JobSpec | None
    job: Job | None

    @property
    def finished(self) -> bool:
        return self.job is not None and self.job.state == "finished"

    @property
    def missing(self) -> bool:
        """Whether its job is neither done nor under way."""
        return self.spec is not None and (self.job is None or self.job.state in ("failed", "stopped"))


def asked(
    store: Store, study: int | str, wanted: Wanted = EVERYTHING, conditions: Sequence[str] = ()
) -> list[ModesRequest]:
    """Every planned run of a study (of some of its conditions), in the order planned. A finished job of at least the
    tests that are wanted does; UsageError or UnknownName for tests, a source or conditions that the study does not
    have."""
    planned = planned_runs(store, study)
    known = list(dict.fromkeys(name for name, _, _ in planned))
    for name in conditions:
        if name not in known:
            raise UnknownName("condition of this study", name, known)
    jobs: dict[str, list[Job]] = {}
    for job in store.queue.jobs(kind="modes"):
        jobs.setdefault(str(job.config["run"]), []).append(job)
    requests = []
    for condition, replicate, trained in planned:
        if conditions and condition not in conditions:
            continue
        if trained is None or trained.state != "finished":
            requests.append(ModesRequest(condition, replicate, trained, None, None))
            continue
        config, questions = _config(store, trained, wanted)
        fitting = [job for job in jobs.get(trained.identity, []) if _serves(ModesConfig.from_plain(job.config), config)]
        best = max(
            fitting,
            key=lambda job: (_WORTH.get(job.state, 0), job.config["tests"] == list(config.tests), job.id),
            default=None,
        )
        requests.append(ModesRequest(condition, replicate, trained, config.spec(trained, questions), best))
    return requests


def _config(store: Store, trained: Job, wanted: Wanted) -> tuple[ModesConfig, int]:
    task = task_of(store, trained)
    source = wanted.source or str(trained.config.get("source") or "") or task.default_source
    rows = first_by_hash(task.examples("test", source or None), test_rows_of(trained))
    if not rows:
        raise UsageError(f"The task {task.name!r} has no test questions.", "Import it with a test split.")
    number = wanted.examples if wanted.examples < len(rows) else 0
    tests = checked_tests(wanted.tests, generated=task.has_world)
    if wanted.paraphrases and wanted.paraphrases not in task.sources:
        raise UnknownName(f"rationale source of {task.name}", wanted.paraphrases, task.sources)
    if "paraphrase" in tests and not wanted.paraphrases and not task.has_world:
        raise UsageError(
            f"Rationales of {task.name!r} cannot be paraphrased automatically.",
            "Name a source that holds paraphrases: --paraphrases SOURCE",
        )
    paraphrases = wanted.paraphrases if "paraphrase" in tests else ""
    return ModesConfig(trained.identity, tests, SHARES, number, source, paraphrases), len(rows)


def _serves(job: ModesConfig, wanted: ModesConfig) -> bool:
    """Whether a job answers what is wanted, and perhaps more."""
    same = (job.shares, job.examples, job.source) == (wanted.shares, wanted.examples, wanted.source)
    reworded = "paraphrase" not in wanted.tests or job.paraphrases == wanted.paraphrases
    return same and reworded and set(wanted.tests) <= set(job.tests)


def state_counts(requests: Sequence[ModesRequest]) -> dict[str, int]:
    """How many of the runs are asked ("finished"), under way, failed, missing, or not trained yet."""
    states = Counter(
        "untrained" if one.spec is None else one.job.state if one.job is not None else "missing" for one in requests
    )
    return {
        name: states.get(name, 0)
        for name in ("finished", "running", "queued", "failed", "stopped", "missing", "untrained")
    }


def sizes(store: Store, study: int | str) -> Counter[int]:
    """Of how many test questions (0: all) students of a study have been asked with every test, or are to be: in how
    many of its runs.
    """
    identities = {job.identity for _, _, job in planned_runs(store, study) if job is not None}
    every = {p.name for p in PERTURBATIONS if not (p.generated or p.named)}
    sizes = set()
    for job in store.queue.jobs(kind="modes"):
        config = ModesConfig.from_plain(job.config)
        if config.run in identities and every <= set(config.tests) and job.state in ("finished", "running", "queued"):
            sizes.add((config.run, config.examples))
    return Counter(examples for _, examples in sizes)
