"""Page Compare: one study at a time, in views that each answer one question; the view in sight lives in the URL."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.compare import (
    cross_study,
    examples,
    grouping,
    learning_curves,
    modes,
    token_dose,
    training_size,
)
from cotdistill.dashboard.widgets import accuracies, failures, pickers, queue, second_test
from cotdistill.dashboard.widgets import annotations as said
from cotdistill.planning.rounds import generations
from cotdistill.rationales.conditions import parse
from cotdistill.report import captions, markup, rounds
from cotdistill.report.commands import command
from cotdistill.results import results
from cotdistill.results.findings import also_test_document
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import pinned
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.text import ago, capital, plain_markdown, plural

VIEWS = {
    "accuracy": "Accuracy",
    "curves": "Curves",
    "tokens": "Tokens kept",
    "size": "Training size",
    "examples": "Examples",
    "modes": "Modes",
    "studies": "Tasks and students",
    "runs": "Runs",
}
# What a link says of one study only.
BELONGS = ("baseline", "curve", "judged", "this", "rows", "slice", "kept", "by", "of")


def draw(store: Store) -> None:
    studies = store.queue.studies()
    if not studies:
        frame.heading("Compare")
        frame.empty(
            "Accuracies, differences and learning curves will stand here",
            "They appear run by run, as soon as a study has been launched.",
        )
        return
    left, right = st.columns([3, 4], vertical_alignment="bottom")
    names = list(dict.fromkeys(study.name for study in studies))
    with left:
        name = frame.choose("Study", names, key="study", drops=BELONGS)
    study = next(s for s in studies if s.name == name)
    spec = spec_from_mapping(study.spec)
    summaries = results.summary(store, study.id)
    with right:
        # Under a token budget the conditions that were trained carry it, so they are read from the results, not from
        # the spec.
        planned = [s.condition for s in summaries]
        baseline = frame.choose(
            "Baseline", planned, key="baseline", start=pinned(store, study), label_of=lambda c: parse(c).label
        )
    frame.heading(spec.title or study.name, _about(study, spec))
    with st.container(horizontal=True, vertical_alignment="center"):
        view = pickers.switch(
            "View",
            _views(store, study, summaries),
            key="view",
            start="accuracy",
            label_of=VIEWS.__getitem__,
            label_visibility="collapsed",
        )
        said.draw(store, study, baseline)
    if any(s.finished < s.planned for s in summaries):
        failures.draw(store, study, key="compare")
        states = store.queue.states()
        if any(states.get(member.identity) not in ("finished", "failed") for member in study.members):
            st.info(plain_markdown(captions.missing_told(summaries)), icon=":material/hourglass_top:")
            queue.live(store, short=True, study=study)
    if not any(s.finished for s in summaries):
        frame.empty("No run of this study has finished yet", "The first point appears with the first finished run.")
        return
    if view == "accuracy":
        accuracies.draw(store, study, summaries, baseline)
        if also := also_test_document(store, study, baseline):
            second_test.draw(also)
        _rounds(store, study)
        frame.terminal(command("compare", study.name, "--baseline", baseline), command("study", "show", study.name))
    elif view == "curves":
        learning_curves.draw(store, study, summaries)
    elif view == "tokens":
        token_dose.draw(store, study, summaries)
    elif view == "size":
        training_size.draw_size(store, study)
    elif view == "examples":
        examples.draw(store, study, summaries, baseline)
    elif view == "modes":
        modes.draw(store, study, summaries)
    elif view == "studies":
        cross_study.draw(store, study, baseline)
    else:
        grouping.draw(store, study)


def _views(store: Store, study: Study, summaries: Sequence[results.ConditionSummary]) -> tuple[str, ...]:
    """The views that have something to show for this study, and the one that the link asks for."""
    conditions = [parse(s.condition) for s in summaries]
    shown = {
        "tokens": any(one.steps for one in conditions),
        "size": len({one.fraction for one in conditions}) > 1,
        "studies": len({other.name for other in store.queue.studies()}) > 1,
    }
    wanted = st.query_params.get("view")
    return tuple(view for view in VIEWS if shown.get(view, True) or view == wanted)


def _rounds(store: Store, study: Study) -> None:
    """Where students learnt from students: each generation."""
    if rows := generations(store, study.id):
        frame.section("Rounds", "Students that learnt from what a student of the round before had written.")
        cells = [
            [
                markup.TableCell(text, condition=one.summary.condition if not place else "")
                for place, text in enumerate(row)
            ]
            for one, row in zip(rows, rounds.rows(rows), strict=True)
        ]
        st.html(markup.table([capital(head) for head in rounds.HEAD], cells, "generations of students"))
        st.caption(plain_markdown(rounds.caption(rows)))


def _about(study: Study, spec: StudySpec) -> str:
    """Task, student and sizes in one line; an artificial task is called so."""
    parts = [
        f"task {spec.task}{captions.world_told(spec)}",
        f"student {spec.student.name}",
        plural(spec.replicates, "replicate"),
    ]
    # Answers of other code say nothing of how their students were trained.
    parts += [
        f"answers of {spec.answers}" if spec.answers else f"{spec.training.steps:,} steps",
        "imported" if study.origin else "",
    ]
    parts += [f"rationales by {spec.source}" if spec.source else "", f"study {study.id}, {ago(study.created)}"]
    return " · ".join(part for part in parts if part)
