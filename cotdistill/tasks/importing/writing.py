"""A task becomes a folder: written whole or not at all, and named by its content."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotdistill.config import canonical_json, hashed, plain
from cotdistill.errors import DiskFull, StoreError
from cotdistill.tasks.example import CHOICE, Example
from cotdistill.tasks.task import SPLITS, Rationale, Task, folder_digest, open_folder
from cotdistill.tasks.template import PASSAGE, Template
from cotdistill.tasks.vocabulary import literal_text, train_bpe, train_word, training_text

if TYPE_CHECKING:
    import pandas as pd

# A folder in the making that is older than this many seconds was left by a process that was killed.
ABANDONED = 24 * 3600


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
    """Materialise a task under `<root>/<name>/`, tokenizers included, and make it the newest of its name. Nothing is
    half-written: everything goes to a temporary folder that is renamed to the digest of its content.
    `Example.rationale` is ignored; rationales come apart. DiskFull or StoreError if the folder cannot be written."""
    template.check()
    home = root / name
    with new_folder(home) as part:
        progress("writing rows")
        _rows(examples, template).to_parquet(part / "examples.parquet", index=False, compression="zstd")
        rationale_rows(rationales).to_parquet(part / "rationales.parquet", index=False, compression="zstd")
        sources = train_tokenizers(part, examples, rationales, template, documents, minimum, progress)
        if documents:
            (part / "documents.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
        test = [e for e in examples if e.split == "test"]
        manifest = {
            **(dict(info) if info else {}),
            "name": name,
            "title": title,
            "help": help,
            "artificial": artificial,
            "template": hashed(Template, plain(template)),
            "sources": sources,
            "default_source": default_source if default_source in sources else (sources[0] if sources else ""),
            "chance": fsum(_chance(e) for e in test) / len(test) if test else 0.0,
            **({"answer_kind": kind} if (kind := examples[0].kind) != CHOICE else {}),
            "roles": dict(roles),
            "rows": {split: sum(e.split == split for e in examples) for split in SPLITS},
            "tokenizer_kind": tokenizer_kind,
        }
        (part / "task.json").write_text(canonical_json(manifest), encoding="utf-8")
        folder = _put(part, home)
        write_note(home / "newest", folder.name)
    return open_folder(folder)


def adopt_folder(root: Path, name: str, source: Path, *, newest: bool) -> Task:
    """Copy a task's folder that was written elsewhere under `<root>/<name>/`, whole or not at all. newest: it is what
    the name stands for. A task of another name gets this one, and with it another digest.
    """
    home = root / name
    with new_folder(home) as part:
        shutil.copytree(source, part, dirs_exist_ok=True)
        manifest = json.loads((part / "task.json").read_text(encoding="utf-8"))
        if manifest["name"] != name:
            title = name if manifest["title"] == manifest["name"] else manifest["title"]
            named = {**manifest, "name": name, "title": title}
            (part / "task.json").write_text(canonical_json(named), encoding="utf-8")
        folder = _put(part, home)
        if newest:
            write_note(home / "newest", folder.name)
    return open_folder(folder)


@contextlib.contextmanager
def new_folder(home: Path) -> Iterator[Path]:
    """An empty folder in `home` to write into; what is left of it in the end is removed. DiskFull or StoreError where
    the disk fails meanwhile.
    """
    with disk_in_words(home):
        home.mkdir(parents=True, exist_ok=True)
        sweep(home)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=home))
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def disk_in_words(folder: Path) -> Iterator[None]:
    """Turn what the system says of the disk into DiskFull or StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"There is no room left on the disk of {folder}.", "Free some room and try again; nothing was changed."
            ) from error
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or error}.", "Check that the folder may be written to."
        ) from error


def write_note(path: Path, text: str) -> None:
    """A small file, replaced at once: readers see the old text or the new one, however many write."""
    handle, part = tempfile.mkstemp(prefix=".note-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def _put(part: Path, home: Path) -> Path:
    """Rename the finished folder to its digest. The same content may be there already; what is there but damaged gives
    way.
    """
    settle_all(part)
    digest = folder_digest(part)
    folder = home / digest[:12]
    write_note(folder.with_suffix(".digest"), digest)
    if folder.is_dir():
        if folder_digest(folder) == digest:
            return folder
        damaged = Path(tempfile.mkdtemp(prefix=".part-", dir=home))
        os.replace(folder, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.replace(part, folder)
    except OSError:
        if not (folder / "task.json").is_file():  # else another process wrote the same content meanwhile
            raise
    settle(home)
    return folder


def settle(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle_all(part: Path) -> None:
    """The same for a folder with tokenizers and everything in it."""
    for path in (*(p for p in part.rglob("*") if p.is_file()), part / "tokenizers", part):
        settle(path)


def sweep(home: Path) -> None:
    """Remove folders in the making that a killed process has left."""
    for left in home.glob(".part-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def train_tokenizers(
    part: Path,
    examples: Sequence[Example],
    rationales: Sequence[Rationale],
    template: Template,
    documents: Sequence[str],
    minimum: int,
    progress: Callable[[str], None],
) -> list[str]:
    """Train both kinds of tokenizer for each source that speaks about training rows; gives those sources, in the order
    they were met.
    """
    (part / "tokenizers").mkdir()
    train = sorted((e for e in examples if e.split == "train"), key=lambda e: e.id)
    learnt = {example.id for example in train}
    by_source: dict[str, dict[str, str]] = {}
    further: dict[str, list[str]] = {}
    for rationale in rationales:
        source_texts = by_source.setdefault(rationale.source, {})
        first = rationale.id not in source_texts
        if rationale.text and first:
            source_texts[rationale.id] = rationale.text
        if rationale.text and rationale.id in learnt:
            # What conditions may read beside the first rationale's default part.
            parts = {rationale.text, *(text for text in (rationale.thinking, rationale.answer) if text)}
            further.setdefault(rationale.source, []).extend(sorted(parts - ({rationale.text} if first else set())))
    sources = [source for source, source_texts in by_source.items() if any(e.id in source_texts for e in train)]
    always = literal_text(template)
    for source in sources or [""]:
        progress(f"training tokenizers {source}".strip())
        rows = [replace(e, rationale=by_source.get(source, {}).get(e.id)) for e in train]
        texts = [*training_text(rows, template), *further.get(source, ()), *documents]
        train_word(texts, always, minimum=minimum).save(str(part / "tokenizers" / f"word-{source or 'none'}.json"))
        train_bpe(texts, always).save(str(part / "tokenizers" / f"bpe-{source or 'none'}.json"))
    return sources


def _chance(example: Example) -> float:
    """The accuracy of guessing: none where an answer is written."""
    return 0.0 if example.is_written else len(example.right_places) / len(example.choices)


def _rows(examples: Sequence[Example], template: Template) -> pd.DataFrame:
    import pandas as pd

    # Kept only where the template tells the passage from the question, so that other tasks keep their digest.
    own_place = PASSAGE in template.question
    several = any(e.also_right for e in examples)

    rows = [
        {
            "id": e.id,
            "split": e.split,
            "question": e.question,
            "choices": json.dumps([[c.label, c.text] for c in e.choices], ensure_ascii=False),
            "answer": e.answer,
            "cluster": e.cluster or e.id,
            "metadata": json.dumps(plain(e.metadata)),
            **({"passage_lines": str(e.passage_lines)} if own_place else {}),
            **({"also_right": json.dumps(e.also_right)} if several else {}),
        }
        for e in sorted(examples, key=lambda e: (SPLITS.index(e.split), e.id))
    ]
    return pd.DataFrame(rows).astype("str")


def rationale_rows(rationales: Sequence[Rationale]) -> pd.DataFrame:
    """Rationales as the table that is kept: id, source, rationale, teacher_label, by source and id, several of one
    question in their order; also thinking and answer where any trace has them apart."""
    import pandas as pd

    rows = [
        (r.id, r.source, r.text, r.teacher_label, r.thinking, r.answer)
        for r in sorted(rationales, key=lambda r: (r.source, r.id))
    ]
    columns = ["id", "source", "rationale", "teacher_label", "thinking", "answer"]
    table = pd.DataFrame(rows, columns=columns, dtype="object")
    return table if any(r.thinking is not None for r in rationales) else table.drop(columns=["thinking", "answer"])
