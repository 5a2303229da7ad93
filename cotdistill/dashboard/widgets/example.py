"""One example under every condition, side by side: the exact tokens a student reads, what bears loss, and what was done
to the rationale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import condition_field, forms, rationale_comparison
from cotdistill.errors import CotdistillError
from cotdistill.rationales.conditions import Condition, parse, parse_list
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.passage import Corpus
from cotdistill.report import markup
from cotdistill.report.commands import command
from cotdistill.report.spans import difference, pieces
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.answer_kinds import needs_terminator
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task
from cotdistill.text import plain_markdown

START = "label_only,pre_cot,post_cot,shuffled,masked,swapped"
# A second page of conditions helps nobody: what is compared must stand on one screen.
MOST = 24
SPLITS = ("train", "dev", "test")


def draw(task: Task, source: str, world: int = 0) -> None:
    """The centrepiece of page Data. world: which one of a generated task, for the command that shows the same."""
    frame.section(
        "One example under every condition",
        "Exactly what a student reads. Hover over a token for its id, its span and its place in the teacher's"
        " rationale.",
    )
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    with bar:
        split = str(
            st.segmented_control("Split", SPLITS, default="train", required=True, key="split", bind="query-params")
        )
    corpus = _read(task, task.digest, source, source, split)[1]
    if not corpus.examples:
        st.info(f"The {split} split has no rows.")
        return
    with bar:
        index = _step(corpus.examples)
        seed = int(
            st.number_input(
                "Transform seed",
                min_value=0,
                max_value=2**31,
                step=1,
                key="draw",
                bind="query-params",
                width=130,
                help="Replicate r of a study draws with seed r.",
            )
        )
        st.button(
            "Draw again",
            icon=":material/casino:",
            on_click=_next_seed,
            help="The next transform seed: another shuffle, another partner.",
        )
    example = corpus.examples[index]
    _question(example)
    rationale_comparison.draw(task, example)
    conditions = _conditions(task)
    st.html(markup.legend())
    st.html(markup.cards([_card(task, source, split, example, condition, seed) for condition in conditions]))
    words = ["--task", task.name, "--example", example.id, "--seed", str(seed)]
    words += ["--source", source] if source != task.default_source else []
    words += ["--world", str(world)] if world else []
    lines = [command("preview", *words, "--condition", str(c)) for c in conditions[:3]]
    frame.terminal(*lines, label="This preview in the terminal")


def _next_seed() -> None:
    st.session_state["draw"] = int(st.session_state.get("draw", 0)) + 1


@st.cache_resource(max_entries=8, show_spinner="Reading the rationales as tokens…")
def _read(_task: Task, digest: str, tokenizer: str, source: str, split: str) -> tuple[Encoder, Corpus]:
    """The split as a student reads it: tokenizer of one source, rationales of another. An immutable thing, so it is
    kept.
    """
    encoder = Encoder(
        _task.tokenizer(tokenizer, _task.tokenizer_kind), _task.template, terminator=needs_terminator(_task)
    )
    examples = _task.examples(split, source or None)
    explained = [example for example in examples if example.rationale]
    # Rows without a rationale leave training in every condition, so partners are drawn among the others, as in a run.
    return encoder, encoder.corpus(explained or examples)


def _step(examples: Sequence[Example]) -> int:
    """Which example is shown: by number, with buttons and arrow keys; by id in the URL, so that a link means the same
    after a new import.
    """
    last = len(examples) - 1
    wanted = st.query_params.get("example")
    ids = {example.id: i for i, example in enumerate(examples)}
    at = min(max(0, int(st.session_state.get("row", 1)) - 1), last)
    if wanted is not None and "row" not in st.session_state:
        if wanted in ids:
            at = ids[wanted]
        else:
            st.warning(
                f"The link names example “{plain_markdown(wanted[:80])}”, which is not in this split; showing the"
                " first.",
                icon=":material/link_off:",
            )
    st.session_state["row"] = at + 1
    st.button(
        "Previous", icon=":material/arrow_back:", shortcut="Left", on_click=_move, args=(-1, last), disabled=at == 0
    )
    st.button(
        "Next", icon=":material/arrow_forward:", shortcut="Right", on_click=_move, args=(1, last), disabled=at == last
    )
    row = st.number_input(f"Example, 1 to {last + 1:,}", min_value=1, max_value=last + 1, step=1, key="row", width=150)
    st.query_params["example"] = examples[int(row) - 1].id
    return int(row) - 1


def _move(by: int, last: int) -> None:
    st.session_state["row"] = min(max(0, int(st.session_state.get("row", 1)) - 1 + by), last) + 1


def _question(example: Example) -> None:
    with st.container(border=True):
        st.text(example.question)
        st.text("   ".join(f"{'✓ ' if c.label == example.answer else ''}({c.label}) {c.text}" for c in example.choices))
        facts = [f"id {example.id}", f"cluster {example.cluster or example.id}"]
        facts += [f"rationale by {example.source}"] if example.rationale else ["no rationale here"]
        facts += [f"{key} {value}" for key, value in example.metadata.items()]
        st.caption(plain_markdown(" · ".join(facts)))


def _conditions(task: Task) -> list[Condition]:
    """The conditions chosen for view: a list that also takes any condition typed in."""
    st.session_state.setdefault("shown", [str(c) for c in parse_list(START)])
    left, right = st.columns([9, 2], vertical_alignment="bottom")
    with right:
        composer(task, "preview", "shown")
    options = condition_field.offered(task.sources)
    chosen, _ = condition_field.draw(left, "Conditions in view", options, key="shown", max_selections=MOST)
    return [parse(text) for text in chosen] or [parse("label_only")]


def composer(task: Task, key: str, field: str) -> None:
    """A form that puts a condition together and adds it to the list held in the session under `field`."""
    with st.popover("Compose", icon=":material/add:", help="Put a condition together from its parts"):
        try:
            condition = forms.condition(task.sources, key=key)
        except CotdistillError as error:
            frame.problem(error)
            return
        st.code(str(condition), language=None, wrap_lines=True)
        st.button("Add it", key=f"{key}.add", type="primary", on_click=_add, args=(str(condition), field))


def _add(condition: str, field: str) -> None:
    chosen: list[Any] = list(st.session_state.get(field, ()))
    st.session_state[field] = [*chosen, condition] if condition not in chosen else chosen


def _card(
    task: Task, source: str, split: str, example: Example, condition: Condition, seed: int
) -> markup.ConditionCard:
    try:
        encoder, corpus = _read(task, task.digest, source, condition.reads(source), split)
        index = next((i for i, other in enumerate(corpus.examples) if other.id == example.id), None)
        if index is None:
            return markup.ConditionCard(
                str(condition), condition.label, (), f"{condition.reads(source)} has no rationale for this row"
            )
        if condition.objective_parameters("counterfactual") is not None:
            corpus, index = (
                encoder.corpus(supplied(task, [corpus.examples[index]], condition, condition.reads(source))),
                0,
            )
        encoded = encoder.sequences(corpus, index, condition, seed)
    except CotdistillError as error:
        return markup.ConditionCard(str(condition), condition.label, (), f"{error.message} {error.hint}")
    shown = [pieces(sequence, encoder.pieces(sequence)) for sequence in encoded]
    text = (
        difference(shown, len(corpus.passages[index])).describe()
        if condition.spec.uses_rationale
        else "no rationale in this condition"
    )
    if condition.fraction != 1:
        text += f"; a student is trained on {100 * condition.fraction:g} % of the rows, drawn by hash"
    if condition.tokens:
        text += f"; trained until it has seen the tokens of {parse(condition.tokens).label}"
    return markup.ConditionCard(str(condition), condition.label, shown, text)
