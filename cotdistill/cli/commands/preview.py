"""preview: the exact training text of one example under one condition, with its spans and its loss mask."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import printable
from cotdistill.config import RunConfig, StudentConfig
from cotdistill.errors import NoRationale
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.passage import Corpus
from cotdistill.rationales.placement import SEGMENTS
from cotdistill.store.store import Store
from cotdistill.students.models import checked_name
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import LABEL, RATIONALE, Encoded, Encoder
from cotdistill.tasks.answer_kinds import needs_terminator
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import Task

_LOSS = {0: "none", LABEL: "label", RATIONALE: "rationale"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="T", help="a task of `tasks list`")
    parser.add_argument(
        "--condition", required=True, metavar="C", help="for example 'post_cot/shuffle(unit=word)', or a preset"
    )
    parser.add_argument(
        "--example", metavar="ID", help="an example's id; default: the first of the training split with a rationale"
    )
    parser.add_argument(
        "--source", default="", metavar="S", help="whose rationales; default: the condition's, else the task's"
    )
    parser.add_argument(
        "--student", default="nano", metavar="S", help="whose tokenizer: a built-in student, a folder or a hub id"
    )
    parser.add_argument(
        "--tokenizer", choices=("auto", "word", "bpe"), default="auto", help="built-in students: which tokenizer"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="the transform's seed (default 0)")
    parser.add_argument(
        "--world", type=whole_number(0), default=0, metavar="N", help="which world of a generated task (default 0)"
    )


def preview(arguments: argparse.Namespace) -> Result:
    condition = parse(arguments.condition)
    task = open_task(Store.open().tasks_root, arguments.task, world=arguments.world)
    if arguments.source:
        condition = dataclasses.replace(condition, source=arguments.source, mix="")
    source = condition.reads(task.default_source) if task.sources else ""
    if condition.spec.uses_rationale and not task.sources:
        raise NoRationale(
            f"The task {task.name!r} has no rationales; {condition} needs them.",
            "Look at label_only, or import the task with rationales.",
        )
    example = _example(task, arguments.example, source)
    split = task.examples(example.split, source or None)
    encoder = encoder_of(task, _run(task, source, arguments))
    index = next(i for i, other in enumerate(split) if other.id == example.id)
    split[index : index + 1] = supplied(task, split[index : index + 1], condition, source)
    corpus = encoder.corpus(split)
    sequences = encoder.sequences(corpus, index, condition, arguments.seed)
    document: dict[str, Any] = {
        "task": task.name,
        "condition": str(condition),
        "label": condition.label,
        "seed": arguments.seed,
        "source": source or None,
        "example": {
            "id": example.id,
            "split": example.split,
            "question": example.question,
            "choices": [{"label": c.label, "text": c.text} for c in example.choices],
            "answer": example.answer,
            "rationale": split[index].rationale,
        },
        "sequences": [_sequence(encoder, encoded) for encoded in sequences],
        "changed": _changed(encoder, corpus, index, condition, arguments.seed),
    }
    return Result(document, _text(document))


def _run(task: Task, source: str, arguments: argparse.Namespace) -> RunConfig:
    student = StudentConfig(name=arguments.student)
    tokenizer = task.tokenizer_kind if arguments.tokenizer == "auto" else arguments.tokenizer
    # Every condition of a study reads with the tokenizer of the study's source.
    named = arguments.source or task.default_source
    return RunConfig(
        task=task.name,
        task_digest=task.digest,
        condition="",
        source=named if task.sources else source,
        tokenizer=tokenizer,
        student=StudentConfig(name=checked_name(student)),
        terminator=needs_terminator(task),
    )


def _example(task: Task, id: str | None, source: str) -> Example:
    if id is not None:
        return task.example(id, source or None)
    rows = task.examples("train", source or None)
    return next((row for row in rows if row.rationale), rows[0])


def _sequence(encoder: Encoder, encoded: Encoded) -> dict[str, Any]:
    pieces = encoder.pieces(encoded)
    tokens = [
        {
            "text": piece,
            "id": int(id),
            "span": SEGMENTS[segment],
            "loss": _LOSS[int(loss)],
            "origin": int(origin) if origin >= 0 else None,
        }
        for piece, id, segment, loss, origin in zip(
            pieces, encoded.ids, encoded.segments, encoded.loss, encoded.origin, strict=True
        )
    ]
    return {"text": "".join(pieces).strip(" "), "length": len(encoded), "tokens": tokens}


def _changed(encoder: Encoder, corpus: Corpus, index: int, condition: Condition, seed: int) -> bool | None:
    """Whether the rationale differs from the intact one; None where there is none."""
    if not condition.spec.uses_rationale or not corpus.passages[index]:
        return None
    rationale = SEGMENTS.index("rationale")
    for encoded in encoder.sequences(corpus, index, condition, seed):
        origin = [int(place) for place in encoded.origin[encoded.segments == rationale]]
        if origin:
            return origin != list(range(len(corpus.passages[index])))
    return True


def _text(document: dict[str, Any]) -> str:
    example = document["example"]
    lines = [
        f"{document['label']}   ({document['condition']})",
        (
            f"example {printable(example['id'])} of {example['split']}; rationale by {document['source'] or 'nobody'};"
            f" transform seed {document['seed']}"
        ),
    ]
    if not document["sequences"]:
        lines.append("\nNothing is trained under this condition.")
    for number, sequence in enumerate(document["sequences"]):
        lines += ["", f"sequence {number + 1} of {len(document['sequences'])}, {sequence['length']} tokens", ""]
        lines += _spans(sequence["tokens"])
    if document["sequences"]:
        lines += [
            "",
            (
                "<-: these tokens are predicted, and in which loss; where only some of a span are, they stand in"
                " [brackets]."
            ),
        ]
    if document["changed"] is False:
        lines.append("The rationale is the intact one.")
    return "\n".join(lines)


def _spans(tokens: list[dict[str, Any]]) -> list[str]:
    """One line a span: its name, its text with what is predicted in brackets, which loss."""
    lines: list[str] = []
    start = 0
    for end in range(1, len(tokens) + 1):
        if end < len(tokens) and tokens[end]["span"] == tokens[start]["span"]:
            continue
        part = tokens[start:end]
        mixed = len({t["loss"] for t in part}) > 1
        text = "".join(
            f" [{t['text'].strip()}]" if mixed and t["loss"] != "none" else t["text"].replace("\n", "⏎") for t in part
        )
        losses = ", ".join(dict.fromkeys(t["loss"] for t in part if t["loss"] != "none"))
        lines.append(f"  {part[0]['span']:<14} {printable(text.strip())}" + (f"   <- {losses} loss" if losses else ""))
        start = end
    return lines


NOUN = Noun(
    "preview",
    "the exact training text of one example",
    (
        Command(
            "preview",
            "",
            "the exact training text of one example under one condition, with spans and loss mask",
            preview,
            {
                "task": "name",
                "condition": "canonical form",
                "label": "its name for people",
                "seed": "the transform's seed",
                "source": "whose rationale, or null",
                "example": "the record",
                "example.id": "id",
                "example.split": "train, dev or test",
                "example.question": "question",
                "example.choices": "what may be answered",
                "example.choices[].label": "letter",
                "example.choices[].text": "text",
                "example.answer": "label of the right choice",
                "example.rationale": "the intact rationale, or null",
                "sequences": (
                    "what the student reads; two under multitask, mixed and counterfactual, none for the undistilled"
                ),
                "sequences[].text": "the whole text",
                "sequences[].length": "tokens",
                "sequences[].tokens": "one entry a token",
                "sequences[].tokens[].text": "its text, with the space before it",
                "sequences[].tokens[].id": "its id",
                "sequences[].tokens[].span": "the span it belongs to",
                "sequences[].tokens[].loss": "none, label or rationale",
                "sequences[].tokens[].origin": "place in the intact rationale, or null",
                "changed": "whether the rationale differs from the intact one; null without one",
            },
            _arguments,
        ),
    ),
)
