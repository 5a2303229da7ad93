"""Scoring: choices by log-likelihood right after the answer cue, in each of the three modes; predictions per
example.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from cotdistill.errors import SequenceTooLong
from cotdistill.rationales.placement import Placement
from cotdistill.students.reader import Forward, block_mask
from cotdistill.students.scoring.generation import Lots, WrittenText, greedy
from cotdistill.students.scoring.progress import SILENT, ScoringProgress
from cotdistill.students.scoring.written import answer_ids, write_answers
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.answer_kinds import flexible, judge
from cotdistill.tasks.example import Example

METRICS = ("sum", "per_byte")


@dataclass(frozen=True)
class Prediction:
    """One example in one mode. scores and sums are one number a choice (scores: the primary metric); rationale is the
    student's own.
    """

    id: str
    cluster: str
    mode: str
    answer: int
    predicted: int
    margin: float
    probabilities: list[float]
    scores: list[float]
    sums: list[float]
    rationale: str | None = None
    terminated: bool | None = None
    parsed: int | None = None
    # Where answers are written: scores, sums and probabilities are of the gold (place 0) and of what was written
    # (place 1); predicted is 0 where the two are equal after normalising.
    #: What the student wrote between the answer cue and the terminator.
    written_answer: str | None = None
    #: Whether it ended by itself, and so did the rationale before it that the student wrote.
    answer_ended: bool | None = None
    #: Whether it is an answer of the task's kind: a number, or a text that is not empty.
    readable: bool | None = None
    #: Whether the flexible reading is right (see `answer_kinds.flexible`); never judged.
    flexible: bool | None = None

    @property
    def correct(self) -> bool:
        return self.predicted == self.answer


# Columns of predictions that only tasks with written answers have.
WRITTEN_COLUMNS = ("written_answer", "answer_ended", "readable", "flexible")


@dataclass(frozen=True, slots=True)
class Answered:
    """How a student answered one prompt."""

    #: Summed log-likelihood: of each choice; where answers are written, of each gold and then of what was written.
    sums: list[float]
    #: What it wrote; None where it chooses.
    text: WrittenText | None = None


def primary_metric(encoder: Encoder, examples: Sequence[Example]) -> str:
    """Fixed by the task, before training: "sum" for letters and one-token answers, "per_byte" (sum / UTF-8 bytes)
    otherwise.
    """
    if encoder.template.target == "letter" or any(example.is_written for example in examples[:1]):
        return "sum"
    # Of consistent targets: how a label is tokenised changes nothing about how it is judged.
    texts = {text for example in examples for text in encoder.template.target_texts(example)}
    return "sum" if all(len(encoder.read(text)) == 1 for text in texts) else "per_byte"


@torch.no_grad()
def choice_scores(
    reader: Forward,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
    pad: int,
    batch: int = 64,
) -> list[list[float]]:
    """Summed log-likelihood of each choice after its prompt. A question is one row: the prompt once, the choices behind
    it side by side, each seeing the prompt and itself only. One-token choices need the prompt alone."""
    size = [len(prompts[i]) + sum(len(c) - 1 for c in choices[i]) for i in range(len(prompts))]
    if not reader.packs(max(size, default=0)) and any(len(cs) > 1 and any(len(c) > 1 for c in cs) for cs in choices):
        return _apart(reader, prompts, choices, pad, batch)
    results: list[list[float]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: size[i])
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        questions, options = [prompts[i] for i in members], [choices[i] for i in members]
        compute = functools.partial(_packed, reader, questions, options, pad)
        scores = reader.progress.computed("scoring", [questions, options], compute)
        reader.progress.note("scoring", min(start + batch, len(order)), len(order))
        for i, row in zip(members, scores, strict=True):
            results[i] = row
    return results


def _apart(
    reader: Forward, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]], pad: int, batch: int
) -> list[list[float]]:
    """The same with one choice a row, for students that take no mask of one's own."""
    members = [(i, choice) for i, options in enumerate(choices) for choice in options]
    rows = choice_scores(reader, [prompts[i] for i, _ in members], [[choice] for _, choice in members], pad, batch)
    scores: list[list[float]] = [[] for _ in prompts]
    for (i, _), (value,) in zip(members, rows, strict=True):
        scores[i].append(value)
    return scores


def _packed(
    reader: Forward, prompts: list[Sequence[int]], choices: list[Sequence[Sequence[int]]], pad: int
) -> list[list[float]]:
    width = max(len(p) + sum(len(c) - 1 for c in cs) for p, cs in zip(prompts, choices, strict=True))
    longest = max(len(p) + max(len(c) for c in cs) - 1 for p, cs in zip(prompts, choices, strict=True))
    if longest > reader.positions:
        raise SequenceTooLong(
            f"A prompt with its longest choice has {longest} tokens; the student reads {reader.positions}.",
            "Choose a student that reads more.",
        )
    ids = np.full((len(prompts), width), pad, np.int64)
    positions = np.zeros((len(prompts), width), np.int64)
    owner = np.full((len(prompts), width), -1, np.int64)  # 0: prompt, c + 1: choice c, -1: padding
    rows: list[int] = []
    columns: list[int] = []
    picks: list[int] = []
    targets: list[int] = []
    belongs: list[tuple[int, int]] = []
    for r, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
        n = len(prompt)
        ids[r, :n], positions[r, :n], owner[r, :n] = prompt, np.arange(n), 0
        at = n
        # The first token of every choice is read at the end of the prompt.
        end = len(rows)
        rows.append(r)
        columns.append(n - 1)
        for c, option in enumerate(options):
            picks += [end, *range(len(rows), len(rows) + len(option) - 1)]
            ids[r, at : at + len(option) - 1] = option[:-1]
            positions[r, at : at + len(option) - 1] = n + np.arange(len(option) - 1)
            owner[r, at : at + len(option) - 1] = c + 1
            rows += [r] * (len(option) - 1)
            columns += range(at, at + len(option) - 1)
            at += len(option) - 1
            targets += option
            belongs += [(r, c)] * len(option)
    alone = all(len(cs) == 1 or all(len(c) == 1 for c in cs) for cs in choices)
    more = {} if alone else block_mask(reader.model, torch.from_numpy(owner), torch.from_numpy(positions))
    device = reader.device
    laid = (torch.tensor(given, device=device) for given in (rows, columns, picks, targets))
    likelihood = reader.likelihood_at(torch.from_numpy(ids).to(device), *laid, **more).cpu().numpy()
    scores = [[0.0] * len(cs) for cs in choices]
    for (r, c), value in zip(belongs, likelihood, strict=True):
        scores[r][c] += float(value)
    return scores


def score(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    mode: str,
    *,
    metric: str,
    limit: int,
    batch: int = 64,
    progress: ScoringProgress = SILENT,
) -> list[Prediction]:
    """Predictions of a student over examples in one mode: "direct", "own" (its own greedy rationale of at most `limit`
    tokens first) or "given" (the teacher's, cut at its end where the student reads no more; examples without one are
    asked directly)."""
    model.eval()  # type: ignore[no-untyped-call]
    reader = Forward(model, progress=progress)
    prompts, written = asked(reader, encoder, examples, placement, mode, limit)
    answers = answers_after(reader, encoder, examples, prompts, batch)
    texts: Sequence[WrittenText | None] = written or [None] * len(examples)
    return [
        predicted(encoder, e, a.sums, mode, metric=metric, written=w, answer=a.text)
        for e, a, w in zip(examples, answers, texts, strict=True)
    ]


def answers_after(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    batch: int = 64,
    lots: Lots | None = None,
) -> list[Answered]:
    """How a student answers each example after its prompt: by the likelihood of its choices, or in writing (greedily,
    or as `lots` have it).
    """
    targets = [encoder.targets(example) for example in examples]
    if not any(example.is_written for example in examples[:1]):
        return [Answered(sums) for sums in choice_scores(reader, prompts, targets, encoder.specials.pad, batch)]
    texts = write_answers(reader, encoder, examples, prompts, batch, lots)
    scored = [[*golds, answer_ids(encoder, text)] for golds, text in zip(targets, texts, strict=True)]
    every = choice_scores(reader, prompts, scored, encoder.specials.pad, batch)
    return [Answered(sums, text) for sums, text in zip(every, texts, strict=True)]


def asked(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    placement: Placement,
    mode: str,
    limit: int,
    lots: Lots | None = None,
) -> tuple[list[list[int]], list[WrittenText] | None]:
    """The prompts of a mode as `score` asks them; for "own" also what the student has written, greedily or as `lots`
    have it.
    """
    if mode == "given":
        symbol, count = placement.fixed or ("", 0)
        rationales = [
            [encoder.symbol_id(symbol)] * count if count else [t.id for t in encoder.read(example.rationale or "")]
            for example in examples
        ]
        return [
            rationale_prompt(encoder, e, placement, ids, reader.positions)
            for e, ids in zip(examples, rationales, strict=True)
        ], None
    room = encoder.answer_room(examples, mode, reader.positions)
    prompts = [encoder.prompt(example, placement.prompt(mode), room=room) for example in examples]
    if mode != "own":
        return prompts, None
    written = own_rationales(reader, encoder, examples, prompts, limit, lots)
    return [[*prompt, *w.ids, *encoder.label_cue] for prompt, w in zip(prompts, written, strict=True)], written


def own_rationales(
    reader: Forward,
    encoder: Encoder,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    limit: int,
    lots: Lots | None = None,
) -> list[WrittenText]:
    """What the student writes after each prompt: at most `limit` tokens, fewer where the longest prompt leaves less
    room. Prompts that fill the student by themselves are written for apart, so that they do not shorten the others.
    """
    longest = max(len(t) for example in examples for t in encoder.targets(example))
    room = encoder.answer_room(examples, "own", reader.positions)
    full = {i for i, prompt in enumerate(prompts) if len(prompt) >= room}
    texts: dict[int, WrittenText] = {}
    for members in ([i for i in range(len(prompts)) if i not in full], sorted(full)):
        if not members:
            continue
        chosen = [prompts[i] for i in members]
        most = max(1, min(limit, reader.positions - max(map(len, chosen)) - len(encoder.label_cue) - longest))
        specials = encoder.specials
        written = greedy(
            reader, chosen, encoder.label_cue, limit=most, after=longest, pad=specials.pad, eos=specials.eos,
            lots=lots.of(members) if lots is not None else None,
        )  # fmt: skip
        texts |= dict(zip(members, written, strict=True))
    return [texts[i] for i in range(len(prompts))]


def rationale_prompt(
    encoder: Encoder, example: Example, placement: Placement, rationale: Sequence[int], positions: int
) -> list[int]:
    """The prompt with these ids as its rationale, cut at their end where the student reads no more; without any, the
    direct prompt. What does not fit even so loses the first tokens of its question.
    """
    spans = placement.prompt("given")
    prompt = encoder.prompt(example, spans, rationale)
    room = encoder.answer_room([example], "given", positions)
    if (over := len(prompt) - room) <= 0:
        return prompt
    return encoder.prompt(example, spans, rationale[: max(0, len(rationale) - over)], room)


def predicted(
    encoder: Encoder,
    example: Example,
    sums: Sequence[float],
    mode: str,
    *,
    metric: str,
    written: WrittenText | None = None,
    answer: WrittenText | None = None,
) -> Prediction:
    """The prediction from the summed log-likelihood of each choice; of several right choices the highest counts.
    written: the rationale in the prompt, if the student wrote it itself; answer: what it wrote, where answers are
    written (then sums are those of the golds and of the answer).
    """
    if answer is not None:
        return _judged(encoder, example, sums, mode, written, answer)
    values = np.array(sums)
    scores = (
        values if metric == "sum" else values / [len(text.encode()) for text in encoder.template.target_texts(example)]
    )
    shifted = np.exp(scores - scores.max())
    probabilities = shifted / shifted.sum()
    right, highest = list(example.right_places), int(scores.argmax())
    gold = highest if highest in right else right[0]
    others = np.delete(scores, right)
    margin = float(scores[right].max() - others.max()) if len(others) else 0.0
    return Prediction(
        example.id, example.cluster or example.id, mode, gold, highest, margin,
        probabilities.tolist(), scores.tolist(), values.tolist(),
        encoder.written_text(written.ids).strip() if written else None,
        written.terminated if written else None,
        _parsed(written.after, encoder.targets(example)) if written else None,
    )  # fmt: skip


def _judged(
    encoder: Encoder,
    example: Example,
    sums: Sequence[float],
    mode: str,
    written: WrittenText | None,
    answer: WrittenText,
) -> Prediction:
    """A written answer: right where it ended by itself and is equal to a gold; see `Prediction` for its numbers."""
    text = encoder.written_text(answer.ids).strip()
    rationale = encoder.written_text(written.ids).strip() if written else None
    ended = answer.terminated and (written is None or written.terminated)
    verdict = judge(example.kind, example.golds, text)
    both = [max(sums[:-1]), sums[-1]]
    return Prediction(
        example.id, example.cluster or example.id, mode, 0, 0 if ended and verdict.right else 1, both[0] - both[1],
        np.exp(both).tolist(), both, both,
        rationale,
        written.terminated if written else None,
        written_answer=text, answer_ended=ended, readable=verdict.readable,
        flexible=flexible(example.kind, example.golds, f"{rationale or ''} {text}"),
    )  # fmt: skip


def _parsed(after: Sequence[int], targets: Sequence[Sequence[int]]) -> int:
    """The longest choice that the text after the cue begins with; -1 if none."""
    matching = [c for c, ids in enumerate(targets) if list(after[: len(ids)]) == list(ids)]
    return max(matching, key=lambda c: len(targets[c]), default=-1)


def accuracy(predictions: Sequence[Prediction]) -> float:
    return sum(p.correct for p in predictions) / len(predictions) if predictions else 0.0
