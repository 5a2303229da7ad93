"""A task in a folder: rows, rationales by source, template, tokenizers; written whole or not at all, named by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from cotdistill.config import canonical_json, plain
from cotdistill.errors import DataError, NotFound, UnknownName
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.template import Template
from cotdistill.tasks.vocabulary import KINDS, literal_text, train_bpe, train_word, training_text

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
    """A materialised task, read lazily. `digest` is the SHA-256 of its files; `info` holds provenance, counts, checks and settings."""

    folder: Path
    name: str
    digest: str
    info: Mapping[str, Any]

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
    def template(self) -> Template:
        return Template(**self.info["template"])

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.info["sources"])

    @property
    def default_source(self) -> str:
        return str(self.info["default_source"])

    @property
    def chance(self) -> float:
        """The accuracy of guessing: the mean of 1 / number of choices over test."""
        return float(self.info["chance"])

    @property
    def roles(self) -> Mapping[str, str]:
        """What each split is, in words, for example {"test": "official dev"}."""
        return dict(self.info["roles"])

    @property
    def tokenizer_kind(self) -> str:
        return str(self.info["tokenizer_kind"])

    def examples(self, split: str, source: str | None = None) -> list[Example]:
        """The rows of a split by id, with the rationale of `source` (default: the task's). On dev and test a row that this source has not
        covered carries the rationale of the split's own source; `Example.source` says whose it is."""
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        wanted = self.default_source if source is None else source
        if wanted and wanted not in self.sources:
            raise UnknownName(f"rationale source of {self.name}", wanted, self.sources)
        return list(_examples(str(self.folder), self.digest, split, wanted))

    def example(self, id: str, source: str | None = None) -> Example:
        """One row of any split; NotFound if there is none of that id."""
        for split in SPLITS:
            for example in self.examples(split, source):
                if example.id == id:
                    return example
        raise NotFound(f"The task {self.name!r} has no example {id!r}.", f"For example {next(iter(self.examples('train'))).id!r}.")

    def tokenizer(self, source: str, kind: str) -> Path:
        """The tokenizer.json that built-in students read with."""
        if kind not in KINDS:
            raise UnknownName("tokenizer", kind, KINDS)
        path = self.folder / "tokenizers" / f"{kind}-{source or 'none'}.json"
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
            found = folder_digest(self.folder)
        except OSError as error:
            return [f"task {self.name} {self.digest[:12]}: {error}"]
        return [] if found == self.digest else [f"task {self.name}: files hash to {found[:12]}, expected {self.digest[:12]} ({self.folder})"]


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files of a task folder."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def open_folder(folder: Path) -> Task:
    """The task in a folder that `write_task` made. The digest is the one noted beside it; `verify` re-derives it."""
    try:
        info = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        return Task(folder, str(info["name"]), folder.with_suffix(".digest").read_text().strip(), info)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"The task in {folder} cannot be read: {error}", "Import it again.") from error


def write_task(
    root: Path,
    name: str,
    *,
    examples: Sequence[Example],
    rationales: Sequence[Rationale],
    template: Template,
    roles: Mapping[str, str],
    title: str,
    help: str = "",
    default_source: str = "",
    artificial: bool = False,
    tokenizer_kind: str = "bpe",
    minimum: int = 2,
    documents: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Task:
    """Materialise a task under `<root>/<name>/`, tokenizers included, and make it the newest of its name. Nothing is half-written:
    everything goes to a temporary folder that is renamed to the digest of its content. `Example.rationale` is ignored; rationales come apart."""
    template.check()
    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=home))
    try:
        progress("writing rows")
        _rows(examples).to_parquet(part / "examples.parquet", index=False, compression="zstd")
        _rationale_rows(rationales).to_parquet(part / "rationales.parquet", index=False, compression="zstd")
        train = sorted((e for e in examples if e.split == "train"), key=lambda e: e.id)
        test = [e for e in examples if e.split == "test"]
        sources = list(dict.fromkeys(r.source for r in rationales))
        by_source: dict[str, dict[str, str]] = {source: {} for source in sources}
        for rationale in rationales:
            if rationale.text:
                by_source[rationale.source][rationale.id] = rationale.text
        (part / "tokenizers").mkdir()
        usable = [s for s in sources if any(e.id in by_source[s] for e in train)]
        for source in usable or [""]:
            progress(f"training tokenizers {source}".strip())
            told = [replace(e, rationale=by_source.get(source, {}).get(e.id)) for e in train]
            texts = [*training_text(told, template), *documents]
            always = literal_text(template)
            train_word(texts, always, minimum=minimum).save(str(part / "tokenizers" / f"word-{source or 'none'}.json"))
            train_bpe(texts, always).save(str(part / "tokenizers" / f"bpe-{source or 'none'}.json"))
        if documents:
            (part / "documents.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
        told_info = {
            **(dict(info) if info else {}),
            "name": name,
            "title": title,
            "help": help,
            "artificial": artificial,
            "template": plain(template),
            "sources": usable,
            "default_source": default_source if default_source in usable else (usable[0] if usable else ""),
            "chance": sum(1 / len(e.choices) for e in test) / len(test) if test else 0.0,
            "roles": dict(roles),
            "rows": {split: sum(e.split == split for e in examples) for split in SPLITS},
            "tokenizer_kind": tokenizer_kind,
        }
        (part / "task.json").write_text(canonical_json(told_info), encoding="utf-8")
        digest = folder_digest(part)
        folder = home / digest[:12]
        _note(folder.with_suffix(".digest"), digest)
        with contextlib.suppress(OSError):  # the same content is there already
            os.replace(part, folder)
        _note(home / "newest", folder.name)
        return open_folder(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _note(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    os.replace(part, path)


def _rows(examples: Sequence[Example]) -> pd.DataFrame:
    rows = [
        {
            "id": e.id,
            "split": e.split,
            "question": e.question,
            "choices": json.dumps([[c.label, c.text] for c in e.choices], ensure_ascii=False),
            "answer": e.answer,
            "cluster": e.cluster or e.id,
            "metadata": json.dumps(plain(e.metadata)),
        }
        for e in sorted(examples, key=lambda e: (SPLITS.index(e.split), e.id))
    ]
    return pd.DataFrame(rows).astype("str")


def _rationale_rows(rationales: Sequence[Rationale]) -> pd.DataFrame:
    rows = [(r.id, r.source, r.text, r.teacher_label) for r in sorted(rationales, key=lambda r: (r.source, r.id))]
    return pd.DataFrame(rows, columns=["id", "source", "rationale", "teacher_label"], dtype="object")


@lru_cache(maxsize=4)
def _tables(folder: str, _digest: str) -> tuple[dict[str, list[Example]], dict[str, dict[str, str]]]:
    rows = pd.read_parquet(Path(folder) / "examples.parquet")
    by_split: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for row in rows.itertuples(index=False):
        choices = tuple(Choice(label, text) for label, text in json.loads(str(row.choices)))
        example = Example(
            str(row.id), str(row.question), choices, str(row.answer), str(row.split), cluster=str(row.cluster), metadata=json.loads(str(row.metadata))
        )
        by_split[example.split].append(example)
    by_source: dict[str, dict[str, str]] = {}
    for row in pd.read_parquet(Path(folder) / "rationales.parquet").itertuples(index=False):
        if isinstance(row.rationale, str) and row.rationale.strip():
            by_source.setdefault(str(row.source), {})[str(row.id)] = row.rationale
    # In the order in which the import met them: a split's own source comes before those of the side files.
    order = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))["sources"]
    return by_split, {source: by_source[source] for source in (*order, *by_source) if source in by_source}


@lru_cache(maxsize=32)
def _examples(folder: str, digest: str, split: str, source: str) -> tuple[Example, ...]:
    by_split, by_source = _tables(folder, digest)
    own = by_source.get(source, {})
    found = []
    for example in by_split[split]:
        whose, text = source, own.get(example.id)
        if text is None and split != "train" and source:
            whose, text = next(((s, rows[example.id]) for s, rows in by_source.items() if example.id in rows), (source, None))
        found.append(replace(example, rationale=text, source=whose if text is not None else None))
    return tuple(found)
