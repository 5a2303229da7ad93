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
from cotdistill.tasks.vocabulary import KINDS

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Rationale:
    """One rationale of one example by one source; teacher_label is the answer its teacher gave, None for people."""

    id: str
    source: str
    text: str | None
    teacher_label: str | None = None


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
        """The rows of a split by id, with the rationale of `source` (default: the task's). On dev and test a row that
        this source has not covered carries the rationale of the split's own source; `Example.source` says whose it
        is."""
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        wanted = self.default_source if source is None else source
        if wanted and wanted not in self.sources:
            raise UnknownName(f"rationale source of {self.name}", wanted, self.sources)
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

    def teacher_labels(self, source: str) -> dict[str, str]:
        """By example, the answer that the teacher of a source gave, where it is known."""
        rows = _read(
            _rationales(self.folder, source if source in self.added else ""), columns=["id", "source", "teacher_label"]
        )
        labelled = rows[(rows["source"] == source) & rows["teacher_label"].notna()]
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
def _tables(folder: str, _digest: str) -> tuple[dict[str, list[Example]], dict[str, dict[str, str]]]:
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


def _texts(folder: Path, added: str) -> dict[str, dict[str, str]]:
    """By source and example, the rationales of the task itself, or of one source that was added."""
    texts: dict[str, dict[str, str]] = {}
    for row in _read(_rationales(folder, added)).itertuples(index=False):
        if isinstance(row.rationale, str) and row.rationale.strip():
            texts.setdefault(str(row.source), {})[str(row.id)] = row.rationale
    return texts


@lru_cache(maxsize=32)
def _examples(folder: str, digest: str, split: str, source: str) -> tuple[Example, ...]:
    try:
        by_split, by_source = _tables(folder, digest)
        if source and source not in by_source and _rationales(Path(folder), source).is_file():
            by_source = by_source | _texts(Path(folder), source)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"The rows of the task in {folder} cannot be read: {error}", "Import it again.") from error
    rationales = by_source.get(source, {})
    loaded = []
    for example in by_split[split]:
        whose, text = source, rationales.get(example.id)
        if text is None and split != "train" and source:
            whose, text = next(
                ((s, rows[example.id]) for s, rows in by_source.items() if example.id in rows), (source, None)
            )
        loaded.append(replace(example, rationale=text, source=whose if text is not None else None))
    return tuple(loaded)
