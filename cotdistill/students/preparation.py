"""From a task and a condition to training rows: which examples, what each becomes, in which order, for how many
steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from cotdistill.config import RunConfig, stable_seed
from cotdistill.errors import DataError, NoRationale, SequenceTooLong
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.keyed import matches, number, ranked
from cotdistill.rationales.passage import Corpus
from cotdistill.rationales.selection import Selection
from cotdistill.rationales.transforms import Draw
from cotdistill.students.batches import Row, Stream, steps_for_tokens, tokens_in_steps, weighted
from cotdistill.students.objectives.base import implementation
from cotdistill.students.tokens import Encoded, Encoder, shortened
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


def usable_rows(by_source: Mapping[str, list[Example]], policy: str, left_out: Collection[str] = ()) -> list[int]:
    """The training rows that every condition of the study can use: with a rationale from each source.

    policy: "exclude" drops the others in every condition, "label_only" keeps them (without a rationale), "fail" raises
    NoRationale. left_out: ids of rows that are dropped in every condition besides.
    """
    lists = list(by_source.values())
    every = [i for i, example in enumerate(lists[0]) if example.id not in left_out]
    usable = [i for i in every if all(examples[i].rationale for examples in lists)]
    if policy == "label_only":
        return every
    if policy == "fail" and len(usable) < len(every):
        missing = next(i for i in every if i not in set(usable))
        raise NoRationale(
            f"{len(every) - len(usable)} of {len(every)} training rows have no rationale, for example"
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
    # A study that reads no rationale can use every row.
    usable = usable_rows(by_source, run.missing_rationale if run.sources else "label_only", frozenset(run.left_out))
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
            corpus_of(chosen.reads(run.source), chosen.fraction, by_source),
            chosen,
            run,
            limit,
        )

    def read_by(naive: bool) -> Encoder:
        if encoder.naive == naive:
            return encoder
        return Encoder(encoder.path, encoder.template, naive=naive, terminator=encoder.terminator)

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
        self._further: dict[int, Corpus] = {}
        self._objectives = [implementation(objective) for objective in condition.objectives]

    def sequences(self, index: int, epoch: int) -> list[Encoded]:
        return self._fitting(
            index,
            self.encoder.sequences(
                self._in_turn(index, epoch), index, self.condition, self.run.seeds.transform, epoch=epoch
            ),
        )

    def _in_turn(self, index: int, epoch: int) -> Corpus:
        """The examples with the rationale that is read of one of them in an epoch: of several, one after the other."""
        turn = epoch % (1 + len(self.examples[index].more))
        if not turn:
            return self.corpus
        if turn not in self._further:
            rows = [replace(e, rationale=(e.rationale, *e.more)[min(turn, len(e.more))]) for e in self.examples]
            self._further[turn] = self.encoder.corpus(rows)
        return self._further[turn]

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
        key = (index, epoch if self.run.training.redraw else epoch % (1 + len(self.examples[index].more)))
        if key not in self._rows:
            if self.run.training.redraw:
                self._rows = {k: v for k, v in self._rows.items() if k[1] >= epoch - 1}
            sequences = self.sequences(*key)
            rivals = [row for objective in self._objectives for row in objective.rivals(self, index, sequences[0])]
            self._rows[key] = [*self.weigh(index, sequences), *rivals]
        return self._rows[key]

    def under(self, condition: Condition) -> TrainingSet:
        """The same examples under another condition."""
        return TrainingSet(self.encoder, self.corpus, condition, self.run, self.limit)

    def rows_with_rationale(self, index: int, epoch: int, ids: Sequence[int]) -> list[Row]:
        """The rows of an example with these ids as its rationale."""
        corpus = self.encoder.corpus([self.corpus.examples[index]], passages=[self.encoder.passage(ids)])
        return self.weigh(
            index,
            self._fitting(
                index, self.encoder.sequences(corpus, 0, self.condition, self.run.seeds.transform, epoch=epoch)
            ),
        )

    def weigh(self, index: int, sequences: list[Encoded]) -> list[Row]:
        """Rows with the weights of their tokens, as the objectives of the condition want them."""
        weighed = (objective.weighted_rows(sequences, self.run.training) for objective in self._objectives)
        rows = next((rows for rows in weighed if rows is not None), None)
        if rows is None:
            rows = weighted(sequences, self.run.training)
        for objective in self._objectives:
            rows = objective.example_rows(self, index, sequences, rows)
        return rows

    def tokens(self, index: int, epoch: int) -> int:
        return sum(len(row.ids) for row in self.rows(index, epoch))


def _facts(reader: TrainingSet, condition: Condition, run: RunConfig, excluded: int, kept: int) -> Facts:
    corpus, changed, alone = reader.corpus, 0, 0
    longest = max((len(p) for p in corpus.passages), default=0)
    longest = max(longest, *(len(reader.encoder.read(text)) for e in corpus.examples for text in e.more), 0)
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
