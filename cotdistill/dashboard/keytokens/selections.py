"""Which rationales are looked at on page Key tokens, and the finished selections over them: read once, kept by the
digest of what was read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from cotdistill.config import RunConfig, StudentConfig
from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import pickers
from cotdistill.errors import CotdistillError
from cotdistill.keytokens.selectors import SELECTORS, parse_selector
from cotdistill.keytokens.spans import word_spans
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.passage import Passage
from cotdistill.rationales.selection import Selection, read_selection
from cotdistill.report.figures.palette import QUIET_SELECTOR, SELECTOR_HUES
from cotdistill.store.records import Job, Study
from cotdistill.store.store import Store
from cotdistill.students import sources
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import SelectConfig
from cotdistill.studies.inspection_jobs import task_of
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.tasks.catalog import list_tasks, open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task
from cotdistill.text import plain_markdown, plural

# Selections looked through, newest first.
LOOKED = 400
# What a link says of one task's rationales only.
BELONGS = ("source", "world", "example", "marking", "selection", "trained", "search")


@dataclass(frozen=True)
class TrainingRationales:
    """The training rationales of one source of one task. spec: of the study in view, else a new study of the task;
    examples: those with a rationale."""

    store: Store
    task: Task
    name: str
    source: str
    world: int
    study: Study | None
    spec: StudySpec
    examples: tuple[Example, ...]

    @property
    def by_id(self) -> dict[str, Example]:
        return {example.id: example for example in self.examples}


@dataclass(frozen=True)
class FinishedSelection:
    """A finished selection. replicate: of the study in view, None where the selection is the same in all of them or
    belongs to none.
    """

    selector: str
    job: Job
    replicate: int | None
    ours: bool

    @property
    def key(self) -> str:
        """How the URL names it."""
        if self.replicate is not None:
            return f"{self.selector}~{self.replicate}"
        return self.selector if self.ours else f"{self.selector}~run{self.job.id}"

    @property
    def label(self) -> str:
        text = selector_name(self.selector)
        if self.replicate is not None:
            return f"{text}, replicate {self.replicate}"
        return text if self.ours else f"{text}, run {self.job.id}"

    @property
    def digest(self) -> str:
        return self.job.produced["selection"]

    @property
    def hue(self) -> str:
        return selector_hue(self.selector)


def selector_name(selector: str) -> str:
    """integrated_gradients -> integrated gradients; human:lab -> people (lab)."""
    name, _, option = selector.partition(":")
    if name == "human":
        return f"people ({option})"
    return pickers.method_name(name) + (f" ({option})" if option else "")


def selector_hue(selector: str) -> str:
    """One colour a selector, on every page; chance is grey."""
    name = selector.partition(":")[0]
    if name == "random":
        return QUIET_SELECTOR
    names = [n for n in SELECTORS.names() if n != "random"]
    return SELECTOR_HUES[names.index(name) % len(SELECTOR_HUES)] if name in names else SELECTOR_HUES[0]


def ground(store: Store) -> TrainingRationales | None:
    """The pickers: a study, or a task that no study stands on yet; whose rationales; in which world. None where there
    is nothing, told then.
    """
    studies: dict[str, Study] = {}
    for study in store.queue.studies():
        if not study.spec.get("answers"):  # else made by other code: there is nothing to select for
            studies.setdefault(study.name, study)
    tasks = [str(row["id"]) for row in list_tasks(store.tasks_root) if row["artificial"] or row["sources"]]
    options = [*studies, *(f"{frame.NO_STUDY}{name}" for name in tasks)]
    name = frame.choose(
        "Study, or task",
        options,
        key="study",
        start=_start(studies, tasks),
        label_of=_start_label,
        drops=(*BELONGS, "task"),
    )
    chosen = studies.get(name)
    try:
        rationales = (
            _of_study(store, chosen) if chosen is not None else _of_task(store, name.removeprefix(frame.NO_STUDY))
        )
    except CotdistillError as error:
        frame.problem(error)
        return None
    task, spec, world = rationales
    if not task.sources:
        st.info(
            plain_markdown(f"The task {task.name} has no rationales, so there is nothing to select from."),
            icon=":material/info:",
        )
        return None
    start = spec.source or task.default_source
    source = (
        frame.choose("Rationales by", list(task.sources), key="source", start=start)
        if len(task.sources) > 1
        else task.sources[0]
    )
    examples = tuple(e for e in task.examples("train", source) if e.rationale)
    if not examples:
        st.info(plain_markdown(f"No training row has a rationale by {source}."), icon=":material/info:")
        return None
    return TrainingRationales(store, task, spec.task, source, world, chosen, spec, examples)


def _start(studies: Mapping[str, Study], tasks: Sequence[str]) -> str | None:
    """Of the task in the link, if there is one: the newest study that selects, else the newest, else the task alone."""
    wanted = st.query_params.get("task")
    fitting = [study for study in studies.values() if wanted not in tasks or study.spec.get("task") == wanted]
    name = next((study.name for study in fitting if _selects(study)), fitting[0].name if fitting else None)
    return f"{frame.NO_STUDY}{wanted}" if name is None and wanted in tasks else name


def _start_label(name: str) -> str:
    return f"{name}, without a study" if name.startswith(frame.NO_STUDY) else name


def _selects(study: Study) -> bool:
    return any(parse(text).selectors for text in study.spec.get("conditions", ()))


def _of_study(store: Store, study: Study) -> tuple[Task, StudySpec, int]:
    spec = spec_from_mapping(study.spec)
    jobs: dict[int, Job] = {}
    for job in store.queue.jobs(kind="train", study=study.id):
        jobs.setdefault(int(RunConfig.from_plain(job.config).seeds.world), job)
    if not jobs:
        task, spec_of, world = _of_task(store, spec.task)
        return task, dataclasses.replace(spec, name=spec_of.name), world
    worlds = sorted(jobs)
    world = int(frame.choose("World", [str(w) for w in worlds], key="world")) if len(worlds) > 1 else worlds[0]
    return task_of(store, jobs[world]), spec, world


def _of_task(store: Store, name: str) -> tuple[Task, StudySpec, int]:
    with st.spinner("Opening the task…"):
        return (
            open_task(store.tasks_root, name),
            StudySpec(name=name, task=name, conditions=("label_only", "post_cot")),
            0,
        )


def finished(ground: TrainingRationales) -> list[FinishedSelection]:
    """The finished selections over these rationales: the study's own in the order planned, then others of the same
    data.
    """
    jobs = [
        job
        for job in ground.store.queue.jobs(kind="select", state="finished", limit=LOOKED)
        if job.config.get("task_digest") == ground.task.digest
        and job.config.get("source") == ground.source
        and "selection" in job.produced
    ]
    members = {m.identity: m.replicate for m in ground.study.members if m.role == "input"} if ground.study else {}
    order = [s for text in ground.spec.conditions for s in parse(text).selectors]
    selections = []
    for job in jobs:
        selector, ours = str(job.config["selector"]), job.identity in members
        anew = parse_selector(selector)[0].draws or job.config["reads"]
        selections.append(FinishedSelection(selector, job, members[job.identity] if ours and anew else None, ours))
    return sorted(
        selections,
        key=lambda c: (
            not c.ours,
            order.index(c.selector) if c.selector in order else len(order),
            c.replicate or 0,
            c.job.id,
        ),
    )


def choose(known: Sequence[FinishedSelection]) -> list[FinishedSelection]:
    """Up to four of them, at first one a selector; kept in the URL. A selector alone stands for its first selection."""
    by_key = {one.key: one for one in known}
    first = {one.selector: one.key for one in reversed(known)}
    start = list(dict.fromkeys(first[one.selector] for one in known))
    chosen = pickers.several(
        "Selections, up to four",
        list(by_key),
        key="selection",
        start=start,
        label_of=lambda k: by_key[k].label,
        also=first,
    )
    return [by_key[key] for key in chosen]


@st.cache_resource(max_entries=24, show_spinner="Reading the selections…")
def _selection(_store: Store, digest: str, name: str) -> Selection:
    return read_selection(_store.artifacts.path(digest), name)


def selection_of(ground: TrainingRationales, selection: FinishedSelection) -> Selection:
    """The scores; DataError or NotFound if the artefact cannot be read."""
    return _selection(ground.store, selection.digest, selection.selector)


def encoder_of(ground: TrainingRationales, selection: FinishedSelection) -> Encoder:
    """How the selection cut the rationales into tokens. StudentError if the tokenizer is gone."""
    config = SelectConfig.from_plain(selection.job.config)
    run = RunConfig(
        config.task,
        config.task_digest,
        "",
        source=config.source,
        tokenizer=config.tokenizer,
        student=StudentConfig(config.student),
    )
    return sources.encoder_of(ground.task, run)


@st.cache_resource(max_entries=8, show_spinner="Reading the rationales…")
def _passages(
    tokenizer: str, digest: str, source: str, number: int, _encoder: Encoder, _examples: Sequence[Example]
) -> list[Passage]:
    return [_encoder.read(e.rationale or "") for e in _examples]


def passages(ground: TrainingRationales, selection: FinishedSelection, examples: Sequence[Example]) -> list[Passage]:
    """The rationales of some examples (always the same ones for their number) as the selection's tokens."""
    encoder = encoder_of(ground, selection)
    return _passages(str(encoder.path), ground.task.digest, ground.source, len(examples), encoder, examples)


def row(
    ground: TrainingRationales, selection: FinishedSelection, example: Example, encoder: Encoder | None = None
) -> list[float] | None:
    """(words,) the score of each word, the sum of its tokens'; None where the selection has not looked at the example
    or saw another text.
    """
    scores: Mapping[str, Any] = selection_of(ground, selection).scores or {}
    token_scores = scores.get(example.id)
    passage = (encoder or encoder_of(ground, selection)).read(example.rationale or "")
    if token_scores is None or len(token_scores) != len(passage):
        return None
    word_scores = [0.0] * len(word_spans(example.rationale or ""))
    for token in passage:
        word_scores[token.word] += float(token_scores[token.origin])
    return word_scores


def lineage(ground: TrainingRationales, selection: FinishedSelection) -> str:
    """What a selection was read from, and what is trained on it."""
    parts = [f"selection {selection.job.id}"]
    if selection.job.config["reads"]:
        parts.append(f"read from {_reader(ground.store, str(selection.job.config['reads']))}")
    trained = sum(selection.job.identity in used for used in _used(ground))
    parts.append(f"used by {plural(trained, 'run')} of this study" if trained else "used by no run of this study")
    return " · ".join(parts)


def _reader(store: Store, identity: str) -> str:
    try:
        job = store.queue.job(identity)
    except CotdistillError:
        return "a run that was deleted"
    return f"run {job.id}, {parse(str(job.config['condition'])).label}"


def _used(ground: TrainingRationales) -> list[set[str]]:
    """By run of the study, the identities of the selections that it is trained on."""
    if ground.study is None:
        return []
    return [
        set(dict(job.config.get("selections", {})).values())
        for job in ground.store.queue.jobs(kind="train", study=ground.study.id)
    ]
