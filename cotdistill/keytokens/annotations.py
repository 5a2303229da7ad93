"""Tokens that people marked: annotation sets in files that only ever grow, so that two people may mark at once and
nothing is lost.

A set lies in a folder of its own; each annotator has one file of lines, every mark with a hash of the rationale it was
made on. The last line on a rationale counts; an undone one gives way to the line before it. Marks on another rationale
of the same example (another source, another world of a generated task) stand beside it and count where that rationale
is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import digest
from cotdistill.errors import BadRows, DataError, RowProblem, UsageError
from cotdistill.tasks.example import Example
from cotdistill.tasks.importing.writing import disk_in_words

NAME = re.compile(r"[\w][\w .-]{0,59}")


@dataclass(frozen=True)
class Mark:
    """What one annotator marked on one example: character ranges (start, end) of its rationale; skipped: looked at and
    left unmarked on purpose.
    """

    example: str
    annotator: str
    spans: tuple[tuple[int, int], ...]
    text: str
    skipped: bool = False
    when: float = 0.0


def rename_marks(home: Path, old: str, new: str) -> None:
    """Put the sets of a task under its new name, unless sets stand there already."""
    before, after = (home / "annotations" / re.sub(r"[^\w.-]", "_", task) for task in (old, new))
    if before.is_dir() and not after.exists():
        with disk_in_words(before):
            before.rename(after)


def text_hash(rationale: str) -> str:
    """Of the rationale that a mark was made on (16 hex digits)."""
    return hashlib.sha256(rationale.encode()).hexdigest()[:16]


def _is_name(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and ".." not in name


def checked_name(name: str, what: str) -> str:
    """A name of a set or an annotator; UsageError for one that cannot be a file's."""
    if not _is_name(name.strip()):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of {what}.", "Use 1 to 60 letters, digits, spaces, dots and dashes."
        )
    return name.strip()


class AnnotationSet:
    """One set of marks on the rationales of one source of one task."""

    def __init__(self, home: Path, task: str, name: str) -> None:
        self.name = checked_name(name, "an annotation set")
        self.folder = home / "annotations" / re.sub(r"[^\w.-]", "_", task) / self.name

    @classmethod
    def names(cls, home: Path, task: str) -> list[str]:
        """The sets of a task."""
        folder = home / "annotations" / re.sub(r"[^\w.-]", "_", task)
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []

    def annotators(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def add(self, mark: Mark) -> None:
        """Put a mark down; it is on the disk when this returns."""
        self.add_all([mark])

    def add_all(self, marks: Sequence[Mark]) -> None:
        """Put several marks down. Names are checked before anything is written (UsageError), and an annotator's marks
        come all at once or, where the process is killed, not at all. DiskFull and StoreError if they cannot be
        written."""
        lines: dict[str, list[dict[str, Any]]] = {}
        for mark in marks:
            name = checked_name(mark.annotator, "an annotator")
            lines.setdefault(name, []).append(asdict(mark) | {"annotator": name, "when": mark.when or time.time()})
        with self._alone():
            for name, more in lines.items():
                self._append(name, more)

    def undo(self, annotator: str) -> str | None:
        """Take back the annotator's last mark; gives its example, None if there is nothing to take back."""
        if not self._path(annotator).is_file():
            return None
        with self._alone():
            standing = self._standing(annotator)
            if not standing:
                return None
            self._append(annotator, [{"undo": standing[-1][0]}])
        return standing[-1][1].example

    def marks(self, annotator: str | None = None) -> list[Mark]:
        """The marks that count, by annotator, in the order in which they were made: one a rationale, and so several an
        example whose rationale differs between sources or worlds."""
        read: list[Mark] = []
        for name in [annotator] if annotator else self.annotators():
            latest: dict[tuple[str, str], Mark] = {}
            for _, mark in self._standing(name):
                latest.pop((mark.example, mark.text), None)
                latest[mark.example, mark.text] = mark
            read += latest.values()
        return read

    def digest(self) -> str:
        """Of all marks that count, whoever made them and whenever: what a selection made from them is named by."""
        return digest(
            sorted([m.example, m.annotator, [list(s) for s in m.spans], m.text] for m in self.marks() if not m.skipped)
        )

    def _path(self, annotator: str) -> Path:
        return self.folder / f"{checked_name(annotator, 'an annotator')}.jsonl"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process or thread writes to a set at a time."""
        with disk_in_words(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / ".lock", "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    def _append(self, annotator: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """The file with some more lines takes the place of the old one: readers see one or the other, and a kill leaves
        the old one as it was.
        """
        path = self._path(annotator)
        old = path.read_bytes() if path.is_file() else b""
        if old and not old.endswith(b"\n"):
            # Somebody cut a line off: it stays what it is, and the next one begins anew.
            old += b"\n"
        part = self.folder / ".part"
        with open(part, "wb") as file:
            file.write(old + b"".join(json.dumps(dict(line), ensure_ascii=False).encode() + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _standing(self, annotator: str) -> list[tuple[int, Mark]]:
        """(number of the line, mark) of what was not undone; lines that are no marks are left out."""
        path = self._path(annotator)
        if not path.is_file():
            return []
        standing: dict[int, Mark] = {}
        for number, text in enumerate(path.read_bytes().split(b"\n")):
            try:
                line = json.loads(text)
                if "undo" in line:
                    standing.pop(int(line["undo"]), None)
                    continue
                spans = tuple((int(a), int(b)) for a, b in line["spans"])
                skipped, when = bool(line.get("skipped")), float(line.get("when", 0.0))
                standing[number] = Mark(str(line["example"]), annotator, spans, str(line["text"]), skipped, when)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                continue
        return sorted(standing.items())


def fitting(marks: Iterable[Mark], examples: Iterable[Example]) -> list[Mark]:
    """The marks and skips made on the rationales as they stand."""
    texts = {e.id: text_hash(e.rationale) for e in examples if e.rationale}
    return [mark for mark in marks if texts.get(mark.example) == mark.text]


def usable(marks: Iterable[Mark], examples: Iterable[Example]) -> list[Mark]:
    """The marks made on the rationales as they stand, skipped ones left out. DataError if there are marks and none of
    them fits.
    """
    done = [mark for mark in marks if not mark.skipped]
    fit = fitting(done, examples)
    if done and not fit:
        raise DataError(
            f"None of {len(done)} marks was made on these rationales.",
            "They belong to another source or to an older version of the task: mark anew.",
        )
    return fit


def export_jsonl(marks: Sequence[Mark], examples: Mapping[str, Example]) -> str:
    """One line a mark: example, annotator, spans, hash of the rationale, and the marked words where the mark fits the
    example's rationale.
    """
    lines = []
    for mark in marks:
        entry = {k: v for k, v in asdict(mark).items() if k != "when"}
        if fitting([mark], [examples[mark.example]] if mark.example in examples else []):
            rationale = examples[mark.example].rationale or ""
            entry["marked"] = [rationale[a:b] for a, b in mark.spans]
        lines.append(json.dumps(entry, ensure_ascii=False))
    return "".join(line + "\n" for line in lines)


def export_label_studio(marks: Sequence[Mark], examples: Mapping[str, Example]) -> str:
    """Tasks with annotations as Label Studio imports them, of the marks that fit the examples (`fitting`); for the
    labelling interface `<View><Labels name="label" toName="rationale"><Label value="KEY"/></Labels><Text
    name="rationale" value="$rationale"/></View>`.

    The annotator stands in a field of ours: Label Studio refuses an annotation of somebody who is not its member
    ("completed_by"), and leaves out fields that it does not know. What comes back from there is by its own users.
    """
    tasks = []
    marks = fitting(marks, examples.values())
    for id in dict.fromkeys(mark.example for mark in marks):
        rationale = examples[id].rationale or ""
        annotations = [
            {
                "annotator": mark.annotator,
                "was_cancelled": mark.skipped,
                "result": [
                    {
                        "from_name": "label", "to_name": "rationale", "type": "labels",
                        "value": {"start": a, "end": b, "text": rationale[a:b], "labels": ["KEY"]},
                    }
                    for a, b in mark.spans
                ],
            }
            for mark in marks
            if mark.example == id
        ]  # fmt: skip
        tasks.append({"data": {"id": id, "rationale": rationale}, "annotations": annotations})
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def read_marks(text: str, examples: Mapping[str, Example], file: str = "marks") -> list[Mark]:
    """Marks from either form. BadRows lists every entry that cannot be used (unknown id, spans outside the rationale,
    another text, a name that no file can have), by line, or by place in a Label Studio export; nothing is
    half-imported. An address's @ becomes a dot in the annotator's name."""
    marks: list[Mark] = []
    problems: list[RowProblem] = []
    for line, entry in _entries(text.removeprefix("\ufeff"), file):
        problem = _problem(entry, examples)
        if problem:
            problems.append(RowProblem(file, line, problem))
            continue
        rationale = examples[entry["example"]].rationale or ""
        spans = tuple(sorted((a, b) for a, b in entry["spans"]))
        marks.append(
            Mark(entry["example"], _annotator(entry), spans, text_hash(rationale), entry.get("skipped") is True)
        )
    if problems:
        raise BadRows(problems, "Correct these entries; nothing was imported.")
    if not marks:
        raise DataError(f"{file} holds no marks.", "Expected one JSON object a line, or a Label Studio export.")
    return marks


def _entries(text: str, file: str) -> list[tuple[int, dict[str, Any]]]:
    """(line, entry); {} for what is no entry."""
    if text.lstrip().startswith("["):
        try:
            tasks = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"{file} is no Label Studio export: {error}",
                "Export as JSON, with the id of each example under data.id.",
            ) from error
        return [(number, entry) for number, task in enumerate(tasks, start=1) for entry in _of_label_studio(task)]
    entries = []
    # JSON escapes line feeds; other ends of lines may stand in a marked text as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            entries.append((number, entry if isinstance(entry, dict) else {}))
    return entries


def _of_label_studio(task: Any) -> list[dict[str, Any]]:
    """The annotations of a task; [{}] for what is none. Only labelled spans count: choices and comments beside them are
    left out.
    """
    marks = []
    try:
        data = task["data"]
        text = {"text": text_hash(data["rationale"])} if "rationale" in data else {}
        for annotation in task["annotations"]:
            who = annotation.get("completed_by")
            name = annotation.get("annotator") or (who.get("email") or who.get("id") if isinstance(who, dict) else who)
            values = [r["value"] for r in annotation["result"] if r["type"] == "labels"]
            marks.append({
                "example": str(data["id"]), "annotator": name, "spans": [(v["start"], v["end"]) for v in values],
                "said": [v.get("text") for v in values], "skipped": annotation.get("was_cancelled", False), **text,
            })  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        return [{}]
    return marks


def _annotator(entry: Mapping[str, Any]) -> str:
    return str(entry["annotator"]).replace("@", ".").strip()


def _problem(entry: Mapping[str, Any], examples: Mapping[str, Example]) -> str:
    if not {"example", "annotator", "spans"} <= set(entry):
        return "expected example, annotator and spans"
    if not isinstance(entry["example"], str) or entry["example"] not in examples:
        return f"there is no example {str(entry['example'])[:80]!r} with a rationale"
    rationale = examples[entry["example"]].rationale or ""
    if entry.get("text") not in (None, text_hash(rationale)):
        return "it was made on another rationale"
    if entry["annotator"] is None or not _is_name(_annotator(entry)):
        return f"{str(entry['annotator'])[:80]!r} cannot be the name of an annotator"
    spans = entry["spans"]
    if not isinstance(spans, list) or not all(
        isinstance(span, (list, tuple)) and [type(place) for place in span] == [int, int] for span in spans
    ):
        return "spans are no pairs of whole numbers"
    if any(not 0 <= a < b <= len(rationale) for a, b in spans):
        return f"a span lies outside the rationale of {len(rationale)} characters"
    for (a, b), said in zip(spans, entry.get("said", ()), strict=False):
        if isinstance(said, str) and _bare(said) != _bare(rationale[a:b]):
            return f"characters {a} to {b} read {rationale[a:b][:40]!r}, and {said[:40]!r} was marked"
    return ""


def _bare(text: str) -> str:
    """Without white space, which Label Studio writes in its own way (a line's end as the two characters \\n)."""
    return "".join(text.replace("\\n", " ").split())
