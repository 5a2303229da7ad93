"""A task in a folder, read lazily: rows, rationales by source, template, tokenizers. `writing` makes such a folder."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotdistill.errors import DataError, NotFound, UnknownName
from cotdistill.tasks.example import CHOICE, Choice, Example
from cotdistill.tasks.template import Template
from cotdistill.tasks.views import SourceView, read_view
from cotdistill.tasks.vocabulary import KINDS

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "dev", "test")
Traces = dict[str, list["Rationale"]]
"""The rationales of one source by the id of their example."""


@dataclass(frozen=True)
class Rationale:
    """One rationale of one example by one source. A question may have several by the same source: the first one is
    what is read unless a view asks for more."""

    id: str
    source: str
    text: str | None
    """The part that is read by default."""
    teacher_label: str | None = None
    """The answer that its teacher gave; None for people."""
    thinking: str | None = None
    """What the teacher thought, without the marks around it; None where it is not known apart."""
    answer: str | None = None
    """What the teacher said after thinking."""

    def part(self, name: str) -> str | None:
        """A part of the trace: "thinking", "answer", "both", or "" for the default one."""
        if not name or self.thinking is None:
            return self.text if name in ("", "both", "answer") else None
        if name == "both":
            return "\n\n".join(text for text in (self.thinking, self.answer) if text)
        return (self.thinking if name == "thinking" else self.answer) or None


@dataclass(frozen=True)
class Task:
    """A materialised task, read lazily. `digest` is the SHA-256 of its files; `info` holds provenance, counts, checks
    and settings.

    `added` are the rationale sources that came later (see `tasks.added`), each named by its content; the task's own
    files and digest stay as they are.
    """

    folder: Path
    name: str
    digest: str
    info: Mapping[str, Any]
    added: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return str(self.info["title"])

    @property
    def help(self) -> str:
        return str(self.info["help"])

    @property
    def artificial(self) -> bool:
        return bool(self.info["artificial"])

    @property
    def has_world(self) -> bool:
        """Whether it is the generated task whose questions hide a creature's group (`generated.world`)."""
        return self.info.get("generator") == "field_guide"

    @property
    def template(self) -> Template:
        return Template(**self.info["template"])

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.info["sources"], *self.added)

    @property
    def default_source(self) -> str:
        return str(self.info["default_source"])

    @property
    def answer_kind(self) -> str:
        """How its questions are answered: see `example.ANSWER_KINDS`."""
        return str(self.info.get("answer_kind", CHOICE))

    @property
    def chance(self) -> float:
        """The accuracy of guessing: the mean share of right choices over test; 0 where answers are written."""
        return float(self.info["chance"])

    @property
    def roles(self) -> Mapping[str, str]:
        """What each split is, in words, for example {"test": "official dev"}."""
        return dict(self.info["roles"])

    @property
    def tokenizer_kind(self) -> str:
        return str(self.info["tokenizer_kind"])

    def examples(self, split: str, source: str | None = None) -> list[Example]:
        """The rows of a split by id, with the rationale of `source` (default: the task's), which may be a view such as
        `r1[part=thinking]` (see `tasks.views`). On dev and test a row that
        this source has not covered carries the rationale of the split's own source; `Example.source` says whose it
        is."""
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        wanted = self.default_source if source is None else source
        for name in read_view(wanted).names if wanted else ():
            if name not in self.sources:
                raise UnknownName(f"rationale source of {self.name}", name, self.sources)
        return list(_examples(str(self.folder), self.digest, split, wanted))

    def example(self, id: str, source: str | None = None) -> Example:
        """One row of any split; NotFound with near matches if there is none of that id."""
        ids: list[str] = []
        for split in SPLITS:
            for example in self.examples(split, source):
                if example.id == id:
                    return example
                ids.append(example.id)
        near = difflib.get_close_matches(id[:100], ids, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"For example {ids[0]}."
        raise NotFound(f"The task {self.name!r} has no example {id[:100]!r}.", hint)

    def traces(self, source: str) -> Traces:
        """By example, every rationale of one source, in order, with its parts."""
        if source not in self.sources:
            raise UnknownName(f"rationale source of {self.name}", source, self.sources)
        texts = _texts(self.folder, source) if source in self.added else _tables(str(self.folder), self.digest)[1]
        return texts.get(source, {})

    def teacher_labels(self, source: str) -> dict[str, str]:
        """By example, the answer that the teacher of a source gave, where it is known."""
        rows = _read(
            _rationales(self.folder, source if source in self.added else ""), columns=["id", "source", "teacher_label"]
        )
        labelled = rows[(rows["source"] == source) & rows["teacher_label"].notna()].drop_duplicates("id")
        return dict(zip(labelled["id"].astype(str), labelled["teacher_label"].astype(str), strict=True))

    def tokenizer(self, source: str, kind: str) -> Path:
        """The tokenizer.json that built-in students read with."""
        if kind not in KINDS:
            raise UnknownName("tokenizer", kind, KINDS)
        path = (
            (added_folder(self.folder, source) if source in self.added else self.folder)
            / "tokenizers"
            / f"{kind}-{source or 'none'}.json"
        )
        if not path.is_file():
            raise UnknownName(f"rationale source of {self.name}", source, self.sources)
        return path

    def base_documents(self) -> list[str]:
        """Generated tasks: what the shared base is trained on. Imported tasks have none."""
        path = self.folder / "documents.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def verify(self) -> list[str]:
        """What does not agree with the digest; empty if all is well."""
        try:
            actual = folder_digest(self.folder)
        except OSError as error:
            return [f"task {self.name} {self.digest[:12]}: {error}"]
        return (
            []
            if actual == self.digest
            else [f"task {self.name}: files hash to {actual[:12]}, expected {self.digest[:12]} ({self.folder})"]
        )


def folder_digest(folder: Path, leave_out: str = "") -> str:
    """SHA-256 over names and bytes of all files of a folder, but for one of that name."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != leave_out):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def added_folder(folder: Path, source: str = "") -> Path:
    """Beside the folder of a task: where the sources lie that were added to it, or one of them."""
    return folder.with_suffix(".sources") / source


def _read(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    # Imported here: what reads no tables, training on a bare machine among it, does without pandas.
    import pandas as pd

    return pd.read_parquet(path, columns=None if columns is None else list(columns))


def _rationales(folder: Path, added: str) -> Path:
    return (added_folder(folder, added) if added else folder) / "rationales.parquet"


def open_folder(folder: Path) -> Task:
    """The task in a folder that `write_task` made; DataError if it cannot be read. The digest is the one noted beside
    it; `store verify` re-derives it.
    """
    try:
        info = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        later = sorted(
            p.parent.name for p in added_folder(folder).glob("*/source.json") if not p.parent.name.startswith(".")
        )
        return Task(folder, str(info["name"]), folder.with_suffix(".digest").read_text().strip(), info, tuple(later))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The task in {folder} cannot be read: {error}", "Import it again.") from error


@lru_cache(maxsize=4)
def _tables(folder: str, _digest: str) -> tuple[dict[str, list[Example]], dict[str, Traces]]:
    rows = _read(Path(folder) / "examples.parquet")
    info = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
    kind = str(info.get("answer_kind", CHOICE))
    by_split: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for row in rows.itertuples(index=False):
        choices = tuple(Choice(label, text) for label, text in json.loads(str(row.choices)))
        example = Example(
            str(row.id),
            str(row.question),
            choices,
            str(row.answer),
            str(row.split),
            cluster=str(row.cluster),
            metadata=json.loads(str(row.metadata)),
            passage_lines=int(getattr(row, "passage_lines", 0)),
            also_right=tuple(json.loads(str(getattr(row, "also_right", "[]")))),
            kind=kind,
        )
        by_split[example.split].append(example)
    by_source = _texts(Path(folder), "")
    # In the order in which the import met them: a split's own source comes before those of the side files.
    order = info["sources"]
    return by_split, {source: by_source[source] for source in (*order, *by_source) if source in by_source}


def _texts(folder: Path, added: str) -> dict[str, Traces]:
    """By source and example, the rationales of the task itself, or of one source that was added."""
    traces: dict[str, Traces] = {}
    for row in rationales_of(_read(_rationales(folder, added))):
        if row.text and row.text.strip():
            traces.setdefault(row.source, {}).setdefault(row.id, []).append(row)
    return traces


def rationales_of(table: pd.DataFrame) -> list[Rationale]:
    """The rationales in a table as it is kept (see `writing.rationale_rows`), in its order."""
    columns = ("id", "source", "rationale", "teacher_label", "thinking", "answer")
    held = [table[name] if name in table else [None] * len(table) for name in columns]
    return [
        Rationale(str(id), str(source), *(value if isinstance(value, str) else None for value in texts))
        for id, source, *texts in zip(*held, strict=True)
    ]


@lru_cache(maxsize=32)
def _examples(folder: str, digest: str, split: str, source: str) -> tuple[Example, ...]:
    view = read_view(source)
    try:
        by_split, by_source = _tables(folder, digest)
        for name in view.names:
            if name and name not in by_source and _rationales(Path(folder), name).is_file():
                by_source = by_source | _texts(Path(folder), name)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"The rows of the task in {folder} cannot be read: {error}", "Import it again.") from error
    loaded = []
    for example in by_split[split]:
        whose = view.source_of(example.id)
        traces = by_source.get(whose, {}).get(example.id, [])
        if not traces and split != "train" and source:
            whose, traces = next(
                ((s, rows[example.id]) for s, rows in by_source.items() if example.id in rows), (whose, [])
            )
        loaded.append(_viewed(example, whose, traces, view, split))
    return tuple(loaded)


def _viewed(example: Example, whose: str, traces: Sequence[Rationale], view: SourceView, split: str) -> Example:
    """An example with the rationales that a view reads of it."""
    if view.teacher_target and split == "train":
        labels = {choice.label for choice in example.choices}
        traces = [trace for trace in traces if trace.teacher_label is not None and trace.teacher_label in labels]
        if traces:
            # All rationales that are read in turn conclude the same as the first.
            traces = [trace for trace in traces if trace.teacher_label == traces[0].teacher_label]
            example = replace(example, answer=str(traces[0].teacher_label))
    texts = [text for trace in traces[: view.rationales] if (text := trace.part(view.part))]
    return replace(
        example, rationale=texts[0] if texts else None, source=whose if texts else None, more=tuple(texts[1:])
    )
