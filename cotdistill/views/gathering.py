"""Attributions of many examples: which finished jobs a view can draw on, which are on their way, and one button for those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from cotdistill.config import plain
from cotdistill.errors import CotdistillError
from cotdistill.studies.jobs import Job, JobSpec
from cotdistill.studies.looks import AttributeConfig, attribute_job, ids_of, pick_examples, source_of
from cotdistill.studies.store import Store
from cotdistill.studies.supervisor import ensure_supervisor
from cotdistill.views import frame, queue
from cotdistill.views.commands import command
from cotdistill.views.picking import Student, method_name
from cotdistill.views.scene import Scene, task_of_student
from cotdistill.views.wording import about, plain_markdown, plural

# Jobs looked through, newest first.
LOOKED = 1000
START = 200


@dataclass(frozen=True)
class Gathered:
    """The newest and largest attribution of one student by one method, in whatever state it is; None without one."""

    student: Student
    method: str
    job: Job | None

    @property
    def finished(self) -> bool:
        return self.job is not None and self.job.state == "finished"

    @property
    def pending(self) -> bool:
        return self.job is not None and self.job.state in ("queued", "running")


def target_of(scene: Scene) -> str:
    """What is explained over many examples: a target that means the same in each of them."""
    return scene.aim.text if scene.aim.text in ("gold", "predicted", "contrast", "rationale") else "contrast"


def gather(scene: Scene) -> list[Gathered]:
    """One entry a student and method in view, for this split, checkpoint, target and baseline; finished ones first, then those with most examples."""
    target = target_of(scene)
    wanted = {(s.job.identity, m): (s, m) for s in scene.students for m in scene.methods}
    settings = {m: plain(scene.settings_of(m, target)) for m in scene.methods}
    best: dict[tuple[str, str], Job] = {}
    for job in scene.store.queue.jobs(kind="attribute", limit=LOOKED):
        config = job.config
        key = (str(config["run"]), str(config["settings"]["method"]))
        if key not in wanted or config["split"] != scene.split or config["checkpoint"] != scene.checkpoint or config["settings"] != settings[key[1]]:
            continue
        if key not in best or _worth(job) > _worth(best[key]):
            best[key] = job
    return [Gathered(student, method, best.get(key)) for key, (student, method) in wanted.items()]


def _worth(job: Job) -> tuple[bool, bool, int]:
    return job.state == "finished", job.state in ("queued", "running"), len(job.config["examples"])


def offer(scene: Scene, found: Sequence[Gathered], what: str) -> None:
    """What will stand here, and the button that brings it; while jobs run, how far they are."""
    missing = [one for one in found if not one.finished]
    if not missing:
        return
    with st.container(border=True):
        st.markdown(plain_markdown(what))
        if any(one.pending for one in missing):
            queue.live(scene.store, short=True)
            return
        for one in missing:
            if one.job is not None and one.job.state == "failed":
                st.caption(f":material/error: {plain_markdown(str((one.job.error or {}).get('message', 'The job failed.')))}")
        rows = len(task_of_student(scene.store, scene.students[0]).examples(scene.split))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            number = int(
                st.number_input("Examples", min_value=2, max_value=max(2, rows), value=min(START, max(2, rows)), step=50, key="gather.n", width=140)
            )
            try:
                specs = specs_of(scene, missing, number)
            except CotdistillError as error:
                frame.problem(error)
                return
            st.button(
                f"Attribute {number:,} {scene.split} examples", type="primary", icon=":material/playlist_add:", key="gather.go",
                on_click=submit, args=(scene.store, specs),
            )  # fmt: skip
            st.caption(plain_markdown(_cost(scene, missing, specs)))
    frame.terminal(*lines(scene, missing, number), label="These jobs in the terminal")


def specs_of(scene: Scene, missing: Sequence[Gathered], number: int) -> list[JobSpec]:
    """One job a student and method, over the first `number` examples of the split. CotdistillError for what cannot be explained."""
    specs = []
    for one in missing:
        source = source_of(one.student.job)
        examples = pick_examples(task_of_student(scene.store, one.student), scene.split, str(number), source)
        settings = scene.settings_of(one.method, target_of(scene))
        config = AttributeConfig(one.student.job.identity, scene.split, ids_of(examples), scene.checkpoint, "", settings)
        specs.append(attribute_job(one.student.job, config))
    return specs


def submit(store: Store, specs: Sequence[JobSpec]) -> None:
    """Queue the jobs and see to it that somebody works on them."""
    store.queue.submit(list(specs))
    ensure_supervisor(store)


def _cost(scene: Scene, missing: Sequence[Gathered], specs: Sequence[JobSpec]) -> str:
    seconds = sum(spec.seconds for spec in specs) / max(1, scene.store.queue.workers())
    methods = {method_name(one.method) for one in missing}
    students = {one.student.key for one in missing}
    return f"{plural(len(specs), 'job')} ({plural(len(students), 'student')} × {plural(len(methods), 'method')}), {about(seconds / 2, seconds * 2)}"


def lines(scene: Scene, missing: Sequence[Gathered], number: int) -> list[str]:
    found = []
    for one in missing:
        words = ["attribute", str(one.student.job.id), "--examples", str(number), "--split", scene.split, "--method", one.method]
        words += ["--target", target_of(scene), "--job"]
        words += ["--checkpoint", scene.checkpoint] if scene.checkpoint != "1" else []
        found.append(command(*words))
    return found
