"""Training-signal alignment: does a training step on a rationale token also lower the loss of the label? One example,
then many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import asking, job_requests, pickers
from cotdistill.dashboard.widgets.asking import Question
from cotdistill.dashboard.widgets.job_requests import RequestedJob
from cotdistill.dashboard.widgets.pickers import PickedStudent
from cotdistill.dashboard.widgets.view_state import Scene, example_for
from cotdistill.report import heat
from cotdistill.report.commands import command
from cotdistill.report.explanation import Explanation, ScoredUnit, largest, marks
from cotdistill.report.figures import saliency
from cotdistill.report.figures.saliency import Dot
from cotdistill.report.heat import Panel, Scale, StudentCard
from cotdistill.studies.inspection_jobs import checkpoints
from cotdistill.text import listed, plain_markdown, plural

# Which label loss the signal of a token is held against.
POOLS = {
    "value": "matched − random",
    "own": "the own question",
    "matched": "matched",
    "random": "random",
    "cosine_value": "cosine, matched − random",
}
ABOUT = (
    "A rationale behind the answer is read by no prediction; what it can do, it does in training. For each rationale"
    " token: does a step on it alone also lower the loss of the label? Violet: yes; gold: it raises it."
)
WILL = (
    "Here will stand which kinds of rationale tokens help the label over many training examples: content and function"
    " words, the answer's own text, and, on the generated task, the words that name the latent group; at every recorded"
    " checkpoint, with intervals."
)


def draw(scene: Scene) -> None:
    """The section on training: the example in view, then many examples."""
    frame.section("What the rationale teaches", ABOUT)
    taught = [s for s in scene.students if s.condition.spec.uses_rationale]
    if not taught:
        st.caption("The students in view were trained without rationales. Choose one that was trained with them.")
        return
    if scene.split == "train":
        _single(scene, taught)
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Show a training example", icon=":material/school:", on_click=_to_training)
            st.caption(
                f"The example in view stands in {scene.split}; alignment is about examples that a student is trained"
                " on, and never about test."
            )
    _many(scene)


def _to_training() -> None:
    st.query_params["split"] = "train"
    st.query_params.pop("example", None)


@dataclass(frozen=True)
class _InfluenceRequest:
    student: PickedStudent
    checkpoint: str
    question: Question


def _single(scene: Scene, taught: Sequence[PickedStudent]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        place = st.container(width="content")
        every = st.toggle("Every checkpoint", key="every", bind="query-params")
        with place:
            # Gradients shrink as training goes on; their angle is what can be compared over it.
            pool = pickers.switch(
                "Label loss of",
                list(POOLS),
                key="pool",
                start="cosine_value" if every else "value",
                label_of=lambda p: POOLS[p],
            )
    asked, absent = [], []
    for student in taught:
        if example_for(scene.store, student, scene.example) is None:
            absent.append(student.label)
            continue
        for share in checkpoints(student.job) if every else [scene.checkpoint]:
            where = {
                "do": "influence",
                "run": student.job.identity,
                "checkpoint": share,
                "split": scene.split,
                "example": scene.example.id,
            }
            asked.append(_InfluenceRequest(student, share, asking.ask(scene.store, where)))
    title, panels = st.empty(), st.empty()

    def drawn() -> None:
        aligned_requests = [
            (one, aligned(one.question.answer, pool)) for one in asked if one.question.answer is not None
        ]
        scale = heat.alignment_scale(
            largest([e for _, e in aligned_requests], "token"), "" if pool == "cosine_value" else "nats a unit step"
        )
        title.markdown(f"**{plain_markdown(_headline(aligned_requests))}**")
        legend = heat.legend(scale, _says(pool))
        panels.html(
            f'<div style="margin-bottom:14px">{legend}</div>'
            + heat.cards(_cards(asked, aligned_requests, scale), wide=every)
            + heat.key(("noted",))
        )

    asking.wait([one.question for one in asked], drawn, "Asking what a training step on each token would do")
    asking.failures([one.question for one in asked])
    if absent:
        st.caption(plain_markdown(f"Trained in another world, which has no such question: {listed(absent)}."))
    questions = max(
        (int(one.question.answer["questions"]) for one in asked if one.question.answer is not None), default=0
    )
    st.caption(
        plain_markdown(
            "Inner product of two gradients over the transformer blocks: of the token's own loss, and of the label's."
            f" Matched: {questions} dev questions of the same cluster or with the same answer; random: as many others."
            " Matched minus random is what the token does for its own kind of question beyond what it does for any."
            " Each student on the text that it was trained on. To first order; test questions are never used."
        )
    )
    lines = [
        [
            "inspect",
            "influence",
            str(s.job.id),
            "--examples",
            scene.example.id,
            "--split",
            "train",
            "--checkpoints",
            scene.checkpoint,
        ]
        for s in taught
    ]
    frame.terminal(*(command(*line) for line in lines))


def aligned(answer: Mapping[str, Any], pool: str) -> Explanation:
    """What the warm process answered, as a heat map takes it; only rationale tokens have a score."""
    n = len(answer["pieces"])
    scores, noted = [math.nan] * n, set()
    for column, value, own_text in zip(answer["columns"], answer[pool], answer["label_text"], strict=True):
        scores[column] = math.nan if value is None else float(value)
        if own_text:
            noted.add(int(column))
    return Explanation(
        pieces=answer["pieces"], segments=answer["segments"], words=range(n), sentences=[0] * n, scores=scores,
        first=-1, last=-1, value=math.nan, probabilities=(), choices=(), gold=-1, predicted=-1, noted=frozenset(noted),
    )  # fmt: skip


def _cards(
    asked: Sequence[_InfluenceRequest], aligned_requests: Sequence[tuple[_InfluenceRequest, Explanation]], scale: Scale
) -> list[StudentCard]:
    by_student: dict[str, list[_InfluenceRequest]] = {}
    for one in asked:
        by_student.setdefault(one.student.key, []).append(one)
    answers = {(one.student.key, one.checkpoint): explained for one, explained in aligned_requests}
    cards = []
    for mine in by_student.values():
        student = mine[0].student
        shown = [
            Panel(f"after {_percent(one.checkpoint)} of training", _rationale(explained), scale)
            for one in mine
            if (explained := answers.get((student.key, one.checkpoint))) is not None
        ]
        errors = [asking.message_of(one.question.error) for one in mine if one.question.error is not None]
        empty = bool(shown) and all(mark.state for panel in shown for mark in panel.marks)
        text = "Not readable: no other dev question shares the cluster or the answer of this example." if empty else ""
        cards.append(
            StudentCard(
                str(student.condition),
                student.label,
                panels=shown,
                caption=text,
                failed="" if shown else "".join(errors[:1]),
                waiting=not shown and not errors,
            )
        )
    return cards


def _rationale(explanation: Explanation) -> list[ScoredUnit]:
    """Only the rationale has scores here, so only it is shown."""
    return [mark for mark in marks(explanation) if mark.segment in ("rationale_cue", "rationale")]


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %"


def _headline(aligned_requests: Sequence[tuple[_InfluenceRequest, Explanation]]) -> str:
    """The token whose signal helps most, by student at its last checkpoint in view."""
    last = {one.student.key: (one, e) for one, e in aligned_requests}
    parts = []
    for one, e in last.values():
        best = max(
            (c for c in range(len(e.scores)) if not math.isnan(e.scores[c])), key=lambda c: e.scores[c], default=None
        )
        if best is not None and e.scores[best] > 0:
            parts.append(f"“{heat.visible(e.pieces[best].strip(), short=True)}” for {one.student.condition.label}")
    return (
        f"The signal that helps the label most: {listed(dict.fromkeys(parts))}"
        if parts
        else "No token of the rationale helps the label here"
    )


def _says(pool: str) -> str:
    what = {"own": "the own question", "matched": "dev questions of its kind", "random": "other dev questions"}.get(
        pool
    )
    return (
        f"violet lowers the label's loss on {what or 'dev questions of its kind more than on others'}; gold raises it"
    )


def _many(scene: Scene) -> None:
    requests = job_requests.influence(scene)
    job_requests.offer(scene, requests, WILL, "align", "train", job_requests.START_ALIGNED)
    done = [one for one in requests if one.finished]
    summaries = {one.student.key: _at(one, scene.checkpoint) for one in done}
    rows: dict[str, list[Dot]] = {}
    for one in done:
        for group in (summaries[one.student.key] or {}).get("groups", ()):
            dot = Dot(str(one.student.condition), one.student.label, group["mean"], group["low"], group["high"])
            rows.setdefault(GROUPS.get(group["group"], group["group"]), []).append(dot)
    if not rows:
        return
    frame.chart(
        saliency.dots(rows, _title(done, summaries), "mean alignment, matched minus random", base=0.0),
        "teaching.groups",
    )
    counted = " and ".join(
        dict.fromkeys(
            f"{one.result['examples']:,} training examples in {one.result['clusters']:,} clusters" for one in done
        )
    )
    st.caption(
        plain_markdown(
            f"{counted}, after {_percent(scene.checkpoint)} of training. Right of the dotted line: a step on such a"
            " token lowers the label's loss on questions of its kind more than on others. The answer's own text is"
            " left out of all other rows. Intervals: 95 %, over clusters of questions, for this one student"
            f" each.{_pairs(done, summaries)}{_agreement(done, summaries)}"
        )
    )


GROUPS = {
    "all but the label's text": "all words",
    "the label's text": "the answer's own text",
    "role: type": "words that name the group",
    "role: value": "words of the facts",
    "role: other": "all other words",
}


def _at(request: RequestedJob, checkpoint: str) -> Mapping[str, Any] | None:
    return next((c for c in request.result.get("checkpoints", ()) if c["checkpoint"] == checkpoint), None)


def _title(done: Sequence[RequestedJob], summaries: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Whether the words that name the latent group stand out, where a task has such words; else no more than what is
    shown.
    """
    parts = [
        f"{100 * type_words['auc']:.0f} % for {one.student.condition.label}"
        for one in done
        if (type_words := (summaries[one.student.key] or {}).get("type_words")) is not None
    ]
    return (
        f"Words that name the group outrank others in {listed(parts)} of pairs; chance is 50 %"
        if parts
        else "Which rationale words help the label"
    )


def _pairs(done: Sequence[RequestedJob], summaries: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The intervals of what the title says."""
    rows = []
    for one in done:
        type_words = (summaries[one.student.key] or {}).get("type_words")
        if type_words is not None and type_words["low"] is not None:
            reach = f"{100 * type_words['low']:.0f} to {100 * type_words['high']:.0f} %"
            rows.append(f"{reach} for {one.student.label} ({plural(type_words['examples'], 'example')})")
    return f" Pairs within one rationale, 95 % interval: {listed(rows)}." if rows else ""


def _agreement(done: Sequence[RequestedJob], summaries: Mapping[str, Mapping[str, Any] | None]) -> str:
    """How well the alignment foretells real steps, where they were tried."""
    parts = []
    for one in done:
        tried = (summaries[one.student.key] or {}).get("adam_step") or {}
        if tried.get("raw") is not None:
            parts.append(f"{tried['raw']:+.2f} for {one.student.label}".replace("-", "−"))
    return f" Rank correlation with the effect of real AdamW steps on single tokens: {listed(parts)}." if parts else ""
