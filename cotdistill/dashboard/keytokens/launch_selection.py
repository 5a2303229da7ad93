"""Train on a selection: the study that asks whether a few words are enough, with its controls, set up on page Train."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import selections
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.dashboard.widgets import composer_state
from cotdistill.errors import CotdistillError
from cotdistill.keytokens.annotations import AnnotationSet
from cotdistill.keytokens.selectors import SELECTORS, parse_selector
from cotdistill.rationales.conditions import parse
from cotdistill.report.commands import run_study
from cotdistill.studies.spec import K_GRID, StudySpec, checked
from cotdistill.text import plain_markdown, plural

ANCHORS = ("label_only", "post_cot")


def draw(ground: TrainingRationales, known: Sequence[FinishedSelection], part: str) -> None:
    """Which selection, how many words; what that makes; and the way to page Train."""
    frame.section(
        "Train on this selection",
        "The key words alone, everything but them, and as many words by lot: does a student learn as much?",
    )
    sets = AnnotationSet.names(ground.store.home, ground.name)
    options = offered(known, sets)
    start = next(
        (f"human:{name}" for name in (st.query_params.get("set", "marks"),) if part == "mark" and name in sets),
        options[0],
    )
    selectors = {one.selector for one in known}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = {
            name: (
                selections.selector_name(name)
                + ("" if name in selectors or name.startswith("human:") else " (not made yet)")
            )
            for name in options
        }
        selector = frame.choose(
            "Key words by",
            options,
            key="trained",
            start=start,
            label_of=lambda name: labels[name],
            moving=True,
            width=330,
        )
        human = selector.startswith("human:")
        k = (
            5
            if human
            else int(st.number_input("Words kept, k", min_value=1, max_value=200, value=5, key="selected.k", width=130))
        )
        swept = not human and st.toggle(
            "and a sweep of k", key="selected.sweep", help=f"The key words alone at k {', '.join(map(str, K_GRID))}."
        )
    try:
        spec = study(ground, selector, k, swept=swept)
    except CotdistillError as error:
        frame.problem(error)
        return
    if human:
        _few(ground, selector.partition(":")[2])
    names = [parse(c).label for c in spec.conditions if not (swept and c in _sweep(selector, k))]
    more = f", and {len(spec.conditions) - len(names)} more of the sweep" if swept else ""
    runs = len(spec.conditions) * spec.replicates
    st.caption(
        plain_markdown(
            f"{'; '.join(names)}{more}. {plural(runs, 'run')} with {plural(spec.replicates, 'replicate')}, steps,"
            f" student and seeds as in {ground.study.name if ground.study else 'a new study'}; what is done already is"
            " reused."
        )
    )
    if st.button("Train on this selection", type="primary", icon=":material/model_training:", key="train.selection"):
        composer_state.begin_with(spec)
        st.switch_page("pages/2_Train.py", query_params={"task": spec.task})
    frame.terminal(run_study(spec))


def offered(known: Sequence[FinishedSelection], sets: Sequence[str]) -> list[str]:
    """Selections that are made already, marks of people, and every other selector that needs nothing more than its
    name.
    """
    selectors = [one.selector for one in known if not one.selector.startswith("human:")]
    bare = [entry.name for entry in SELECTORS if not entry.option or entry.option.startswith("[")]
    return list(dict.fromkeys([*selectors, *(f"human:{name}" for name in sets), *bare]))


def _sweep(selector: str, k: int) -> list[str]:
    return [str(parse(f"post_cot/key_tokens(selector={selector},k={one})")) for one in K_GRID if one != k]


def study(ground: TrainingRationales, selector: str, k: int, *, swept: bool = False) -> StudySpec:
    """The study of a selection: its words, their complement, words matched to them and words by lot, between the whole
    rationale and the label alone. Of marks, whose number differs by row: the marked words between the two. ConfigError,
    GrammarError, UnknownName."""
    entry, option = parse_selector(selector)
    if entry.name == "human":
        conditions = [*ANCHORS, f"post_cot/human(annotations={option})"]
    else:
        chosen = f"(selector={selector},k={k})"
        conditions = [
            *ANCHORS,
            f"post_cot/key_tokens{chosen}",
            f"post_cot/drop_key_tokens{chosen}",
            f"post_cot/matched_random_k{chosen}",
        ]
        conditions += [f"post_cot/random_k(k={k})", *(_sweep(selector, k) if swept else ())]
    source = "" if ground.source == ground.task.default_source else ground.source
    name = re.sub(r"[^\w.-]+", "-", f"{ground.name}-{selector}").strip("-")[:80]
    return checked(
        dataclasses.replace(
            ground.spec,
            name=name,
            title="",
            conditions=tuple(conditions),
            source=source,
            baseline="label_only",
            task=ground.name,
        )
    )


def _few(ground: TrainingRationales, name: str) -> None:
    """Rows without marks train without a rationale: said with their number."""
    marked = {m.example for m in AnnotationSet(ground.store.home, ground.name, name).marks() if not m.skipped} & set(
        ground.by_id
    )
    if len(marked) < len(ground.examples):
        st.info(
            plain_markdown(
                f"{len(marked):,} of {len(ground.examples):,} training rationales are marked in {name}. The others"
                " train without a rationale, so with few marks this student is close to label only."
            ),
            icon=":material/info:",
        )
