"""keytokens selectors, select, show, compare, import, export: what is key in a rationale, by selectors and by
people.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.inspect.shared import waited
from cotdistill.cli.output import printable, table, whole_file
from cotdistill.config import RunConfig
from cotdistill.errors import UsageError
from cotdistill.keytokens.annotations import AnnotationSet, export_jsonl, export_label_studio, fitting, read_marks
from cotdistill.keytokens.selectors import SELECTORS, parse_selector
from cotdistill.keytokens.summary import overlap, word_scores
from cotdistill.rationales.conditions import parse
from cotdistill.rationales.selection import Selection, read_selection
from cotdistill.report.commands import command
from cotdistill.store.records import Job
from cotdistill.store.store import Store
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import SelectConfig, select_job
from cotdistill.studies.inspection_jobs import task_of, trained
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.text import plural

FORMS = ("jsonl", "label_studio")


def selectors(arguments: argparse.Namespace) -> Result:
    document = [{"id": s.name, "help": s.help, "reads": s.reads or None, "option": s.option or None} for s in SELECTORS]
    rows = [[s.name + (f":{s.option}" if s.option else ""), s.reads or None, s.help] for s in SELECTORS]
    return Result(document, table(["selector", "reads", "what it scores"], rows))


def select(arguments: argparse.Namespace) -> Result:
    """Make a selection from one run; a selection that is there is told, not made again."""
    store = Store.open()
    job = trained(store, arguments.run)
    entry, _ = parse_selector(arguments.selector)
    if entry.reads:
        # Imported here: what a selector may read is checked before anything is queued.
        from cotdistill.execution.jobs.select import checked_reader

        checked_reader(store, entry, job.identity)
    run = RunConfig.from_plain(job.config)
    source = str(job.config["source"])
    if not source:
        raise UsageError(
            f"The study of run {job.id} has no rationales to select from.", "Choose a run of a study with rationales."
        )
    spec = select_job(
        store, arguments.selector, run, source, job.identity if entry.reads else "", 60.0, parse(run.condition).fraction
    )
    store.queue.submit([spec])
    finished_job = waited(store, store.queue.job(spec.identity).id)
    result = dict(finished_job.result or {})
    document = {
        "id": finished_job.id,
        "digest": finished_job.produced["selection"],
        "run": job.id if entry.reads else None,
        **result,
    }
    top = ", ".join(printable(str(w["word"])) for w in result["top_words"][:10])
    share = result["label_text_share"]
    conditions = [
        "label_only",
        "post_cot",
        *(f"post_cot/{name}(selector={arguments.selector},k=5)" for name in ("key_tokens", "matched_random_k")),
    ]
    lines = [
        f"selection {finished_job.id} by {arguments.selector}: {plural(result['rows'], 'rationale')} scored",
        f"of the {result['k']} highest words: {100 * (share or 0):.1f} % are the right answer's own text, "
        f"{100 * (result['content_share'] or 0):.1f} % are content words",
        f"chosen most often: {top}",
        "",
        f"Train on it: {command('study', 'run', '--task', run.task, '--conditions', ','.join(conditions), '--wait')}",
    ]
    return Result(document, "\n".join(lines))


def opened(store: Store, key: str) -> tuple[Job, Selection, Encoder, list[Example]]:
    """A selection by the number or identity of its job, with the reader and the rows it was made on."""
    job = store.queue.job(key)
    if job.kind != "select" or "selection" not in job.produced:
        raise UsageError(f"Job {job.id} has made no selection.", "See them: cotdistill runs list --kind select")
    config = SelectConfig.from_plain(job.config)
    task = (
        task_of(store, store.queue.job(config.reads)) if config.reads else
        open_task(store.tasks_root, config.task, world=config.world, settings=config.task_settings or None)
    )  # fmt: skip
    run = RunConfig.from_plain(
        {
            "task": config.task,
            "task_digest": task.digest,
            "condition": "",
            "source": config.source,
            "tokenizer": config.tokenizer,
            "student": {"name": config.student},
        }
    )
    selection = read_selection(store.artifacts.path(job.produced["selection"]), config.selector)
    return (
        job,
        selection,
        encoder_of(task, run),
        task.examples("train", config.source or None),
    )


def show(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    job, selection, encoder, examples = opened(store, arguments.selection)
    scores = selection.scores or {}
    users = [
        j.id for j in store.queue.jobs(kind="train") if job.identity in (j.config.get("selections") or {}).values()
    ]
    reads = store.queue.job(job.config["reads"]).id if job.config["reads"] else None
    document: dict[str, Any] = {
        **dict(job.result or {}),
        "id": job.id,
        "selector": selection.name,
        "digest": selection.digest,
        "reads": reads,
        "used_by": users,
    }
    lines = [
        f"selection {job.id} by {selection.name}: {plural(len(scores), 'rationale')}; digest {selection.digest[:12]}",
        f"reads run {document['reads']}" if document["reads"] else "reads the task's text alone",
        f"used by {plural(len(users), 'run')}" + (f": {', '.join(map(str, users[:8]))}" if users else ""),
    ]
    wanted = arguments.example or next((e.id for e in examples if e.id in scores), "")
    example = next((e for e in examples if e.id == wanted), None)
    if example is None or wanted not in scores:
        raise UsageError(
            f"The selection has not scored an example {wanted[:80]!r}.", f"For example {next(iter(scores), '')}."
        )
    words = word_scores(encoder.read(example.rationale or ""), scores[wanted])
    order = sorted(range(len(words)), key=lambda i: (-words[i][1], i))
    rank = {place: number for number, place in enumerate(order, start=1)}
    document["example"] = {
        "id": wanted,
        "rationale": example.rationale,
        "words": [{"word": w, "score": s, "rank": rank[i]} for i, (w, s) in enumerate(words)],
    }
    lines += ["", f"{wanted}: answer {printable(example.answer_text)}", ""]
    lines.append(
        table(
            ["rank", "word", "score"],
            [[rank[i], printable(words[i][0]), f"{words[i][1]:+.3f}"] for i in order[:12]],
            right=("rank", "score"),
        )
    )
    return Result(document, "\n".join(lines))


def compare(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    opened_selections = [opened(store, given) for given in arguments.selections]
    if len(opened_selections) < 2:
        raise UsageError("One selection alone has nothing to be compared with.", "Name two or more.")
    if (
        len(
            {
                (job.config["task_digest"], job.config["tokenizer"], job.config["source"])
                for job, *_ in opened_selections
            }
        )
        > 1
    ):
        raise UsageError(
            "These selections were made on other tasks, tokenizers or sources.",
            "Compare selections of one task and source.",
        )
    _, _, encoder, examples = opened_selections[0]
    rows = [(e, encoder.read(e.rationale or "")) for e in examples if e.rationale]
    pairs = []
    for i, (job, one, _, _) in enumerate(opened_selections):
        for other_job, other, _, _ in opened_selections[i + 1 :]:
            pairs.append({"one": job.id, "other": other_job.id, "one_selector": one.name, "other_selector": other.name,
                          **overlap(rows, one.scores or {}, other.scores or {}, arguments.k)})  # fmt: skip
    cells = [
        [
            f"{p['one']} {p['one_selector']}",
            f"{p['other']} {p['other_selector']}",
            _number(p["jaccard"]),
            _number(p["chance"]),
            _number(p["rank"]),
        ]
        for p in pairs
    ]
    text = table(["one", "other", f"shared of the top {arguments.k}", "by chance", "rank correlation"], cells)
    return Result(
        {"k": arguments.k, "pairs": pairs},
        f"{text}\n\nShared: Jaccard index, mean over {pairs[0]['examples']:,} rationales.",
    )


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def import_(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    examples = _examples(store, arguments)
    try:
        text = arguments.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{arguments.file} cannot be read: {error}", "Expected JSON lines or a Label Studio export."
        ) from error
    marks = read_marks(text, examples, arguments.file.name)
    target = AnnotationSet(store.home, arguments.task, arguments.set)
    target.add_all(marks)
    document = {
        "task": arguments.task,
        "set": target.name,
        "marks": len(marks),
        "annotators": sorted({m.annotator for m in marks}),
    }
    return Result(
        document, f"{plural(len(marks), 'mark')} by {', '.join(document['annotators'])} put into the set {target.name}."
    )


def export(arguments: argparse.Namespace) -> Result:
    store = Store.open()
    examples = _examples(store, arguments)
    every = AnnotationSet(store.home, arguments.task, arguments.set).marks()
    if not every:
        raise UsageError(
            f"The task {arguments.task!r} has no marks in a set {arguments.set!r}.",
            f"Sets: {', '.join(AnnotationSet.names(store.home, arguments.task)) or 'none yet'}.",
        )
    # JSON lines hold a mark whatever it was made on; Label Studio needs the text beside it.
    marks = every if arguments.form == "jsonl" else fitting(every, examples.values())
    if not marks:
        raise UsageError(
            f"None of {plural(len(every), 'mark')} in the set {arguments.set!r} was made on these rationales.",
            "Name the source and the world that were marked (--source, --world), or export them as jsonl.",
        )
    text = (export_jsonl if arguments.form == "jsonl" else export_label_studio)(marks, examples)
    with whole_file(arguments.out) as part:
        part.write_text(text, encoding="utf-8")
    return Result(
        {
            "task": arguments.task,
            "set": arguments.set,
            "marks": len(marks),
            "left_out": len(every) - len(marks),
            "out": str(arguments.out),
        },
        f"{plural(len(marks), 'mark')} written to {arguments.out}"
        + (
            f"; {plural(len(every) - len(marks), 'mark')} on other rationales left out"
            if len(every) > len(marks)
            else ""
        ),
    )


def _examples(store: Store, arguments: argparse.Namespace) -> dict[str, Example]:
    """The training rows with a rationale of the source: what may be marked."""
    task = open_task(store.tasks_root, arguments.task, world=arguments.world)
    return {e.id: e for e in task.examples("train", arguments.source or None) if e.rationale}


def _select_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a finished training run: the student that is read, or one of the study whose rationales are meant",
    )
    parser.add_argument("--selector", required=True, metavar="S", help="a name of `keytokens selectors`")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "selection", metavar="SELECTION", help="number of the job that made it, or the start of its identity"
    )
    parser.add_argument("--example", metavar="ID", help="the example that is shown; default: the first")


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selections", nargs="+", metavar="SELECTION", help="numbers of the jobs that made them")
    parser.add_argument(
        "-k", type=whole_number(1), default=5, metavar="K", help="how many of the highest words are compared; default 5"
    )


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="T", help="a task of `tasks list`")
    parser.add_argument("--set", required=True, metavar="NAME", help="the annotation set")
    parser.add_argument("--source", default="", metavar="S", help="whose rationales were marked; default: the task's")
    parser.add_argument(
        "--world", type=whole_number(0), default=0, metavar="N", help="which world of a generated task; default 0"
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="JSON lines (example, annotator, spans), or a Label Studio export"
    )
    _set_arguments(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _set_arguments(parser)
    parser.add_argument("--form", choices=FORMS, default="jsonl", help="default jsonl")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file that is written")


_SUMMARY = {
    "rows": "rationales scored",
    "k": "how many of the highest words the summary looks at",
    "chosen": "words among them, over all rationales",
    "label_text_share": "share of these that are the right answer's own text",
    "content_share": "share that are content words",
    "top_words": "words that are chosen most often",
    "top_words[].word": "word",
    "top_words[].share": "how often it is among the highest where it stands",
    "top_words[].met": "how often it stands",
    "selector": "what made it",
}

NOUN = Noun(
    "keytokens",
    "what is key in a rationale",
    (
        Command(
            "keytokens",
            "selectors",
            "what can score the tokens of a rationale",
            selectors,
            {
                "id": "name",
                "help": "what it scores",
                "reads": "placement of the student it reads, or null",
                "option": "what stands behind its name, or null",
            },
            listed=True,
        ),
        Command(
            "keytokens",
            "select",
            "score the tokens of every training rationale, and say what comes out on top",
            select,
            {
                "id": "number of the job",
                "digest": "of the selection",
                "run": "the run that is read, or null",
                **_SUMMARY,
                "reads": "placement of that run, or empty",
            },
            _select_arguments,
        ),
        Command(
            "keytokens",
            "show",
            "a selection: what it was made from, who was trained on it, and one example",
            show,
            {
                "id": "number of the job",
                "digest": "of the selection",
                "reads": "the run that was read, or null",
                "used_by": "runs that were trained on it",
                **_SUMMARY,
                "example": "one example",
                "example.id": "id",
                "example.rationale": "its rationale",
                "example.words": "in order",
                "example.words[].word": "word",
                "example.words[].score": "score",
                "example.words[].rank": "1 is the highest",
            },
            _show_arguments,
        ),
        Command(
            "keytokens",
            "compare",
            "how far selections agree",
            compare,
            {
                "k": "how many of the highest words are compared",
                "pairs": "every two of them",
                "pairs[].one": "number",
                "pairs[].other": "number",
                "pairs[].one_selector": "what made it",
                "pairs[].other_selector": "what made it",
                "pairs[].examples": "rationales that both have scored",
                "pairs[].jaccard": "mean Jaccard index of the k highest words",
                "pairs[].chance": "what random choices would share",
                "pairs[].rank": "mean rank correlation of all words",
            },
            _compare_arguments,
        ),
        Command(
            "keytokens",
            "import",
            "put marks from a file into an annotation set; nothing is half-imported",
            import_,
            {"task": "task", "set": "annotation set", "marks": "how many", "annotators": "whose"},
            _import_arguments,
        ),
        Command(
            "keytokens",
            "export",
            "write the marks of an annotation set",
            export,
            {
                "task": "task",
                "set": "annotation set",
                "marks": "how many",
                "left_out": "marks on other rationales, which Label Studio cannot show",
                "out": "file that was written",
            },
            _export_arguments,
        ),
    ),
)
