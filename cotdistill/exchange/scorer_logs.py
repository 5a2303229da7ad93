"""What other evaluation libraries write: lm-eval's samples, lighteval's details and Inspect's logs, and folders of
tables, as rows of one schema.

A file that is cut off, of another version, or of another task than the rest is refused; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa

from cotdistill.errors import DataError, RowProblem, UnknownName
from cotdistill.tasks.importing.files import LARGEST, Record, kind_of, read_records
from cotdistill.text import listed

LM_EVAL, LIGHTEVAL, INSPECT, TABLES = "lm-eval samples", "lighteval details", "Inspect logs", "tables"
# Where a condition and a replicate stand in a path, if no pattern is given; the first that fits every file.
PATTERNS = (
    "{condition}-seed{replicate}",
    "{condition}_seed{replicate}",
    "{condition}/seed{replicate}",
    "{condition}-{replicate}",
    "{condition}_{replicate}",
    "{condition}/{replicate}",
)
# Metrics that say right or wrong, the likeliest first.
METRICS = ("acc", "exact_match", "em", "accuracy", "correct")
# Names of ids within lm-eval's `doc`.
IDS = ("id", "item_id", "question_id", "qid", "pairid", "guid", "uid")
INSPECT_VALUES = {"C": 1.0, "I": 0.0, "N": 0.0, True: 1.0, False: 0.0}
ZSTANDARD = 93


@dataclass(frozen=True)
class LogChoice:
    """Which part of what a library wrote is imported; empty where there is no choice."""

    pattern: str = ""  # where condition and replicate stand in a path: {condition}-seed{replicate}
    task: str = ""  # the library's task; * stands for any text: mmlu_*
    metric: str = ""  # the metric or scorer that says right or wrong
    filter: str = ""  # lm-eval's filter


@dataclass(frozen=True)
class ReadLogs:
    """The rows of some files in one schema: item, condition, replicate, and either probabilities (of every choice, in
    nats), answer and prediction, or correct and choices.
    """

    kind: str  # which library wrote them
    records: tuple[Record, ...]  # with file and line
    problems: tuple[RowProblem, ...]  # rows that cannot be used
    log: bool  # whether the numbers are log-likelihoods
    notes: tuple[str, ...]  # what a person should know


@dataclass
class _Answers:
    """What one file says of one task."""

    file: str
    task: str
    rows: list[tuple[int, dict[str, Any]]]  # line and row
    prompts: dict[str, str]  # digest of the prompt by item
    questions: dict[str, str] = field(default_factory=dict)  # digest of the question and its right answer by item
    settings: Mapping[str, Any] = field(default_factory=dict)  # condition and replicate, where the file names them
    settled: int = 0  # rows whose right or wrong is not that of the likeliest choice


def log_files(path: Path) -> dict[str, list[Path]]:
    """The files below a path by what wrote them; empty for a single table."""
    every = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    kinds: dict[str, list[Path]] = defaultdict(list)
    for file in every:
        if kind := _kind_of_log(file):
            kinds[kind].append(file)
    if path.is_file() and set(kinds) == {TABLES}:
        return {}
    return dict(kinds)


def _kind_of_log(path: Path) -> str:
    name = path.name.casefold()
    if name.startswith("samples_") and kind_of(path) == "jsonl":
        return LM_EVAL
    if name.startswith("details_") and kind_of(path) == "parquet":
        return LIGHTEVAL
    if name.endswith(".eval"):
        return INSPECT
    if kind_of(path) == "json":
        with path.open("rb") as file:
            start = file.read(4000)
        return INSPECT if b'"eval"' in start and b'"status"' in start else ""
    return TABLES if kind_of(path) in ("csv", "tsv", "jsonl", "parquet") else ""


def read_logs(path: Path, choice: LogChoice) -> ReadLogs:
    """The answers in a folder or a file of one library. DataError where a file cannot be used, two libraries or tasks
    lie together, or two files are of the same run.
    """
    kinds = log_files(path)
    if len(kinds) > 1 and TABLES in kinds:
        # Tables beside logs are summaries, not answers.
        del kinds[TABLES]
    if not kinds:
        raise DataError(
            f"{path.name} holds no answers.",
            "Expected lm-eval's samples_*.jsonl (--log_samples), lighteval's details_*.parquet (--save-details),"
            " Inspect's .eval or .json logs, or tables (.csv, .jsonl, .parquet).",
        )
    if len(kinds) > 1:
        raise DataError(f"{path.name} holds {' and '.join(kinds)}.", "Import the folders one by one.")
    ((kind, files),) = kinds.items()
    root = path if path.is_dir() else path.parent
    names = {file: file.relative_to(root).as_posix() for file in files}
    problems: list[RowProblem] = []
    if kind == TABLES:
        return _tables(names, choice, problems)
    readers: dict[str, Callable[[Path, str, LogChoice, list[RowProblem]], list[_Answers]]] = {
        LM_EVAL: _lm_eval,
        LIGHTEVAL: _lighteval,
        INSPECT: _inspect,
    }
    if kind == LM_EVAL:
        _of_task([_Answers(name, _lm_eval_task(file), [], {}) for file, name in names.items()], choice.task)
    answers = [each for file in files for each in readers[kind](file, names[file], choice, problems)]
    answers = _of_task(answers, choice.task)
    runs = _runs_of([each.file for each in answers], choice.pattern, {e.file: e.settings for e in answers})
    return _joined(kind, answers, runs, problems)


def _joined(
    kind: str, answers: Sequence[_Answers], runs: Mapping[str, tuple[str, Any]], problems: list[RowProblem]
) -> ReadLogs:
    """The rows of every file with condition, replicate and an id that is the same in all of them."""
    several = len({each.task for each in answers}) > 1
    first: dict[tuple[str, Any, str], str] = {}
    prompts: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, tuple[str, str]] = {}
    records: list[Record] = []
    for each in answers:
        condition, replicate = runs[each.file]
        other = first.setdefault((condition, replicate, each.task), each.file)
        if other != each.file:
            raise DataError(
                f"{other} and {each.file} are both {condition}, replicate {replicate}, of task {each.task}.",
                "Move the one that does not count out of the folder.",
            )
        prefix = f"{each.task}/" if several else ""
        for item, prompt in each.prompts.items():
            prompts[prefix + item].add(prompt)
        for line, row in each.rows:
            item = f"{prefix}{row['item']}"
            here = each.questions[row["item"]]
            there, where = asked.setdefault(item, (here, each.file))
            if here != there:
                problems.append(RowProblem(each.file, line, f"{item[:60]!r} is another question here than in {where}"))
            records.append(
                Record(each.file, line, {**row, "item": item, "condition": condition, "replicate": replicate})
            )
    notes = [f"{kind} of {len({each.file for each in answers})} files, task {listed({e.task for e in answers})}."]
    if others := sum(len(seen) > 1 for seen in prompts.values()):
        notes.append(
            f"{others:,} of {len(prompts):,} questions were asked with other prompts in some of the runs: a difference"
            " may be one of prompts."
        )
    if settled := sum(each.settled for each in answers):
        notes.append(
            f"{settled:,} answers are right or wrong by the metric, other than the likeliest choice says; the metric"
            " counts."
        )
    if any("correct" in row for each in answers for _, row in each.rows[:1]):
        notes.append(
            "These answers are right or wrong, without probabilities of choices: margins and calibration say nothing."
        )
    log = any("probabilities" in row for each in answers for _, row in each.rows[:1])
    return ReadLogs(kind, tuple(records), tuple(problems), log, tuple(notes))


def _of_task(answers: list[_Answers], wanted: str) -> list[_Answers]:
    tasks = sorted({each.task for each in answers})
    if wanted:
        kept = [each for each in answers if each.task == wanted or fnmatchcase(each.task, wanted)]
        if not kept:
            raise UnknownName("task in these files", wanted, tasks)
        return kept
    if len(tasks) > 1:
        raise DataError(
            f"There are {len(tasks)} tasks here: {listed(tasks, 8)}.",
            f"Name the one to import: --eval-task {tasks[0]}; * stands for any text, and takes several as one.",
        )
    return answers


def _runs_of(
    files: Sequence[str], pattern: str, settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, Any]]:
    """(condition, replicate) of each file, from the pattern, from what the files name themselves, or from the usual
    forms of paths.
    """
    named = {file: (said.get("condition"), said.get("replicate", said.get("seed"))) for file, said in settings.items()}
    if not pattern and files and all(None not in named.get(file, (None,)) for file in files):
        return {file: (str(named[file][0]), named[file][1]) for file in files}
    tried = {form: _by_pattern(files, form) for form in ([pattern] if pattern else PATTERNS)}
    for runs in tried.values():
        if len(runs) == len(set(files)):
            return runs
    missing = next(file for file in files if not any(file in runs for runs in tried.values()) or pattern)
    if pattern:
        missing = next(file for file in files if file not in tried[pattern])
    raise DataError(
        f"The path {missing} does not say condition and replicate{f' by {pattern}' if pattern else ''}.",
        "Say where they stand, for example --pattern '{condition}-seed{replicate}' or"
        " --pattern '{condition}/run{replicate}/**'; * stands for any text without /, ** for any.",
    )


def _by_pattern(files: Iterable[str], pattern: str) -> dict[str, tuple[str, Any]]:
    """The files that the pattern fits, with (condition, replicate)."""
    if "{condition}" not in pattern or "{replicate}" not in pattern:
        raise DataError(
            f"The pattern {pattern[:80]!r} lacks {{condition}} or {{replicate}}.",
            "Expected both, for example {condition}-seed{replicate}.",
        )
    parts = {r"\{condition\}": r"(?P<condition>[^/]+?)", r"\{replicate\}": r"(?P<replicate>\d+)"}
    form = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    for mark, group in parts.items():
        form = form.replace(mark, group, 1)
    compiled = re.compile(rf"(?:^|/){form}(?=$|/|\.[a-z]+(?:\.gz)?$)")
    matches = {file: compiled.search(file) for file in files}
    return {file: (match["condition"], int(match["replicate"])) for file, match in matches.items() if match}


def _tables(names: Mapping[Path, str], choice: LogChoice, problems: list[RowProblem]) -> ReadLogs:
    """A folder of tables: condition and replicate by column, else by path."""
    records: list[Record] = []
    plain: list[str] = []
    for path, name in names.items():
        rows, bad = read_records(path)
        problems += [RowProblem(name, problem.line, problem.reason) for problem in bad]
        records += [Record(name, record.line, record.row) for record in rows]
        header = {str(key).casefold() for record in rows[:1] for key in record.row}
        if not {"condition", "replicate"} <= header and not {"condition", "seed"} <= header:
            plain.append(name)
    if plain or choice.pattern:
        runs = _runs_of(list(names.values()), choice.pattern, {})
        records = [
            Record(r.file, r.line, {**r.row, "condition": runs[r.file][0], "replicate": runs[r.file][1]})
            for r in records
        ]
    note = f"{len(names)} tables."
    return ReadLogs(TABLES, tuple(records), tuple(problems), False, (note,))


def _metric(known: Mapping[str, Any], wanted: str, file: str) -> str:
    """The metric that says right or wrong among those of a row."""
    if wanted:
        if wanted not in known:
            raise UnknownName(f"metric in {file}", wanted, known)
        return wanted
    for name in METRICS:
        if name in known:
            return name
    if len(known) == 1:
        return next(iter(known))
    raise DataError(f"{file} has several metrics: {listed(known, 8)}.", "Name the one that counts: --metric NAME")


def _right(value: Any, metric: str) -> int:
    """1 for right and 0 for wrong; DataError for a score between them."""
    number = INSPECT_VALUES.get(value) if isinstance(value, (str, bool)) else value
    if isinstance(number, (int, float)) and number in (0, 1):
        return int(number)
    raise DataError(f"{metric} is {str(value)[:40]!r}; expected right (1) or wrong (0): a score has no verdict")


def _with_choices(item: str, scores: Sequence[float], answer: int, right: int) -> tuple[dict[str, Any], bool]:
    """A row of a multiple-choice question, and whether the metric says other than the likeliest choice: a metric may
    norm by length, and likelihoods in bf16 tie.
    """
    likeliest = max(range(len(scores)), key=scores.__getitem__)
    others = [place for place in range(len(scores)) if place != answer]
    wrong = likeliest if likeliest != answer else max(others, key=scores.__getitem__)
    predicted = answer if right else wrong
    row = {"item": item, "probabilities": list(scores), "answer": answer, "prediction": predicted}
    return row, predicted != likeliest


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _other_version(file: str, lacking: str, library: str) -> DataError:
    return DataError(
        f"{file} is not what {library} writes: it lacks {lacking}.",
        f"Tried with {library}; write the file anew with that version, or import a table (docs/sharing.md).",
    )


def _lm_eval(path: Path, name: str, choice: LogChoice, problems: list[RowProblem]) -> list[_Answers]:
    """samples_TASK_DATE.jsonl: a row per question and filter."""
    answers = _Answers(name, _lm_eval_task(path), [], {})
    if choice.task and not fnmatchcase(answers.task, choice.task):
        return [answers]
    records, bad = read_records(path)
    problems += [RowProblem(name, problem.line, problem.reason) for problem in bad]
    filters = list(dict.fromkeys(str(record.row.get("filter", "none")) for record in records))
    wanted = choice.filter or filters[0]
    if choice.filter and choice.filter not in filters:
        raise UnknownName(f"filter in {name}", choice.filter, filters)
    if len(filters) > 1 and not choice.filter:
        raise DataError(
            f"{name} has the answers of {len(filters)} filters: {listed(filters)}.",
            f"Name the one that counts: --filter {filters[0]}",
        )
    metric = ""
    for record in records:
        row = record.row
        if str(row.get("filter", "none")) != wanted:
            continue
        if lacking := next(
            (key for key in ("doc_id", "doc", "target", "resps", "filtered_resps") if key not in row), ""
        ):
            raise _other_version(name, lacking, "lm-eval 0.4")
        doc: Mapping[str, Any] = row["doc"] if isinstance(row["doc"], dict) else {}
        metrics = row.get("metrics") or [m for m in METRICS if m in row]
        metric = metric or _metric({m: row.get(m) for m in metrics}, choice.metric, name)
        item = next((str(doc[key]) for key in IDS if doc.get(key) not in (None, "")), str(row["doc_id"]))
        answers.questions[item] = str(row.get("doc_hash", ""))
        answers.prompts[item] = str(row.get("prompt_hash", ""))
        try:
            if metric not in row:
                raise DataError(f"the metric {metric} is missing")
            right = _right(row[metric], metric)
            scores = _likelihoods(row["filtered_resps"])
            target = str(row["target"])
            if scores and target.isdecimal() and int(target) < len(scores):
                entry, settled = _with_choices(item, scores, int(target), right)
                answers.settled += settled
            else:
                entry = {"item": item, "correct": right, "choices": len(scores) or None}
        except DataError as error:
            problems.append(RowProblem(name, record.line, error.message))
        else:
            answers.rows.append((record.line, entry))
    return [answers]


def _lm_eval_task(path: Path) -> str:
    stem = path.name.partition(".jsonl")[0].removeprefix("samples_")
    return re.sub(r"_\d{4}-\d\d-\d\dT[^_]*$", "", stem)


def _likelihoods(responses: Any) -> list[float]:
    """The log-likelihood of every choice, from [["-5.81", "False"], ...]; empty for generated text."""
    if not isinstance(responses, list) or len(responses) < 2:
        return []
    numbers = []
    for response in responses:
        if not isinstance(response, list) or len(response) != 2 or str(response[1]) not in ("True", "False"):
            return []
        try:
            numbers.append(float(response[0]))
        except (TypeError, ValueError):
            raise DataError(f"a log-likelihood is {str(response[0])[:40]!r}; expected a number") from None
    return numbers


def _lighteval(path: Path, name: str, choice: LogChoice, problems: list[RowProblem]) -> list[_Answers]:
    """details_TASK|SHOTS_DATE.parquet: a row per question."""
    records, _ = read_records(path)
    metric = ""
    by_task: dict[str, _Answers] = {}
    for record in records:
        row = record.row
        if lacking := next(
            (key for key in ("doc", "metric", "model_response") if not isinstance(row.get(key), dict)), ""
        ):
            raise _other_version(name, lacking, "lighteval 0.13")
        doc, response = row["doc"], row["model_response"]
        answers = by_task.setdefault(str(doc.get("task_name")), _Answers(name, str(doc.get("task_name")), [], {}))
        if choice.task and not fnmatchcase(answers.task, choice.task) and answers.task != choice.task:
            continue
        metric = metric or _metric(row["metric"], choice.metric, name)
        item = str(doc.get("id"))
        answers.prompts[item] = _digest(doc.get("query"))
        answers.questions[item] = _digest([doc.get("choices"), doc.get("gold_index")])
        try:
            right = _right(row["metric"].get(metric), metric)
            scores = [float(number) for number in response.get("logprobs") or []]
            gold = doc.get("gold_index")
            gold = gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
            if len(scores) == len(doc.get("choices") or []) > 1 and isinstance(gold, int):
                entry, settled = _with_choices(item, scores, gold, right)
                answers.settled += settled
            else:
                entry = {"item": item, "correct": right, "choices": None}
        except DataError as error:
            problems.append(RowProblem(name, record.line, error.message))
        else:
            answers.rows.append((record.line, entry))
    return list(by_task.values())


def _inspect(path: Path, name: str, choice: LogChoice, problems: list[RowProblem]) -> list[_Answers]:
    """A log in either form. Samples stand in the order of the file, from 1."""
    header, samples = _inspect_log(path, name)
    if header.get("version") != 2 or not isinstance(header.get("eval"), dict):
        raise _other_version(name, "version 2", "Inspect 0.3")
    about = header["eval"]
    if header.get("status") != "success":
        raise DataError(
            f"{name} is a log that has not come to its end (status {header.get('status')}).",
            "Finish it (inspect eval-retry), or move it out of the folder.",
        )
    settings = {**(about.get("task_args") or {}), **(about.get("metadata") or {})}
    answers = _Answers(name, str(about.get("task")).rpartition("/")[2], [], {}, settings)
    if choice.task and not fnmatchcase(answers.task, choice.task):
        return [answers]
    expected = (header.get("results") or {}).get("total_samples")
    metric = ""
    number = 0
    for number, sample in enumerate(samples, start=1):
        scores = sample.get("scores") or {}
        item = str(sample.get("id"))
        choices = sample.get("choices") or []
        first = next((m.get("content") for m in sample.get("messages") or [] if m.get("role") == "user"), "")
        answers.prompts[item] = _digest(first)
        answers.questions[item] = _digest([sample.get("input"), choices, sample.get("target")])
        try:
            if sample.get("epoch", 1) != 1:
                raise DataError(f"{item[:60]!r} was asked in several epochs: one answer per question counts (epochs=1)")
            if not scores:
                raise DataError(f"{item[:60]!r} has no score")
            metric = metric or _metric(scores, choice.metric, name)
            right = _right((scores.get(metric) or {}).get("value"), metric)
        except DataError as error:
            problems.append(RowProblem(name, number, error.message))
        else:
            answers.rows.append((number, {"item": item, "correct": right, "choices": len(choices) or None}))
    if isinstance(expected, int) and expected != number:
        raise DataError(f"{name} has {number:,} of {expected:,} samples.", "Is the file whole, with its samples?")
    return [answers]


def _inspect_log(path: Path, name: str) -> tuple[Mapping[str, Any], Iterator[Mapping[str, Any]]]:
    """The header of a log, and its samples one by one."""
    try:
        if path.suffix == ".eval":
            return _inspect_archive(path, name)
        if path.stat().st_size > LARGEST:
            raise DataError(f"{name} holds more than {LARGEST >> 30} GiB.", "Write it as .eval, which is smaller.")
        document = json.loads(path.read_bytes())
        samples = document.pop("samples", None) or []
        return document, iter(samples)
    except (OSError, ValueError, KeyError, struct.error, zlib.error, RecursionError, AttributeError) as error:
        raise DataError(f"{name} cannot be read as a log of Inspect: {str(error)[:200]}", "Is it whole?") from error


def _inspect_archive(path: Path, name: str) -> tuple[Mapping[str, Any], Iterator[Mapping[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{name} is cut off, or no log of Inspect.", "Copy it again, or run the evaluation anew."
        ) from error
    if "header.json" not in entries:
        raise DataError(
            f"{name} is a log that has not come to its end: it has no header.json.",
            "Finish it (inspect eval-retry), or move it out of the folder.",
        )
    if sum(entry.file_size for entry in entries.values()) > LARGEST:
        raise DataError(f"{name} unpacks to more than {LARGEST >> 30} GiB.", "Import a part of it.")
    samples = (
        json.loads(_entry(path, entry)) for file, entry in entries.items() if re.fullmatch(r"samples/[^/]+\.json", file)
    )
    return json.loads(_entry(path, entries["header.json"])), samples


def _entry(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """One member of an archive. Inspect packs with Zstandard, which Python's zipfile does not read before 3.14."""
    if entry.compress_type != ZSTANDARD:
        with zipfile.ZipFile(path) as archive:
            return archive.read(entry)
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", file.read(30))
        file.seek(name_length + extra_length, 1)
        packed = file.read(entry.compress_size)
    content: bytes = pa.decompress(packed, decompressed_size=entry.file_size, codec="zstd", asbytes=True)
    if zlib.crc32(content) != entry.CRC:
        raise ValueError(f"{entry.filename} is damaged")
    return content
