"""From a task and a condition to training rows: which examples, what each becomes, in which order, for how many
steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from cotdistill.config import RunConfig, stable_seed
from cotdistill.errors import DataError, NoRationale, SequenceTooLong
from cotdistill.rationales.conditions import Condition, Step, parse
from cotdistill.rationales.keyed import matches, number, ranked, ranked_weights
from cotdistill.rationales.passage import Corpus
from cotdistill.rationales.selection import Selection
from cotdistill.rationales.transforms import TRANSFORMS, Draw, check_parameters
from cotdistill.students.batches import Row, Stream, scaled, steps_for_tokens, tokens_in_steps, weighted
from cotdistill.students.tokens import LABEL, NO_LOSS, RATIONALE, RIVAL, Encoded, Encoder, shortened
from cotdistill.tasks.example import Argued, Example

# Above this share of rows without a swap partner the condition would be half label only.
MOST_WITHOUT_PARTNER = 0.10


@dataclass(frozen=True)
class Facts:
    """What was counted while preparing; shown beside the accuracy.

    changed_share: rows whose rationale differs from the intact one. Under conditions with key tokens: unselected_rows
    have a rationale that the selection does not know (they train without one), short_rows have fewer units than k,
    match_gap is the mean distance in log training frequency between selected units and their random matches,
    unmatched_share the share of selected units for which none was left. Under the counterfactual objective factual_rows
    have no rationale for a wrong answer: they train on the teacher's alone.
    """

    train_rows: int
    excluded_rows: int
    no_partner_rows: int
    truncated_rows: int
    changed_share: float
    longest_rationale: int
    unselected_rows: int = 0
    short_rows: int = 0
    match_gap: float | None = None
    unmatched_share: float | None = None
    factual_rows: int = 0


@dataclass(frozen=True)
class Prepared:
    """A training set, and the order and number of the steps that go through it."""

    training_set: TrainingSet
    stream: Stream
    steps: int
    facts: Facts


def usable_rows(by_source: Mapping[str, list[Example]], policy: str) -> list[int]:
    """The training rows that every condition of the study can use: with a rationale from each source.

    policy: "exclude" drops the others in every condition, "label_only" keeps them (without a rationale), "fail" raises
    NoRationale.
    """
    lists = list(by_source.values())
    every = range(len(lists[0]))
    usable = [i for i in every if all(examples[i].rationale for examples in lists)]
    if policy == "label_only":
        return list(every)
    if policy == "fail" and len(usable) < len(lists[0]):
        missing = next(i for i in every if i not in set(usable))
        raise NoRationale(
            f"{len(lists[0]) - len(usable)} of {len(lists[0])} training rows have no rationale, for example"
            f" {lists[0][missing].id!r}.",
            "Set missing_rationale to exclude or label_only, or choose another source.",
        )
    if not usable:
        raise NoRationale(
            f"No training row has a rationale from {', '.join(by_source) or 'any source'}.",
            "Choose another source, or conditions without rationales.",
        )
    return usable


def part_of(rows: Sequence[int], examples: Sequence[Example], fraction: float, seed: int) -> list[int]:
    """A share of some rows (indices into `examples`), at least one of them, in their order: those whose hash of the
    split seed and the id is smallest. So a smaller share of the same rows lies within a larger one, and every condition
    of a replicate gets the same."""
    if fraction == 1:
        return list(rows)
    ordered = sorted(rows, key=lambda i: (stable_seed("fraction", seed, examples[i].id), examples[i].id))
    return sorted(ordered[: max(1, round(fraction * len(rows)))])


def training_rows(by_source: Mapping[str, list[Example]], run: RunConfig, fraction: float) -> list[int]:
    """The training rows of a run: those that every condition of its study can use, and of these the share that its own
    condition sees.

    by_source: the train split (same rows, same order) under each source of the study; {"": rows} for a study without
    rationales.
    """
    first = next(iter(by_source.values()))
    usable = usable_rows(by_source, run.missing_rationale) if run.sources else list(range(len(first)))
    return part_of(usable, first, fraction, run.seeds.split)


def prepare(
    encoder: Encoder,
    train_by_source: dict[str, list[Example]],
    run: RunConfig,
    positions: int,
    selections: Mapping[str, Selection] | None = None,
    budget: Mapping[str, list[Example]] | None = None,
) -> Prepared:
    """Rows, order and number of steps of a run. train_by_source holds the train split (same rows, same order) under
    each source of the study; {"": rows} for a study without rationales. selections: by selector, where the condition
    needs any. budget: the same rows as the condition named by tokens= reads them, where that differs. Raises
    NoRationale, SequenceTooLong, DataError."""
    condition = parse(run.condition)
    reference = parse(condition.tokens) if condition.tokens else None
    limit = min(run.student.max_length or positions, positions)

    def corpus_of(name: str, fraction: float, by_source: Mapping[str, list[Example]] = train_by_source) -> Corpus:
        # A study in which no condition reads a rationale names no source; its tokenizer may still be that of one.
        examples = by_source[name if run.sources else ""]
        return encoder.corpus([examples[i] for i in training_rows(train_by_source, run, fraction)], selections)

    def reader_of(chosen: Condition, by_source: Mapping[str, list[Example]] = train_by_source) -> TrainingSet:
        return TrainingSet(
            read_by(chosen.naive),
            corpus_of(chosen.source or run.source, chosen.fraction, by_source),
            chosen,
            run,
            limit,
        )

    def read_by(naive: bool) -> Encoder:
        return encoder if encoder.naive == naive else Encoder(encoder.path, encoder.template, naive=naive)

    def stream_of(fraction: float) -> Stream:
        # Bucketing by the intact sequence of the study's source, with consistent targets: the same batches in every
        # condition.
        corpus = corpus_of(run.source, fraction)
        intact = TrainingSet(read_by(False), corpus, parse("post_cot" if run.sources else "label_only"), run, 1_000_000)
        return Stream(
            [intact.tokens(i, 0) for i in range(len(corpus.examples))], run.training.batch_size, run.seeds.order
        )

    reader, stream = reader_of(condition), stream_of(condition.fraction)
    steps = 0 if not condition.spec.sequences else run.training.steps
    if reference is not None and steps:
        others = stream if reference.fraction == condition.fraction else stream_of(reference.fraction)
        steps = steps_for_tokens(
            stream,
            reader.tokens,
            tokens_in_steps(others, reader_of(reference, budget or train_by_source).tokens, steps),
        )
    total = len(next(iter(train_by_source.values())))
    usable = len(training_rows(train_by_source, run, 1.0))
    facts = _facts(reader, condition, run, total - usable, len(stream.lengths))
    return Prepared(reader, stream, steps, facts)


class TrainingSet:
    """The rows of each training example under one condition, made once (or once per epoch if they are redrawn)."""

    def __init__(self, encoder: Encoder, corpus: Corpus, condition: Condition, run: RunConfig, limit: int) -> None:
        self.encoder, self.corpus, self.condition, self.run, self.limit = encoder, corpus, condition, run, limit
        self.examples = corpus.examples
        self.truncated: set[int] = set()
        self._rows: dict[tuple[int, int], list[Row]] = {}
        self._shorter: dict[float, TrainingSet] = {}
        self._ends: dict[float, dict[tuple[int, int], list[Row]]] = {}

    def sequences(self, index: int, epoch: int) -> list[Encoded]:
        return self._fitting(
            index, self.encoder.sequences(self.corpus, index, self.condition, self.run.seeds.transform, epoch=epoch)
        )

    def _fitting(self, index: int, whole: list[Encoded]) -> list[Encoded]:
        if any(len(encoded) > self.limit for encoded in whole):
            if self.run.student.truncate == "refuse":
                longest = max(len(encoded) for encoded in whole)
                raise SequenceTooLong(
                    f"Training example {self.corpus.examples[index].id!r} has {longest} tokens; the student reads"
                    f" {self.limit}.",
                    "Choose truncate=question or truncate=rationale, a larger max_length, or a student that reads"
                    " more.",
                )
            self.truncated.add(index)
        return [shortened(encoded, self.limit, self.run.student.truncate) for encoded in whole]

    def rows(self, index: int, epoch: int) -> list[Row]:
        key = (index, epoch if self.run.training.redraw else 0)
        if key not in self._rows:
            if self.run.training.redraw:
                self._rows = {k: v for k, v in self._rows.items() if k[1] >= epoch - 1}
            sequences = self.sequences(*key)
            self._rows[key] = self._weighed(index, sequences)
            if self.condition.objective_parameters("margin") is not None:
                self._rows[key] += self._rivals(index, sequences[0])
        return self._rows[key]

    def truncated_rows(self, index: int, epoch: int, share: float) -> list[Row]:
        """The rows of an example of whose rationale only the last `share` is left."""
        if share not in self._shorter:
            last = Step(
                "truncate", check_parameters(TRANSFORMS.get("truncate"), [("keep", "last"), ("fraction", repr(share))])
            )
            shorter = replace(self.condition, steps=(*self.condition.steps, last))
            # Stages follow each other; what is over is not kept.
            self._shorter = {share: TrainingSet(self.encoder, self.corpus, shorter, self.run, self.limit)}
        return self._shorter[share].rows(index, epoch)

    def tail_loss_rows(self, index: int, epoch: int, share: float) -> list[Row]:
        """The rows of an example of whose rationale the last `share` of the sentences bears loss, at least one; the
        others are read.
        """
        kept = self._ends.setdefault(share, {})
        if len(self._ends) > 1:
            self._ends = {share: kept}
        key = (index, epoch if self.run.training.redraw else 0)
        if key not in kept:
            sentence = np.array([token.sentence for token in self.corpus.passages[index]], np.int64)
            cut = []
            for encoded in self.sequences(*key):
                from_rationale = encoded.origin >= 0
                # Of those that are read: a rationale may have been cut at its end.
                kinds = np.unique(sentence[encoded.origin[from_rationale]])
                # A share is a sum of stages: what is a whole number of sentences but for rounding is that number.
                first = kinds[-max(1, math.ceil(share * len(kinds) - 1e-9))] if len(kinds) else 0
                early = np.zeros(len(encoded), bool)
                early[from_rationale] = sentence[encoded.origin[from_rationale]] < first
                cut.append(replace(encoded, loss=np.where(early, NO_LOSS, encoded.loss).astype(np.int8)))
            kept[key] = self._weighed(index, cut)
        return kept[key]

    def rows_with_rationale(self, index: int, epoch: int, ids: Sequence[int]) -> list[Row]:
        """The rows of an example with these ids as its rationale."""
        corpus = self.encoder.corpus([self.corpus.examples[index]], passages=[self.encoder.passage(ids)])
        return self._weighed(
            index,
            self._fitting(
                index, self.encoder.sequences(corpus, 0, self.condition, self.run.seeds.transform, epoch=epoch)
            ),
        )

    def _rivals(self, index: int, encoded: Encoded) -> list[Row]:
        """The sequence up to its label with each wrong choice in the label's place, as rows without a weight of their
        own.
        """
        gold = self.corpus.examples[index].gold
        start = int(np.flatnonzero(encoded.loss == LABEL)[0])
        segment = encoded.segments[start]
        rows = []
        for place, ids in enumerate(self.encoder.targets(self.corpus.examples[index])):
            if place == gold:
                continue
            count = len(ids)
            whole = Encoded(
                np.concatenate([encoded.ids[:start], np.array(ids, np.int32)]),
                np.concatenate([encoded.segments[:start], np.full(count, segment)]),
                np.concatenate([np.full(start, NO_LOSS, np.int8), np.full(count, RIVAL, np.int8)]),
                np.concatenate([encoded.origin[:start], np.full(count, -1, np.int32)]),
            )
            rival = shortened(whole, self.limit, self.run.student.truncate)
            rows.append(Row(rival.ids, np.zeros(len(rival), np.float32), rival.loss, follows=True))
        return rows

    def _weighed(self, index: int, sequences: list[Encoded]) -> list[Row]:
        """Rows with the weights of their tokens; under token_weights those of the rationale follow a selection, and
        their sum stays.
        """
        asked = self.condition.objective_parameters("counterfactual")
        if asked is not None and len(sequences) == 2:
            shares = (1 - float(asked["alpha"]), float(asked["alpha"]))
            rows = [
                scaled(row, share)
                for one, share in zip(sequences, shares, strict=True)
                for row in weighted([one], self.run.training)
            ]
        else:
            rows = weighted(sequences, self.run.training)
        chosen = self.condition.objective_parameters("token_weights")
        if chosen is None:
            return rows
        scores = self.corpus.selection(str(chosen["selector"])).of(
            self.corpus.examples[index].id, [token.origin for token in self.corpus.passages[index]]
        )
        if scores is None:
            return rows
        ranks = ranked_weights([scores[place] for place in sorted(scores)], float(chosen["floor"]))
        for encoded, row in zip(sequences, rows, strict=True):
            from_rationale = (encoded.loss == RATIONALE) & (encoded.origin >= 0)
            weights = ranks[encoded.origin[from_rationale]]
            # Where the lowest token alone is left to bear loss, a floor of 0 gives it no weight to share out: it keeps
            # what it had.
            if weights.any():
                row.weights[from_rationale] *= weights * (from_rationale.sum() / weights.sum())
        return rows

    def tokens(self, index: int, epoch: int) -> int:
        return sum(len(row.ids) for row in self.rows(index, epoch))


def _facts(reader: TrainingSet, condition: Condition, run: RunConfig, excluded: int, kept: int) -> Facts:
    corpus, changed, alone = reader.corpus, 0, 0
    longest = max((len(p) for p in corpus.passages), default=0)
    if not condition.spec.sequences:
        return Facts(0, 0, 0, 0, 0.0, longest)
    swaps = any(step.name == "swap" for step in condition.steps)
    for i, passage in enumerate(corpus.passages):
        reader.rows(i, 0)
        if condition.steps and passage:
            rewritten = condition.rewrite(passage, Draw.of(corpus, i, run.seeds.transform))
            changed += [t.id for t in rewritten] != [t.id for t in passage]
            alone += swaps and not rewritten
    if alone > MOST_WITHOUT_PARTNER * kept:
        raise DataError(
            f"Under {condition} {alone} of {kept} training rows have no partner to swap with (more than"
            f" {MOST_WITHOUT_PARTNER:.0%}).",
            "Choose swap(partner=any), or a task whose answers repeat.",
        )
    factual = (
        sum(not isinstance(e, Argued) for e in corpus.examples)
        if condition.objective_parameters("counterfactual") is not None
        else 0
    )
    return Facts(
        kept,
        excluded,
        alone,
        len(reader.truncated),
        changed / kept,
        longest,
        factual_rows=factual,
        **_selected_facts(corpus, condition, run),
    )


def _selected_facts(corpus: Corpus, condition: Condition, run: RunConfig) -> dict[str, Any]:
    """What became of the key tokens over all rows: see Facts."""
    unselected = short = selected = unmatched = 0
    gaps: list[float] = []
    keyed = next(
        (
            place
            for place, step in enumerate(condition.steps)
            if "selector" in dict(step.parameters) or step.name == "human"
        ),
        None,
    )
    if keyed is None:
        return {}
    step, before = condition.steps[keyed], replace(condition, steps=condition.steps[:keyed])
    values = dict(step.parameters)
    for i, intact in enumerate(corpus.passages):
        draw = Draw.of(corpus, i, run.seeds.transform)
        passage = before.rewrite(intact, draw) if intact else ()
        if not passage:
            continue
        if step.name == "human":
            unselected += (
                corpus.selection(f"human:{values['annotations']}").of(
                    corpus.examples[i].id, [token.origin for token in passage]
                )
                is None
            )
            continue
        ranking = ranked(passage, draw, str(values["selector"]), str(values["unit"]))
        if ranking is None:
            unselected += 1
            continue
        parts, places = ranking
        short += len(parts) < values["k"]
        if step.name == "matched_random_k":
            chosen = places[: number(values["k"], len(parts))]
            matched = matches(parts, chosen, draw)
            gaps += [gap for _, _, gap in matched]
            selected, unmatched = selected + len(chosen), unmatched + len(chosen) - len(matched)
    return {
        "unselected_rows": unselected,
        "short_rows": short,
        "match_gap": fmean(gaps) if gaps else None,
        "unmatched_share": unmatched / selected if selected else None,
    }
