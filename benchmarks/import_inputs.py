"""Ten thousand generated files of rows in the forms that data are published in: each read, or refused in words.

    python benchmarks/import_inputs.py [--inputs 10000] [--seed 1]

A source is drawn as a format (JSON in four shapes, CSV, TSV, TXT, Parquet, Arrow, gz), a form of choices, of answers and of rationales, names of
files, files of labels and of further rationales, a map and splits; then cells are damaged. All are previewed, every twentieth is imported. The
exit code is 1 if one leaves a traceback, or half of a task.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cotdistill.config import from_mapping  # noqa: E402
from cotdistill.errors import CotdistillError  # noqa: E402
from cotdistill.tasks.catalog import imported_names  # noqa: E402
from cotdistill.tasks.importing.columns import ColumnMap  # noqa: E402
from cotdistill.tasks.importing.importer import import_task  # noqa: E402
from cotdistill.tasks.importing.preview import preview_source  # noqa: E402

IMPORTED = 20  # of so many sources one is imported
CHOICES = (
    "texts", "labelled", "columns", "key_value", "arrays", "by_letter", "letters", "json", "bars", "dots", "dashes", "none",
)  # fmt: skip
ANSWERS = ("label", "bracketed", "text", "from_0", "from_1", "list", "hashes", "boxed", "truth", "nothing")
RATIONALES = ("none", "text", "lines", "sentences", "nan", "messages")
FORMATS = ("jsonl", "json_array", "json_lines", "json_by_id", "json_key", "csv", "tsv", "txt", "parquet", "arrow", "gz")
DAMAGE: tuple[Any, ...] = (
    None, "", float("nan"), -1, 10**30, True, [], {}, [None], {"text": None}, "\ud800", "\0", "a\tb", "\u2028", "<<1>>", "#### ", "(A)",
    "[1,", "\\boxed{", "nan", 3.5, [["a"]], {"label": "A"},
)  # fmt: skip
FILE_NAMES = (
    ("train", "dev", "test"), ("train_1", "train_2", "validation"), ("train_rand_split", "dev_rand_split"),
    ("all",), ("part_1", "part_2"), ("train", "eval"),
)  # fmt: skip


def row(rng: random.Random, i: int, choices: str, answers: str, rationales: str) -> dict[str, Any]:
    """One row in a form that is published somewhere."""
    texts = [f"{word} {i % 3}" for word in ("red", "blue", "green", "grey")[: rng.randint(2, 4)]]
    if rng.random() < 0.1:
        texts = [str(number) for number in range(1, len(texts) + 1)]
    gold = rng.randrange(len(texts))
    made: dict[str, Any] = {"id": i, "question": f"Which is it, number {i}?"}
    forms: dict[str, Any] = {
        "texts": texts,
        "labelled": [{"label": "ABCD"[n], "text": text} for n, text in enumerate(texts)],
        "key_value": [{"key": "ABCD"[n], "value": text} for n, text in enumerate(texts)],
        "arrays": {"text": texts, "label": list("ABCD")[: len(texts)]},
        "by_letter": {letter: texts[n] if n < len(texts) else None for n, letter in enumerate("ABCD")},
        "letters": [f"{'ABCD'[n]}){text}" for n, text in enumerate(texts)],
        "json": json.dumps(texts),
        "bars": "|".join(texts),
    }
    if choices in forms:
        made[rng.choice(["choices", "options", "endings"])] = forms[choices]
    elif choices == "columns":
        made |= {f"option{n}": text for n, text in enumerate(texts, 1)}
    elif choices != "none":
        marks = [f"{'ABCD'[n]}. " if choices == "dots" else "- " for n in range(len(texts))]
        listed = "\n".join(mark + text for mark, text in zip(marks, texts, strict=True))
        made["question"] += f"\n{'OPTIONS:' if choices == 'dashes' else ''}\n{listed}"
    read_as = {
        "label": "ABCD"[gold], "bracketed": f"({'ABCD'[gold]})", "text": texts[gold], "from_0": gold, "from_1": gold + 1,
        "list": ["ABCD"[gold], "A"], "hashes": f"so\nit is\n#### {gold}", "boxed": f"Thus $\\boxed{{{gold}}}$.", "truth": bool(gold % 2),
    }  # fmt: skip
    if answers in read_as:
        made[rng.choice(["answer", "label"])] = read_as[answers]
    told = {"text": f"since {i}", "lines": f"first {i}\nthen\n\nso", "sentences": [f"One {i}.", "Two."], "nan": "nan"}
    if rationales in told:
        made["rationale"] = told[rationales]
    elif rationales == "messages":
        made["messages"] = [
            {"role": "user", "content": f"Q{i}"},
            {"role": "assistant", "content": f"<think>a</think>{i}"},
        ]
    if rng.random() < 0.3:
        made["context"] = f"A passage about {i}.\nIt has lines." if rng.random() < 0.8 else None
    return made


def written(rng: random.Random, rows: list[dict[str, Any]], form: str) -> tuple[str, bytes]:
    """Rows in a format: the ending of the file, and its bytes."""
    lines = "\n".join(json.dumps(one) for one in rows)
    if form in ("csv", "tsv"):
        out = io.StringIO()
        header = list(dict.fromkeys(name for one in rows for name in one))
        table = csv.writer(out, delimiter="," if form == "csv" else "\t")
        table.writerows([header, *([cell_text(one.get(name)) for name in header] for one in rows)])
        return form, out.getvalue().encode("utf-8", "replace")
    if form in ("parquet", "arrow"):
        sink = io.BytesIO()
        try:
            table = pa.Table.from_pylist(rows)
            if form == "parquet":
                pq.write_table(table, sink)
            else:
                with pa.ipc.new_stream(sink, table.schema) as stream:
                    stream.write_table(table)
        except (pa.ArrowException, UnicodeError, OverflowError, ValueError, TypeError):
            # No such file can exist: a column of two kinds of value, or an object without fields.
            return "jsonl", lines.encode()
        return form, sink.getvalue()
    whole: dict[str, Any] = {
        "json_array": rows,
        "json_by_id": {str(n): one for n, one in enumerate(rows)},
        "json_key": {"name": "x", "examples": rows},
    }
    if form in whole:
        return "json", json.dumps(whole[form]).encode()
    content = lines.encode()
    if rng.random() < 0.05:
        content = content[: rng.randrange(len(content) + 1)] + bytes([rng.randrange(256)])
    return (
        ("jsonl.gz", gzip.compress(content))
        if form == "gz"
        else ({"txt": "txt", "json_lines": "json"}.get(form, "jsonl"), content)
    )


def cell_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def source(rng: random.Random, folder: Path) -> tuple[Path, dict[str, Any], dict[str, str]]:
    """Write one source; gives its path, what is said of its map, and of its splits."""
    choices, answers, rationales = rng.choice(CHOICES), rng.choice(ANSWERS), rng.choice(RATIONALES)
    damaged = rng.choice([0.0, 0.0, 0.02, 0.2])
    names = rng.choice(FILE_NAMES)
    for name in names:
        rows = [row(rng, i, choices, answers, rationales) for i in range(rng.randint(0, 12))]
        for one in rows:
            for column in list(one):
                if rng.random() < damaged:
                    one[column] = rng.choice(DAMAGE)
        ending, content = written(rng, rows, rng.choice(FORMATS))
        (folder / f"{name}.{ending}").write_bytes(content)
        if rng.random() < 0.05:
            labels = "\n".join(rng.choice("0123") for _ in range(max(0, len(rows) + rng.choice([0, 0, 1]))))
            (folder / f"{name}-labels.lst").write_text(labels)
    if rng.random() < 0.1:
        (folder / "rationales").mkdir()
        side = [{"id": i, "explanation": f"why {i}\nso"} for i in range(rng.randint(0, 9))]
        (folder / "rationales" / f"{rng.choice(['train', 'dev', 'nosplit'])}.people.jsonl").write_text(
            "\n".join(map(json.dumps, side))
        )
    changes: dict[str, Any] = {}
    if rng.random() < 0.4:
        columns = [
            "question",
            "context",
            "choices",
            "options",
            "answer",
            "label",
            "rationale",
            "nothing",
            "context+question",
            "id",
        ]
        for name in rng.sample(list(vars(ColumnMap())), rng.randint(1, 3)):
            default = getattr(ColumnMap(), name)
            changes[name] = rng.choice(columns) if isinstance(default, str) else type(default)(rng.randint(0, 1))
    splits = {}
    if rng.random() < 0.2:
        splits = {"train": "+".join(names[:2]), **({"test": names[-1]} if len(names) > 2 else {})}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return (rng.choice(files) if rng.random() < 0.2 else folder), changes, splits


def tried(seed: int, number: int, whole: bool) -> str:
    """What went wrong with one source; "" where it was read or refused in words. whole: import it."""
    rng = random.Random(f"{seed}/{number}")
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name) / "in", Path(name) / "root"
        folder.mkdir()
        try:
            path, said, splits = source(rng, folder)
            changes = checked(said)
            json.dumps(preview_source(path, changes, splits).document(), ensure_ascii=True, default=str)
            if whole:
                import_task(root, path, "t", changes=changes, splits=splits, keep_good_rows=rng.random() < 0.5)
                return ""
        except CotdistillError as error:
            if not error.message:
                return f"input {seed}/{number}: refused without a word"
        except Exception:
            return f"input {seed}/{number}: {traceback.format_exc(limit=-3)}"
        left = [*root.rglob(".part-*")] if root.exists() else []
        return f"input {seed}/{number}: half of a task is left" if left or imported_names(root) else ""


def checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a map, checked as --map does."""
    columns = from_mapping(ColumnMap, dict(said))
    return {name: getattr(columns, name) for name in said}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.monotonic()
    problems = [problem for n in range(arguments.inputs) if (problem := tried(arguments.seed, n, n % IMPORTED == 0))]
    print(*problems[:20], sep="\n")
    seconds = time.monotonic() - started
    outcome = f"{len(problems)} were not" if problems else "each was read or refused in words"
    print(f"{arguments.inputs:,} inputs, seed {arguments.seed}, {seconds:.0f} s: {outcome}.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
