"""Page Saliency: what each token counts, for up to four students and four methods side by side, on one example that can
be edited.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.saliency import aggregate_view, answered, attribution_cards, influence, tokenwise
from cotdistill.dashboard.widgets import asking, editing, example_finder, pickers, queue, target_picker
from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.dashboard.widgets.view_state import Scene, commands, example_for, reading_of, task_of_student
from cotdistill.execution.live import client
from cotdistill.report import heat
from cotdistill.report.explanation import UNITS
from cotdistill.saliency.methods import METHODS
from cotdistill.saliency.reading import EncodedExample
from cotdistill.saliency.settings import BASELINES, MOVES, AttributionSettings
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.students.sources import encoder_of
from cotdistill.studies.inspection_jobs import checkpoints
from cotdistill.tasks.example import Example
from cotdistill.text import listed, plain_markdown

ABOUT = (
    "What each token counts for an answer, students side by side. Hover over a token for its value; every view is a"
    " link."
)


def draw(store: Store) -> None:
    frame.heading("Saliency", ABOUT)
    studies = store.queue.studies()
    if not studies:
        frame.empty(
            "What each token counts for an answer will stand here",
            "Students side by side on one example: question, choices and rationale, coloured by what they count. It"
            " needs a trained student.",
        )
        return
    names = list(dict.fromkeys(study.name for study in studies))
    left, middle, right = st.columns([3, 6, 4], vertical_alignment="bottom")
    with left:
        name = frame.choose("Study", names, key="study", drops=("student", "example", "target", *editing.BELONGS))
    study = next(s for s in studies if s.name == name)
    known = pickers.finished(store, study)
    if not known:
        if any(job.state in ("queued", "running") for job in store.queue.jobs(study=study.id)):
            queue.live(store, short=True)
        frame.empty(
            "No student of this study has finished yet", "The first can be looked into as soon as its run has finished."
        )
        return
    client.warm(store)
    with middle:
        students = pickers.students(known)
    with right:
        methods = pickers.methods()
    scene = _scene(store, study, students, methods)
    if scene is None:
        return
    if scene.aim.kind == "rationale":
        tokenwise.draw(scene)
    else:
        _look(scene)
    # On a training example, what it teaches comes first.
    for section in (influence, aggregate_view) if scene.split == "train" else (aggregate_view, influence):
        section.draw(scene)


def _scene(store: Store, study: Study, students: Sequence[PickedStudent], methods: Sequence[str]) -> Scene | None:
    """The pickers of example, target and view; None where there is nothing to show, which has been told then."""
    first = students[0]
    task = task_of_student(store, first)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = example_finder.split()
        examples = task.examples(split, first.source or None)
        example = example_finder.draw(examples, lambda: answered.of(store, students, split, _shares(students)[1]))
    if example is None:
        st.info(
            "No example fits. Search for less, or choose another filter or split."
            if examples
            else f"The {split} split has no rows."
        )
        return None
    aim = target_picker.draw(example, _with_rationale(store, students, example))
    unit, checkpoint, settings, edit = _view(students, methods, example)
    edited = editing.draw(example) if edit else None
    if edited is not None:
        editing.warn(encoder_of(task, first.run), example, edited)
    return Scene(store, study, tuple(students), tuple(methods), split, example, edited, aim, unit, checkpoint, settings)


def _with_rationale(store: Store, students: Sequence[PickedStudent], example: Example) -> EncodedExample | None:
    """The sequence of the first student in view that reads or writes a rationale."""
    for student in students:
        loaded = example_for(store, student, example)
        if loaded is not None and loaded.rationale and student.condition.spec.uses_rationale:
            return reading_of(store, student, loaded)
    return None


def _shares(students: Sequence[PickedStudent]) -> tuple[list[str], str]:
    """The checkpoints that all students in view have, and the one that the URL names, else the last."""
    shared = [share for share in checkpoints(students[0].job) if all(share in checkpoints(s.job) for s in students)]
    wanted = st.query_params.get("checkpoint", "1")
    return shared, wanted if wanted in shared else "1"


def _view(
    students: Sequence[PickedStudent], methods: Sequence[str], example: Example
) -> tuple[str, str, AttributionSettings, bool]:
    """Token, word or sentence; how far the training had come; the settings that few people touch; and whether the text
    is being edited.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit = pickers.switch("Show", UNITS, key="unit", start="token")
        shared, checkpoint = _shares(students)
        if len(shared) > 1:
            checkpoint = pickers.switch(
                "After training", shared, key="checkpoint", start="1", label_of=lambda c: f"{100 * float(c):g} %"
            )
        with st.popover("Baseline", icon=":material/tune:"):
            baseline = frame.choose(
                "A token is compared with", BASELINES, key="from", start="mean", label_of=lambda b: BASELINE_NAMES[b]
            )
            moves = frame.choose(
                "What is compared", MOVES, key="moves", start="content", label_of=lambda m: MOVE_NAMES[m]
            )
            takes = "token"
            if "occlusion" in methods:
                takes = frame.choose(
                    "Occlusion takes away",
                    ("token", "word"),
                    key="takes",
                    start="token",
                    label_of=lambda t: f"a {t} at once",
                )
        edit = editing.switch(example)
    return unit, checkpoint, AttributionSettings(baseline=baseline, moves=moves, unit=takes), edit


BASELINE_NAMES = {"mean": "the mean token of the training text", "zero": "zeros", "pad": "the pad token"}
MOVE_NAMES = {
    "content": "question, choices, rationale and label",
    "all": "these and the template's own words",
    "question": "question and choices only",
    "rationale": "the rationale only",
}


def _look(scene: Scene) -> None:
    """The panels, drawn as the answers come in."""
    asked = attribution_cards.ask(scene)
    title, place = st.empty(), st.empty()

    def drawn() -> None:
        title.subheader(plain_markdown(attribution_cards.headline(scene, asked)), anchor=False)
        wide = len(scene.methods) > 1 and len(scene.students) > 1 and scene.edited is None
        shown = heat.cards(attribution_cards.cards(scene, asked), wide=wide, pairs=scene.edited is not None)
        place.html(_legend(scene, asked) + shown + heat.key(attribution_cards.states(asked)))

    asking.wait(attribution_cards.questions_of(asked), drawn)
    asking.failures(attribution_cards.questions_of(asked))
    _caption(scene)
    frame.terminal(*commands(scene, {one.student.key: one.target for one in asked if not one.which}))


def _legend(scene: Scene, asked: Sequence[attribution_cards.CardRequest]) -> str:
    """One legend for all signed methods, one for each of the others."""
    parts = []
    by_method = attribution_cards.scales(scene, asked)
    signed = [m for m in scene.methods if attribution_cards.is_signed(scene, m)]
    if signed:
        says = f"blue speaks for {scene.aim.describe(scene.example)}; orange against it (nats)"
        parts.append(heat.legend(by_method[signed[0]], says))
    for method in scene.methods:
        if method not in signed:
            scale = by_method[method]
            says = f"{pickers.method_name(method)} has no sign: how much, not in which direction ({scale.unit})"
            parts.append(heat.legend(scale, says))
    return f'<div style="display:flex;flex-direction:column;gap:8px;margin-bottom:14px">{"".join(parts)}</div>'


def _caption(scene: Scene) -> None:
    example = scene.example
    facts = [f"cluster {example.cluster or example.id}", *(f"{key} {value}" for key, value in example.metadata.items())]
    facts += [f"rationale by {example.source}" if example.rationale else "no rationale"]
    compared = (
        ""
        if set(scene.methods) <= {"saliency", "attention_rollout", "input_x_gradient"}
        else f"Compared with {BASELINE_NAMES[scene.settings.baseline]}. "
    )
    forced = [s.condition.label for s in scene.students if answered.mode_of(s) == "given"]
    teacher = f"{listed(dict.fromkeys(forced))}: asked with the teacher's rationale. " if forced else ""
    sums = "" if scene.unit == "token" else f"A {scene.unit} bears the sum of its tokens. "
    parts = [
        f"One example: {example.id} of {scene.split} ({', '.join(facts)}). {compared}{sums}{teacher}",
        "Bars: probability of each choice, ✓ the right one. Thin bar: what each span bears of the absolute scores.",
    ]
    st.caption(plain_markdown(" ".join(parts)))
    with st.expander("The methods in view", type="compact"):
        for method in scene.methods:
            st.markdown(
                f"**{plain_markdown(pickers.method_name(method))}**: {plain_markdown(METHODS.get(method).help)}"
            )
