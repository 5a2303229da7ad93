"""Jobs over many examples: which finished ones a view can draw on, which are on their way, and one button for those
that are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import queue
from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.dashboard.widgets.view_state import Scene, options, task_of_student
from cotdistill.errors import CotdistillError
from cotdistill.execution.supervisor import ensure_supervisor
from cotdistill.report.commands import command
from cotdistill.store.records import Job, JobSpec
from cotdistill.store.store import Store
from cotdistill.studies.analyses.attribute import AttributeConfig
from cotdistill.studies.analyses.faithfulness import FaithfulnessConfig
from cotdistill.studies.analyses.influence import InfluenceConfig
from cotdistill.studies.analyses.paraphrases import ParaphrasesConfig
from cotdistill.studies.analysis import AttributionConfig, CheckpointConfig, ExamplesConfig
from cotdistill.studies.inspection_jobs import checkpoints, ids_of, pick_examples, source_of
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
    """One entry per student and method in view, for this split, checkpoint, target and baseline."""
    return _by_method(scene, AttributeConfig, target_of(scene))


def faithfulness(scene: Scene) -> list[RequestedJob]:
    """The faithfulness of every method in view, by student."""
    return _by_method(scene, FaithfulnessConfig, answer_of(scene))


def paraphrases(scene: Scene) -> list[RequestedJob]:
    """How far the attributions of every student and method in view agree between wordings, for an answer."""
    return _by_method(scene, ParaphrasesConfig, answer_of(scene))


def influence(scene: Scene) -> list[RequestedJob]:
    """Training-signal alignment of every student in view that learns from rationales, at all its checkpoints."""
    known = _recent_jobs(scene, InfluenceConfig)
    return [
        _request(
            scene,
            known,
            student,
            InfluenceConfig(student.job.identity, "train", (), tuple(checkpoints(student.job))),
            ["--split", "train", "--job"],
        )
        for student in scene.students
        if student.condition.spec.uses_rationale
    ]


def by_student(scene: Scene, config: type[CheckpointConfig], **settings: Any) -> list[RequestedJob]:
    """An analysis of every student in view, for this split and checkpoint. settings: further fields of its config."""
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    at = ["--checkpoint", scene.checkpoint] if scene.checkpoint != "1" else []
    known = _recent_jobs(scene, config)
    return [
        _request(
            scene,
            known,
            student,
            config(student.job.identity, scene.split, (), scene.checkpoint, **settings),
            ["--split", scene.split, *words, *at, "--job"],
        )
        for student in scene.students
    ]


def _by_method(scene: Scene, config: type[AttributionConfig], target: str) -> list[RequestedJob]:
    known = _recent_jobs(scene, config)
    return [
        _request(
            scene,
            known,
            student,
            config(student.job.identity, scene.split, (), scene.checkpoint, settings=scene.settings_of(method, target)),
            ["--split", scene.split, "--method", method, "--target", target, *options(scene), "--job"],
            method,
        )
        for student in scene.students
        for method in scene.methods
    ]


def _recent_jobs(scene: Scene, config: type[ExamplesConfig]) -> list[Job]:
    """The newest jobs of an analysis, read once for all students and methods in view."""
    return scene.store.queue.jobs(kind=config.analysis.kind, limit=LOOKED)


def _request(
    scene: Scene,
    known: Sequence[Job],
    student: PickedStudent,
    config: ExamplesConfig,
    words: list[str],
    method: str = "",
) -> RequestedJob:
    """Any known job that differs from what is wanted in nothing but its examples will do; finished ones first, then
    those with most examples. config: without examples yet.
    """

    def without_examples(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != "examples"}

    wanted = without_examples(config.job_config())
    fitting = [
        job for job in known if job.config.get("run") == student.job.identity and without_examples(job.config) == wanted
    ]

    def over(number: int) -> JobSpec:
        examples = pick_examples(
            task_of_student(scene.store, student), config.split, str(number), source_of(student.job)
        )
        return dataclasses.replace(config, examples=ids_of(examples)).spec(student.job)

    return RequestedJob(
        student, method, max(fitting, key=_worth, default=None), over,
        lambda number: ["inspect", config.analysis.name, str(student.job.id), "--examples", str(number), *words],
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
