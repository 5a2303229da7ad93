"""Tokens that people marked: annotation sets in files that only ever grow, so that two people may mark at once and nothing is lost.

A set lies in a folder of its own; each annotator has one file of lines, every mark with a hash of the rationale it was made on. The last line on
an example counts; an undone one gives way to the line before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cotdistill.config import digest
from cotdistill.errors import BadRows, DataError, RowProblem, UsageError
from cotdistill.tasks.example import Example

NAME = re.compile(r"[\w][\w .-]{0,59}")


@dataclass(frozen=True)
class Mark:
    """What one annotator marked on one example: character ranges (start, end) of its rationale; skipped: looked at and left unmarked on purpose."""

    example: str
    annotator: str
    spans: tuple[tuple[int, int], ...]
    text: str
    skipped: bool = False
    when: float = 0.0


def text_hash(rationale: str) -> str:
    """Of the rationale that a mark was made on (16 hex digits)."""
    return hashlib.sha256(rationale.encode()).hexdigest()[:16]


def checked_name(name: str, what: str) -> str:
    """A name of a set or an annotator; UsageError for one that cannot be a file's."""
    if not NAME.fullmatch(name.strip()) or ".." in name:
        raise UsageError(f"{name[:80]!r} cannot be the name of {what}.", "Use 1 to 60 letters, digits, spaces, dots and dashes.")
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
        self._append(mark.annotator, asdict(mark) | {"when": mark.when or time.time()})

    def undo(self, annotator: str) -> str | None:
        """Take back the annotator's last mark; gives its example, None if there is nothing to take back."""
        lines = self._standing(annotator)
        if not lines:
            return None
        self._append(annotator, {"undo": lines[-1][0]})
        return str(lines[-1][1]["example"])

    def marks(self, annotator: str | None = None) -> list[Mark]:
        """The marks that count, by annotator and example, in the order in which they were made."""
        found: list[Mark] = []
        for name in [annotator] if annotator else self.annotators():
            latest: dict[str, Mark] = {}
            for _, line in self._standing(name):
                latest.pop(line["example"], None)
                spans = tuple((int(a), int(b)) for a, b in line["spans"])
                latest[line["example"]] = Mark(
                    line["example"], name, spans, line["text"], bool(line.get("skipped")), float(line.get("when", 0.0))
                )  # fmt: skip
            found += latest.values()
        return found

    def digest(self) -> str:
        """Of all marks that count, whoever made them and whenever: what a selection made from them is named by."""
        return digest(sorted([m.example, m.annotator, [list(s) for s in m.spans], m.text] for m in self.marks() if not m.skipped))

    def _path(self, annotator: str) -> Path:
        return self.folder / f"{checked_name(annotator, 'an annotator')}.jsonl"

    def _append(self, annotator: str, line: Mapping[str, Any]) -> None:
        path = self._path(annotator)
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write under a lock: a line is there whole or not at all, whoever else writes.
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = json.dumps(dict(line), ensure_ascii=False).encode() + b"\n"
            if file.tell() and not _ends_whole(path):
                # Somebody was killed in the middle of a line: it stays what it is, and the next one begins anew.
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _standing(self, annotator: str) -> list[tuple[int, dict[str, Any]]]:
        """(number, line) of the marks that were not undone; half-written lines are left out."""
        path = self._path(annotator)
        if not path.is_file():
            return []
        standing: dict[int, dict[str, Any]] = {}
        for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if "undo" in line:
                standing.pop(int(line["undo"]), None)
            elif {"example", "spans", "text"} <= set(line):
                standing[number] = line
        return sorted(standing.items())


def _ends_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def usable(marks: Iterable[Mark], examples: Iterable[Example]) -> list[Mark]:
    """The marks made on the rationales as they stand, skipped ones left out. DataError if there are marks and none of them fits."""
    texts = {e.id: text_hash(e.rationale) for e in examples if e.rationale}
    made = [mark for mark in marks if not mark.skipped]
    fitting = [mark for mark in made if texts.get(mark.example) == mark.text]
    if made and not fitting:
        raise DataError(
            f"None of {len(made)} marks was made on these rationales.", "They belong to another source or to an older version of the task: mark anew."
        )
    return fitting


def export_jsonl(marks: Sequence[Mark], examples: Mapping[str, Example]) -> str:
    """One line a mark: example, annotator, spans, the marked words, hash of the rationale."""
    lines = []
    for mark in marks:
        rationale = examples[mark.example].rationale or "" if mark.example in examples else ""
        words = [rationale[a:b] for a, b in mark.spans]
        entry = {k: v for k, v in asdict(mark).items() if k != "when"} | {"marked": words}
        lines.append(json.dumps(entry, ensure_ascii=False))
    return "".join(line + "\n" for line in lines)


def export_label_studio(marks: Sequence[Mark], examples: Mapping[str, Example]) -> str:
    """Tasks with annotations as Label Studio imports them (labels KEY on the text field "rationale")."""
    tasks = []
    for id in dict.fromkeys(mark.example for mark in marks):
        rationale = examples[id].rationale or "" if id in examples else ""
        annotations = [
            {
                "completed_by": {"email": mark.annotator},
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
    """Marks from either form. BadRows lists every entry that cannot be used (unknown id, spans outside the rationale, another text); nothing is
    half-imported."""
    entries = _entries(text, file)
    found: list[Mark] = []
    problems: list[RowProblem] = []
    for line, entry in entries:
        told = _problem(entry, examples)
        if told:
            problems.append(RowProblem(file, line, told))
            continue
        rationale = examples[entry["example"]].rationale or ""
        spans = tuple(sorted((int(a), int(b)) for a, b in entry["spans"]))
        found.append(Mark(entry["example"], str(entry["annotator"]), spans, text_hash(rationale), bool(entry.get("skipped"))))
    if problems:
        raise BadRows(problems, "Correct these entries; nothing was imported.")
    if not found:
        raise DataError(f"{file} holds no marks.", "Expected one JSON object a line, or a Label Studio export.")
    return found


def _entries(text: str, file: str) -> list[tuple[int, dict[str, Any]]]:
    if text.lstrip().startswith("["):
        try:
            tasks = json.loads(text)
            return [(number, entry) for number, task in enumerate(tasks, start=1) for entry in _of_label_studio(task)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} is no Label Studio export: {error}", "Export as JSON, with the id of each example under data.id.") from error
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            entries.append((number, entry if isinstance(entry, dict) else {}))
    return entries


def _of_label_studio(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for annotation in task["annotations"]:
        who = annotation.get("completed_by")
        name = who.get("email") or who.get("id") if isinstance(who, dict) else who
        spans = [(r["value"]["start"], r["value"]["end"]) for r in annotation["result"]]
        found.append({"example": str(task["data"]["id"]), "annotator": str(name), "spans": spans, "skipped": annotation.get("was_cancelled", False)})
    return found


def _problem(entry: Mapping[str, Any], examples: Mapping[str, Example]) -> str:
    if not {"example", "annotator", "spans"} <= set(entry):
        return "expected example, annotator and spans"
    if entry["example"] not in examples:
        return f"there is no example {str(entry['example'])[:80]!r} with a rationale"
    rationale = examples[entry["example"]].rationale or ""
    if entry.get("text") not in (None, text_hash(rationale)):
        return "it was made on another rationale"
    if not NAME.fullmatch(str(entry["annotator"])[:100].replace("@", ".")):
        return f"{str(entry['annotator'])[:80]!r} cannot be the name of an annotator"
    try:
        spans = [(int(a), int(b)) for a, b in entry["spans"]]
    except (TypeError, ValueError):
        return "spans are no pairs of numbers"
    if any(not 0 <= a < b <= len(rationale) for a, b in spans):
        return f"a span lies outside the rationale of {len(rationale)} characters"
    return ""
