"""What makes an elicitation: the teacher, how it is asked, how it writes, about which rows; and from that, every
request with its key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cotdistill.config import check, digest, from_mapping, param, plain, stable_seed
from cotdistill.errors import ConfigError, UsageError
from cotdistill.tasks.added import checked_name
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.task import Task
from cotdistill.teachers.prompts import MOST_SHOTS, Message, PromptTemplate, Shot, messages

KINDS = ("endpoint", "local")
GIVEN = ("nothing", "gold", "wrong")
PARTS = ("all", "reason")
AGAINST = ("nothing", "empty", "wrong")
# What servers call the limit of tokens.
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class TeacherConfig:
    """Which teacher. An endpoint's address and key are no part of it: they come from the environment and are never
    kept.
    """

    kind: str = param(
        "endpoint",
        "endpoint: a server that speaks OpenAI's chat protocol; local: a causal LM in this process",
        choices=KINDS,
    )
    model: str = param("", "the model: its name on the server, or a folder or hub id")
    revision: str = param(
        "", "hub revision; of a server's model: anything that tells it from another one of the same name"
    )
    chat: str = param(
        "auto",
        "local: whether the tokenizer's chat template is used; auto: if it has one",
        choices=("auto", "on", "off"),
    )
    device: str = param("cpu", "local: where it runs", choices=("cpu", "cuda"))
    limit_name: str = param(
        "max_tokens",
        "endpoint: what the limit of tokens is called; where the server refuses the name, the other one is sent",
        choices=LIMIT_NAMES,
    )
    extra: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "endpoint: further fields of the request, such as reasoning_effort"}
    )


@dataclass(frozen=True)
class Sampling:
    """How the teacher writes."""

    temperature: float = param(0.0, "0: always the likeliest token; above: drawn at random", low=0.0, high=2.0)
    top_p: float = param(1.0, "draws from the likeliest tokens that make up this share", low=0.01, high=1.0)
    max_tokens: int = param(160, "longest answer in tokens", low=1, high=32_768)
    samples: int = param(1, "answers to each question; more than one needs a temperature", low=1, high=64)
    seed: int = param(
        0, "of the random draws; sample n draws with seed + n; -1: none is sent to an endpoint", low=-1, high=2**31
    )
    stop: tuple[str, ...] = field(default=(), metadata={"help": "texts at which it stops"})


@dataclass(frozen=True)
class Contrast:
    """Contrastive decoding (SCOTT, Wang et al. 2305.01879), local teachers only: each token maximises log p(token | the
    answer shown)
    - weight x log p(token | another answer, or none)."""

    against: str = param(
        "nothing", "what is held against the answer shown: no answer (empty), a wrong one, or nothing", choices=AGAINST
    )
    weight: float = param(0.5, "how much the other log-probability counts", low=0.0, high=2.0)
    plausible: float = param(
        0.1,
        "tokens less likely than this share of the likeliest, given the answer shown, are left out (Li et al."
        " 2210.15097); 0: none",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class ElicitConfig:
    """Everything that makes an elicitation; its plain form is hashed.

    name: of the source that its answers become; part: what of them does, all of the text or the reason without the
    sentences that state the answer. shots holds one to spare where they were drawn; shown_shots: how many a teacher
    sees. given: what answer it is shown; wrong: the label of a wrong one, "" to draw it. rows: how many rows of the
    split, by a fixed hash, 0 for all; ids: these rows instead. again: how often questions that failed have been asked
    for again.
    """

    task: str
    task_digest: str
    name: str
    teacher: TeacherConfig
    template: PromptTemplate = field(default_factory=PromptTemplate)
    shots: tuple[Shot, ...] = ()
    shown_shots: int = 0
    given: str = "gold"
    wrong: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    contrast: Contrast = field(default_factory=Contrast)
    split: str = "train"
    part: str = "reason"
    rows: int = 0
    ids: tuple[str, ...] = ()
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    world: int = 0
    again: int = 0

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ElicitConfig:
        """The config of a job, as the store holds it."""
        nested: dict[str, Any] = {
            "teacher": from_mapping(TeacherConfig, values["teacher"]),
            "template": from_mapping(PromptTemplate, values["template"]),
            "sampling": from_mapping(Sampling, values["sampling"]),
            "contrast": from_mapping(Contrast, values["contrast"]),
            "shots": tuple(_shot(shot) for shot in values["shots"]),
            "ids": tuple(values["ids"]),
        }
        return cls(**{**values, **nested})


def _shot(values: Mapping[str, Any]) -> Shot:
    return Shot(**{**values, "choices": tuple(Choice(**choice) for choice in values["choices"])})


def checked(config: ElicitConfig) -> ElicitConfig:
    """The config if it can be carried out; ConfigError with every problem at once."""
    problems: list[str] = []
    for part in (config.teacher, config.template, config.sampling, config.contrast):
        try:
            check(part)
        except ConfigError as error:
            problems += error.problems
    problems += config.template.problems()
    local, contrast = config.teacher.kind == "local", config.contrast.against != "nothing"
    for wrong, told in (
        (not config.teacher.model.strip(), "teacher.model is empty; expected a model"),
        (config.given not in GIVEN, f"given is {config.given!r}; expected one of {', '.join(GIVEN)}"),
        (
            config.sampling.samples > 1 and not config.sampling.temperature,
            "several samples need a temperature above 0, or they are all the same",
        ),
        (
            contrast and not local,
            "contrastive decoding needs the probabilities of every token, which only a local teacher gives",
        ),
        (
            contrast and config.sampling.temperature > 0,
            "contrastive decoding takes the best token; set temperature to 0",
        ),
        (
            contrast and config.given == "nothing",
            "contrastive decoding holds an answer against another: show the teacher one (given)",
        ),
        (
            config.wrong and config.given != "wrong" and config.contrast.against != "wrong",
            "a wrong label is named, but none is used",
        ),
        (not 0 <= config.shown_shots <= MOST_SHOTS, f"shots is {config.shown_shots}; expected 0 to {MOST_SHOTS}"),
        (
            config.shown_shots > len(config.shots),
            f"{config.shown_shots} shots are to be shown and {len(config.shots)} are there",
        ),
        (config.part not in PARTS, f"part is {config.part!r}; expected one of {', '.join(PARTS)}"),
        (config.rows < 0, f"rows is {config.rows}; expected 0 (all) or more"),
        (
            bool(config.teacher.extra.get("stream")),
            "extra asks for a stream; answers are read whole, so leave stream out",
        ),
        (
            "model" in config.teacher.extra or "messages" in config.teacher.extra,
            "extra names model or messages, which the model and the prompt set; leave them out",
        ),
    ):
        problems += [told] if wrong else []
    if problems:
        raise ConfigError(problems)
    checked_name(config.name)
    return config


@dataclass(frozen=True)
class Request:
    """One thing that is asked. given: the label that the teacher is shown, "" for none. against: the conversation that
    is held against it, under contrastive decoding. key: the content of the request; equal requests have equal keys,
    whoever asks."""

    place: int
    example: Example
    sample: int
    given: str
    turns: list[Message]
    against: list[Message] | None
    key: str


def rows_of(task: Task, config: ElicitConfig) -> list[Example]:
    """The rows that are asked about: the first ones by a fixed hash, so that more rows include fewer. UsageError for
    ids that the split lacks.
    """
    rows = task.examples(config.split)
    if config.ids:
        known = {e.id: e for e in rows}
        if strange := [id for id in config.ids if id not in known]:
            raise UsageError(
                f"The {config.split} split of {task.name!r} has no row {strange[0][:80]!r}.", "Name ids of that split."
            )
        return [known[id] for id in config.ids]
    ordered = sorted(rows, key=lambda e: stable_seed("elicit", e.id))
    return ordered[: config.rows] if config.rows else ordered


def requests(task: Task, config: ElicitConfig) -> list[Request]:
    """Every request, question by question. UsageError if nothing would be asked, or a row lacks the wrong label that
    was named.
    """
    pending: list[Request] = []
    for example in rows_of(task, config):
        hint = {"nothing": "", "gold": example.answer, "wrong": _wrong(config, example)}[config.given]
        turns = messages(config.template, config.shots, config.shown_shots, example, hint)
        against = _against(config, example, hint)
        for sample in range(config.sampling.samples):
            pending.append(
                Request(len(pending), example, sample, hint, turns, against, _key(config, turns, against, sample))
            )
    if not pending:
        raise UsageError(
            f"The {config.split} split of {task.name!r} has no rows to ask about.", "Choose another split."
        )
    return pending


def _wrong(config: ElicitConfig, example: Example) -> str:
    """The wrong label that a teacher is to argue for, or is held against: the one that was named, else one drawn for
    this row.
    """
    others = [c.label for c in example.choices if c.label != example.answer]
    if config.wrong and config.wrong != example.answer:
        if config.wrong not in others:
            raise UsageError(
                f"Row {example.id!r} has no choice {config.wrong!r}.",
                f"It has {', '.join(c.label for c in example.choices)}.",
            )
        return config.wrong
    return others[stable_seed("wrong", config.sampling.seed, example.id) % len(others)]


def _against(config: ElicitConfig, example: Example, hint: str) -> list[Message] | None:
    if config.contrast.against == "nothing":
        return None
    # Held against a rationale for a wrong answer stands the right one.
    other = _wrong(config, example) if hint == example.answer else example.answer
    return messages(
        config.template, config.shots, config.shown_shots, example, "" if config.contrast.against == "empty" else other
    )


def _key(config: ElicitConfig, turns: Sequence[Message], against: Sequence[Message] | None, sample: int) -> str:
    sampling = {k: v for k, v in plain(config.sampling).items() if k != "samples"}
    teacher = plain(config.teacher)
    if config.teacher.kind == "local":
        # A plain prompt depends on what stands between its turns.
        teacher["separator"] = config.template.separator
    contrast = plain(config.contrast) if against is not None else None
    return digest(
        {
            "teacher": teacher,
            "turns": list(turns),
            "against": against,
            "sampling": sampling,
            "contrast": contrast,
            "sample": sample,
        }
    )


def label_of(config: ElicitConfig) -> str:
    """What an elicitation is, in one line."""
    shown = {"nothing": "no answer shown", "gold": "gold answer shown", "wrong": "a wrong answer shown"}[config.given]
    parts = [f"{config.task} · {config.teacher.model} · {shown}"]
    parts += [f"{config.shown_shots} shots"] if config.shown_shots else []
    parts += [f"{config.sampling.samples} samples"] if config.sampling.samples > 1 else []
    parts += (
        [f"contrast with {'no' if config.contrast.against == 'empty' else 'a wrong'} answer"]
        if config.contrast.against != "nothing"
        else []
    )
    return " · ".join([*parts, *([f"asked again {config.again}"] if config.again else [])])


def asked_again(config: ElicitConfig) -> ElicitConfig:
    """The same elicitation once more: what has been answered is there, and what failed is asked again."""
    return dataclasses.replace(config, again=config.again + 1)
