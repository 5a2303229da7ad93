"""Jobs over many examples: which finished ones a view can draw on, which are on their way, and one button for those
that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from cotdistill.config import plain
from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import queue
from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.dashboard.widgets.view_state import Scene, options, task_of_student
from cotdistill.errors import CotdistillError
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.report.commands import command
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.attention import ConcentrationConfig, concentration_job
from cotdistill.studies.inspection_jobs import (
    AttributeConfig,
    FaithfulnessConfig,
    InfluenceConfig,
    attribute_job,
    checkpoints,
    faithfulness_job,
    ids_of,
    influence_job,
    pick_examples,
    source_of,
)
from cotdistill.studies.paraphrases import ParaphrasesConfig, paraphrases_job
from cotdistill.studies.probe import ProbeConfig, probe_job
from cotdistill.text import about, capital, plain_markdown, plural

# Jobs looked through, newest first.
LOOKED = 400
START = 200
# Training examples aligned at first: each costs a pass a token and checkpoint.
START_ALIGNED = 60


@dataclass(frozen=True)
class RequestedJob:
    """The best job for one student (and method) in view, in whatever state it is; None without one. spec: the job over
    the first N examples of the split; words: the same in the terminal."""

    student: PickedStudent
    method: str
    job: Job | None
    spec: Callable[[int], JobSpec]
    words: Callable[[int], list[str]]

    @property
    def finished(self) -> bool:
        return self.job is not None and self.job.state == "finished"

    @property
    def pending(self) -> bool:
        return self.job is not None and self.job.state in ("queued", "running")

    @property
    def result(self) -> Mapping[str, Any]:
        return (self.job.result if self.job is not None else None) or {}


def target_of(scene: Scene) -> str:
    """What is explained over many examples: a target that means the same in each of them."""
    return scene.aim.text if scene.aim.text in ("gold", "predicted", "contrast", "rationale") else "contrast"


def answer_of(scene: Scene) -> str:
    """The same where only an answer can be judged."""
    return "contrast" if target_of(scene) == "rationale" else target_of(scene)


def attributions(scene: Scene) -> list[RequestedJob]:
    """One entry a student and method in view, for this split, checkpoint, target and baseline."""

    def config(student: PickedStudent, method: str, ids: tuple[str, ...]) -> AttributeConfig:
        return AttributeConfig(
            student.job.identity, scene.split, ids, scene.checkpoint, "", scene.settings_of(method, target_of(scene))
        )

    known = scene.store.queue.jobs(kind="attribute", limit=LOOKED)
    return [
        _gathered(
            scene, known, "attribute", student, method, scene.split,
            config(student, method, ()),
            partial(_spec, attribute_job, student.job, partial(config, student, method)),
            ["--split", scene.split, "--method", method, "--target", target_of(scene), *options(scene), "--job"],
        )
        for student, method in _each(scene)
    ]  # fmt: skip


def judgements(scene: Scene) -> list[RequestedJob]:
    """The faithfulness of every method in view, by student."""

    def config(student: PickedStudent, method: str, ids: tuple[str, ...]) -> FaithfulnessConfig:
        settings = scene.settings_of(method, answer_of(scene))
        return FaithfulnessConfig(student.job.identity, scene.split, ids, scene.checkpoint, settings=settings)

    known = scene.store.queue.jobs(kind="faithfulness", limit=LOOKED)
    return [
        _gathered(
            scene, known, "faithfulness", student, method, scene.split,
            config(student, method, ()),
            partial(_spec, faithfulness_job, student.job, partial(config, student, method)),
            ["--split", scene.split, "--method", method, "--target", answer_of(scene), *options(scene), "--job"],
        )
        for student, method in _each(scene)
    ]  # fmt: skip


def alignments(scene: Scene) -> list[RequestedJob]:
    """Training-signal alignment of every student in view that learns from rationales, at all its checkpoints."""

    def config(student: PickedStudent, ids: tuple[str, ...]) -> InfluenceConfig:
        return InfluenceConfig(student.job.identity, "train", ids, tuple(checkpoints(student.job)))

    known = scene.store.queue.jobs(kind="influence", limit=LOOKED)
    return [
        _gathered(
            scene, known, "influence", student, "", "train",
            config(student, ()),
            partial(_spec, influence_job, student.job, partial(config, student)),
            ["--split", "train", "--job"],
        )
        for student in scene.students if student.condition.spec.uses_rationale
    ]  # fmt: skip


def probes(scene: Scene, what: str) -> list[RequestedJob]:
    """The linear probes of every student in view, for one class."""

    def config(student: PickedStudent, ids: tuple[str, ...]) -> ProbeConfig:
        return ProbeConfig(student.job.identity, scene.split, ids, scene.checkpoint, what=what)

    known = scene.store.queue.jobs(kind="probe", limit=LOOKED)
    at = ["--checkpoint", scene.checkpoint] if scene.checkpoint != "1" else []
    return [
        _gathered(
            scene, known, "probe", student, "", scene.split,
            config(student, ()),
            partial(_spec, probe_job, student.job, partial(config, student)),
            ["--split", scene.split, "--what", what, *at, "--job"],
        )
        for student in scene.students
    ]  # fmt: skip


def concentrations(scene: Scene) -> list[RequestedJob]:
    """The attention of every student in view."""

    def config(student: PickedStudent, ids: tuple[str, ...]) -> ConcentrationConfig:
        return ConcentrationConfig(student.job.identity, scene.split, ids, scene.checkpoint)

    known = scene.store.queue.jobs(kind="concentration", limit=LOOKED)
    at = ["--checkpoint", scene.checkpoint] if scene.checkpoint != "1" else []
    return [
        _gathered(
            scene, known, "attention", student, "", scene.split,
            config(student, ()),
            partial(_spec, concentration_job, student.job, partial(config, student)),
            ["--split", scene.split, *at, "--job"],
        )
        for student in scene.students
    ]  # fmt: skip


def paraphrases(scene: Scene) -> list[RequestedJob]:
    """How far the attributions of every student and method in view agree between wordings, for an answer."""

    def config(student: PickedStudent, method: str, ids: tuple[str, ...]) -> ParaphrasesConfig:
        settings = scene.settings_of(method, answer_of(scene))
        return ParaphrasesConfig(student.job.identity, scene.split, ids, scene.checkpoint, settings=settings)

    known = scene.store.queue.jobs(kind="paraphrases", limit=LOOKED)
    return [
        _gathered(
            scene, known, "paraphrases", student, method, scene.split,
            config(student, method, ()),
            partial(_spec, paraphrases_job, student.job, partial(config, student, method)),
            ["--split", scene.split, "--method", method, "--target", answer_of(scene), *options(scene), "--job"],
        )
        for student, method in _each(scene)
    ]  # fmt: skip


def _spec(
    job_of: Callable[[Job, Any], JobSpec], job: Job, config: Callable[[tuple[str, ...]], Any], ids: tuple[str, ...]
) -> JobSpec:
    return job_of(job, config(ids))


def _each(scene: Scene) -> Iterator[tuple[PickedStudent, str]]:
    return ((student, method) for student in scene.students for method in scene.methods)


def _gathered(
    scene: Scene,
    known: Sequence[Job],
    kind: str,
    student: PickedStudent,
    method: str,
    split: str,
    config: Any,
    spec: Callable[[tuple[str, ...]], JobSpec],
    words: list[str],
) -> RequestedJob:
    """Any job that differs from what is wanted in nothing but its examples will do; finished ones first, then those
    with most examples.
    """
    wanted = {name: value for name, value in plain(config).items() if name != "examples"}
    fitting = [
        job
        for job in known
        if job.config.get("run") == student.job.identity
        and {name: value for name, value in job.config.items() if name != "examples"} == wanted
    ]

    def over(number: int) -> JobSpec:
        examples = pick_examples(task_of_student(scene.store, student), split, str(number), source_of(student.job))
        return spec(ids_of(examples))

    return RequestedJob(
        student, method, max(fitting, key=_worth, default=None), over,
        lambda number: ["inspect", kind, str(student.job.id), "--examples", str(number), *words],
    )  # fmt: skip


def _worth(job: Job) -> tuple[bool, bool, int]:
    return job.state == "finished", job.state in ("queued", "running"), len(job.config["examples"])


def offer(scene: Scene, requests: Sequence[RequestedJob], what: str, verb: str, split: str, start: int = START) -> None:
    """What will stand here, and the button that brings it; while jobs run, how far they are."""
    missing = [one for one in requests if not one.finished]
    if not missing:
        return
    key = f"gather.{verb}"
    with st.container(border=True):
        st.markdown(plain_markdown(what))
        if any(one.pending for one in missing):
            queue.live(scene.store, short=True)
            return
        for one in missing:
            if one.job is not None and one.job.state == "failed":
                st.caption(
                    f":material/error: {plain_markdown(str((one.job.error or {}).get('message', 'The job failed.')))}"
                )
        rows = max(2, len(task_of_student(scene.store, scene.students[0]).examples(split)))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            number = int(
                st.number_input(
                    "Examples", min_value=2, max_value=rows, value=min(start, rows), step=50, key=f"{key}.n", width=140
                )
            )
            try:
                specs = [one.spec(number) for one in missing]
            except CotdistillError as error:
                frame.problem(error)
                return
            st.button(
                f"{capital(verb)} {number:,} {split} examples",
                type="primary",
                icon=":material/playlist_add:",
                key=f"{key}.go",
                on_click=submit,
                args=(scene.store, specs),
            )
            st.caption(plain_markdown(_cost(scene.store, specs)))
    frame.terminal(*(command(*one.words(number)) for one in missing), label="These jobs in the terminal")


def submit(store: Store, specs: Sequence[JobSpec]) -> None:
    """Queue the jobs and see to it that somebody works on them."""
    store.queue.submit(list(specs))
    ensure_supervisor(store)


def _cost(store: Store, specs: Sequence[JobSpec]) -> str:
    seconds = sum(spec.seconds for spec in specs) / max(1, store.queue.workers())
    return (
        f"{plural(len(specs), 'job')}, {about(seconds / 2, seconds * 2)} of computing. The tab may be closed meanwhile."
    )
