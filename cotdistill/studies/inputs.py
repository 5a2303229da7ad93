"""What a run needs before it can begin, beyond its data: selections of key tokens, and the students that these are read
from.

Each is named by the identity of the job that makes it, so a whole study is planned and deduplicated before anything
runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.config import RunConfig, plain
from cotdistill.errors import NotFound, UsageError
from cotdistill.keytokens.annotations import AnnotationSet
from cotdistill.keytokens.selectors import parse_selector
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.selection import Selection, read_selection
from cotdistill.store.artifacts import hash_file
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store


@dataclass(frozen=True)
class SelectConfig:
    """What makes a selection. reads: identity of the training run whose student is read, "" where none is. seed: only
    for selectors that draw. annotations: digest of the marks of a set, file: digest of a file of word vectors; "" for
    all others. fraction: the share of the training rows that it is made on, and split_seed, by which these are drawn
    where it is not 1."""

    selector: str
    task: str
    task_digest: str
    tokenizer: str
    student: str
    source: str
    sources: tuple[str, ...]
    missing_rationale: str = "exclude"
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    world: int = 0
    reads: str = ""
    seed: int = 0
    annotations: str = ""
    file: str = ""
    fraction: float = 1.0
    split_seed: int = 0
    left_out: tuple[str, ...] = ()  #: ids of training rows that no condition of the study trains on

    def job_config(self) -> dict[str, Any]:
        """The plain form that is hashed; no file, no entry, and the same for a share of the rows."""
        values: dict[str, Any] = plain(self)
        defaults = {"file": "", "fraction": 1.0, "split_seed": 0, "left_out": []}
        unused = {name for name, value in defaults.items() if values[name] == value}
        return {name: value for name, value in values.items() if name not in unused}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> SelectConfig:
        return cls(**{**values, "sources": tuple(values["sources"]), "left_out": tuple(values.get("left_out", ()))})


def reader_of(selector: str, condition: Condition) -> Condition | None:
    """The condition of the student that a selector reads for a condition, of the same replicate and trained on the same
    rows; None where it reads none.
    """
    reads = parse_selector(selector)[0].reads
    if not reads:
        return None
    return dataclasses.replace(
        parse("pre_cot" if reads == "any" else reads),
        source=condition.source,
        fraction=condition.fraction,
        part=condition.part,
        mix=condition.mix,
        teacher_target=condition.teacher_target,
    )


def readers(conditions: tuple[Condition, ...]) -> list[Condition]:
    """Every condition whose student the selections of some conditions are read from, each once."""
    needed = (reader_of(selector, condition) for condition in conditions for selector in condition.selectors)
    return list(dict.fromkeys(reader for reader in needed if reader is not None))


def select_job(
    store: Store, selector: str, run: RunConfig, source: str, reader: str, seconds: float, fraction: float = 1.0
) -> JobSpec:
    """The job that makes a selection for the training rows of a run. reader: identity of the run it reads, "" for none.
    fraction: the share of the training rows that the run sees."""
    entry, option = parse_selector(selector)
    config = SelectConfig(
        selector=selector,
        task=run.task,
        task_digest=run.task_digest,
        tokenizer=run.tokenizer,
        student=run.student.name,
        source=source or run.source,
        sources=run.sources,
        missing_rationale=run.missing_rationale,
        task_settings=run.task_settings,
        world=run.seeds.world,
        reads=reader,
        seed=run.seeds.selector if entry.draws else 0,
        annotations=AnnotationSet(store.home, run.task, option).digest() if entry.name == "human" else "",
        file=file_digest(option) if entry.name == "vectors" else "",
        fraction=fraction,
        split_seed=run.seeds.split if fraction != 1 else 0,
        left_out=run.left_out,
    )
    label = f"{run.task} · key tokens by {selector.replace('_', ' ')}" + (
        f" · world {run.seeds.world}" if run.seeds.world else ""
    )
    return JobSpec("select", config.job_config(), (reader,) if reader else (), label, seconds)


def file_digest(name: str) -> str:
    """SHA-256 (hex) of a file that a selector reads; UsageError if it cannot be read."""
    try:
        return hash_file(Path(name).expanduser())
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {error.strerror or error}.", "Name a file with word vectors that you may read."
        ) from error


def selections_of(store: Store, run: RunConfig) -> dict[str, Selection]:
    """The selections that a run was trained on, by selector."""
    selections = {}
    for name, identity in run.selections.items():
        produced = store.queue.job(identity).produced
        if "selection" not in produced:
            raise NotFound(
                f"The selection {name!r} of this run is gone.",
                "Run its study again: selections are made anew where they are missing.",
            )
        selections[name] = read_selection(store.artifacts.path(produced["selection"]), name)
    return selections
