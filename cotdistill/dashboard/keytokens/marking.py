"""Marks that people make, blind: the words alone, and only after the choice what the selectors say of the same
rationale.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from cotdistill.config import stable_seed
from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import marks, selections
from cotdistill.dashboard.keytokens.selections import FinishedSelection, TrainingRationales
from cotdistill.dashboard.widgets import target_picker
from cotdistill.errors import CotdistillError
from cotdistill.keytokens.annotations import AnnotationSet, Mark, checked_name, text_hash
from cotdistill.keytokens.spans import ranges_of, touched, word_spans
from cotdistill.report import wordmap
from cotdistill.tasks.example import Example
from cotdistill.text import plain_markdown, plural

RULE = (
    "Press the words that a person needs to get from the question to the answer. No selector is shown until you have"
    " saved."
)
# An example that was saved is shown with the selectors until a person goes on; to mark it anew says so here.
AGAIN = "mark.again"
# The example in the URL: another one than that of the other views, where its selections have been seen.
KEY = "marking"


@dataclass(frozen=True)
class Desk:
    """Who marks what: the set, the annotator, the examples in the one order that all annotators share, and this
    annotator's marks that fit.
    """

    ground: TrainingRationales
    annotations: AnnotationSet
    annotator: str
    order: tuple[str, ...]
    marks: dict[str, Mark]

    def at(self) -> int:
        """Where in the order we are: by the id in the URL, else at the first that this annotator has not seen."""
        wanted = st.query_params.get(KEY)
        return self.order.index(wanted) if wanted in self.order else self.unseen(-1)

    def unseen(self, after: int) -> int:
        """The next example without a mark or a skip of this annotator, going round once; the same one if all are
        done.
        """
        places = [*range(after + 1, len(self.order)), *range(max(after, 0))]
        return next((place for place in places if self.order[place] not in self.marks), max(after, 0))


@st.cache_data(max_entries=8, show_spinner=False)
def _order(digest: str, source: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Neither sorted by id nor drawn anew: whoever marks ten marks the same ten as everybody else."""
    return tuple(sorted(ids, key=lambda id: stable_seed("marks", id)))


def draw(ground: TrainingRationales, known: Sequence[FinishedSelection]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Annotation set",
            value="marks",
            key="set",
            bind="query-params",
            width=220,
            help="Marks are kept by set and annotator.",
        )
        who = st.text_input(
            "Your name", key="annotator", bind="query-params", width=220, placeholder="as it stands in the export"
        )
    try:
        annotations = AnnotationSet(ground.store.home, ground.name, name or "")
        annotator = checked_name(who, "an annotator") if (who or "").strip() else ""
    except CotdistillError as error:
        frame.problem(error)
        return
    hashes = {e.id: text_hash(e.rationale or "") for e in ground.examples}
    my_marks = (
        {m.example: m for m in annotations.marks(annotator) if hashes.get(m.example) == m.text} if annotator else {}
    )
    desk = Desk(ground, annotations, annotator, _order(ground.task.digest, ground.source, tuple(hashes)), my_marks)
    _example(desk, known)
    marks.draw(ground, annotations, known)


def _example(desk: Desk, known: Sequence[FinishedSelection]) -> None:
    at = desk.at()
    example = desk.ground.by_id[desk.order[at]]
    st.query_params[KEY] = example.id
    before, who = st.session_state.get("mark.shown", ("", ""))
    if (before, who) != (example.id, desk.annotator):
        st.session_state["mark.shown"] = (example.id, desk.annotator)
        st.session_state.pop(AGAIN, None)
        if who:
            # Words chosen before a name was given stay; those of another annotator do not.
            st.session_state.pop(_key(desk, example), None)
    mark = desk.marks.get(example.id)
    revealed = mark is not None and not mark.skipped and not st.session_state.get(AGAIN)
    with st.container(border=True):
        st.html(wordmap.question(example))
        if revealed and mark is not None:
            _revealed(desk, example, mark, known)
        else:
            _words(desk, example, mark)
        _buttons(desk, at, revealed)
    st.caption(plain_markdown(_progress(desk, example)))


def _key(desk: Desk, example: Example) -> str:
    return f"mark.words.{desk.annotations.name}.{example.id}"


def _words(desk: Desk, example: Example, mark: Mark | None) -> None:
    """The words as pills, with nothing of a model in sight."""
    text = example.rationale or ""
    spans = word_spans(text)
    names = target_picker.told_apart([text[a:b] for a, b in spans])
    key = _key(desk, example)
    if key not in st.session_state:
        st.session_state[key] = sorted(touched(spans, mark.spans)) if mark else []
    st.pills(RULE, list(range(len(spans))), selection_mode="multi", key=key, wrap=True, format_func=names.__getitem__)


def _revealed(desk: Desk, example: Example, mark: Mark, known: Sequence[FinishedSelection]) -> None:
    """What was marked, and beside it what the selectors chose: as many words as were marked."""
    text = example.rationale or ""
    marked_words = touched(word_spans(text), mark.spans)
    shown = [
        wordmap.WordRanking(
            f"Marked by {mark.annotator}",
            wordmap.MARKED,
            None,
            (),
            marked_words,
            f"{plural(len(marked_words), 'word')}, set {desk.annotations.name}",
        )
    ]
    chosen = selections.choose(known) if known else []
    shown += [card for one in chosen if (card := marks.card(desk.ground, one, example, marked_words)) is not None]
    st.html(wordmap.legend(len(marked_words), marked=True) + wordmap.cards(text, shown))
    if not known:
        st.caption("No selection of these rationales has been made yet, so there is nothing to hold the marks against.")


def _buttons(desk: Desk, at: int, revealed: bool) -> None:
    """Every step is written before the page is drawn again."""
    last = len(desk.order) - 1
    example = desk.order[at]
    named = bool(desk.annotator)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", icon=":material/arrow_back:", on_click=_go, args=(desk.order[max(0, at - 1)],), disabled=at == 0
        )
        if revealed:
            st.button(
                "Next to mark",
                type="primary",
                icon=":material/arrow_forward:",
                key="mark.on",
                on_click=_go,
                args=(desk.order[desk.unseen(at)],),
            )
            st.button(
                "Mark anew",
                icon=":material/edit:",
                key="mark.anew",
                on_click=_again,
                help="No longer blind: you have seen the selectors.",
            )
        else:
            chosen = st.session_state.get(_key(desk, desk.ground.by_id[example]), [])
            ready = named and bool(chosen)
            st.button(
                "Save",
                type="primary",
                icon=":material/check:",
                key="mark.save",
                on_click=_act_and_report,
                args=(_save, desk, example),
                disabled=not ready,
            )
            st.button(
                "Skip",
                icon=":material/skip_next:",
                key="mark.skip",
                on_click=_act_and_report,
                args=(_skip, desk, example),
                disabled=not named,
                help="Kept as looked at and left unmarked.",
            )
            st.button(
                "Next",
                icon=":material/arrow_forward:",
                on_click=_go,
                args=(desk.order[min(last, at + 1)],),
                disabled=at == last,
            )
        st.button(
            "Undo",
            icon=":material/undo:",
            key="mark.undo",
            on_click=_act_and_report,
            args=(_undo, desk, example),
            disabled=not desk.marks,
        )
        if not named:
            st.caption("Give your name first: marks are kept by annotator.")


def _progress(desk: Desk, example: Example) -> str:
    done = sum(not mark.skipped for mark in desk.marks.values())
    seen = len(desk.marks) + (example.id not in desk.marks)
    text = f"{done} marked of {seen} shown"
    skipped = len(desk.marks) - done
    text += f", {skipped} skipped" if skipped else ""
    return (
        f"{text}; {len(desk.order) - len(desk.marks):,} to go. Example {example.id}. Everybody marks in the same order,"
        " so annotators meet."
    )


def _go(id: str) -> None:
    st.query_params[KEY] = id
    st.session_state.pop(AGAIN, None)


def _again() -> None:
    st.session_state[AGAIN] = True


def _act_and_report(act: Callable[[Desk, str], None], desk: Desk, example: str) -> None:
    """What goes wrong in a step is said beside the page, which stands as it was."""
    try:
        act(desk, example)
    except CotdistillError as error:
        st.toast(plain_markdown(f"{error.message} {error.hint}"), icon=":material/error:")


def _save(desk: Desk, id: str) -> None:
    example = desk.ground.by_id[id]
    text = example.rationale or ""
    chosen = st.session_state.get(_key(desk, example), [])
    desk.annotations.add(Mark(id, desk.annotator, ranges_of(word_spans(text), chosen), text_hash(text)))
    st.session_state.pop(AGAIN, None)


def _skip(desk: Desk, id: str) -> None:
    example = desk.ground.by_id[id]
    desk.annotations.add(Mark(id, desk.annotator, (), text_hash(example.rationale or ""), skipped=True))
    desk = dataclasses.replace(desk, marks={**desk.marks, id: Mark(id, desk.annotator, (), "", skipped=True)})
    _go(desk.order[desk.unseen(desk.order.index(id))])


def _undo(desk: Desk, _: str) -> None:
    """The last mark is taken back, and its example shown again as it was before."""
    back = desk.annotations.undo(desk.annotator)
    if back is not None:
        if back in desk.ground.by_id:
            st.session_state.pop(_key(desk, desk.ground.by_id[back]), None)
            _go(back)
        st.toast(plain_markdown(f"Taken back: the mark on {back}."), icon=":material/undo:")
