"""What a study costs: lengths and counts from a sample of its rows, and from them time and memory. No torch; a plan
must answer in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cotdistill.config import RunConfig, StudentConfig, TrainingConfig
from cotdistill.keytokens.selectors import parse_selector
from cotdistill.rationales.conditions import Condition, parse
from cotdistill.rationales.counterfactual import supplied
from cotdistill.rationales.passage import Corpus, units
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.rationales.selection import Selection
from cotdistill.rationales.transforms import Draw
from cotdistill.students import memory
from cotdistill.students.files import here
from cotdistill.students.lint import lint
from cotdistill.students.memory import Adapters, Load, RunMemory, Shape
from cotdistill.students.models import STUDENTS, entry_of, is_built_in
from cotdistill.students.preparation import MOST_WITHOUT_PARTNER, training_rows
from cotdistill.students.sources import encoder_of
from cotdistill.students.tokens import Encoder
from cotdistill.studies.inputs import readers
from cotdistill.studies.spec import StudySpec
from cotdistill.tasks.example import Argued, Example
from cotdistill.tasks.splits import first_by_hash, same_place
from cotdistill.tasks.task import Task
from cotdistill.tasks.views import read_view
from cotdistill.text import plural

# Operations a second: measured on one thread of a 2-core machine with a small student; on a GPU a guess, until this
# store has runs of its own.
FLOPS_PER_SECOND = {"cpu": 2.5e10, "cuda": 2.5e13}
# Seconds around the steps of a run.
SECONDS_AROUND = 3.0
# Rows looked at for lengths.
SAMPLE = 300
# Rows with the most text are read for over-long ones so many at a time, until the longest of them is below this share
# of the limit; a template adds no more than so many bytes to a row's own text.
CHUNK, CLEAR_OF_LIMIT, TEMPLATE_BYTES = 50, 0.7, 128
# What a student counts as whose sizes are not on this machine: GPT-2 small.
UNKNOWN = memory.of_config(memory.PUBLISHED["openai-community/gpt2"])


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example under one condition, over all its sequences: mean and mean number that is predicted. Of one
    sequence: the most tokens, and the most that are predicted. sequences: how many an example has."""

    tokens: float = 0.0
    predicted: float = 0.0
    longest: int = 0
    most_predicted: int = 0
    sequences: int = 0


@dataclass(frozen=True)
class Costs:
    """Lengths and counts of one replicate, and what follows from them. known: whether the sizes of the student are;
    rationale: tokens of the longest; choices: tokens of all choices of a question."""

    conditions: tuple[Condition, ...]
    lengths: Mapping[str, Lengths]
    student: StudentConfig
    shape: Shape
    known: bool
    train_rows: int
    rows_at: Mapping[float, int]
    excluded_rows: int
    test_items: int
    test_clusters: int
    rationale: int
    choices: int
    #: One sentence per condition with training rows that the student cannot read and that are not to be truncated.
    too_long: tuple[str, ...] = ()
    #: Their ids.
    too_long_rows: tuple[str, ...] = ()

    def example(self, tokens: float, predicted: float) -> float:
        """Operations of a forward pass over one example, as in `students.loading.forward_flops`."""
        shape = self.shape
        return (
            2 * shape.blocks * tokens
            + 2 * shape.layers * shape.width * tokens**2
            + 2 * shape.width * shape.vocabulary * predicted
        )

    def selecting(self, selector: str) -> float:
        """Seconds of a selection over all training rows: so many forward passes a row as the selector says."""
        first = next(iter(self.lengths.values()), Lengths(predicted=1.0))
        length = max((one.tokens for one in self.lengths.values()), default=0.0)
        each = 2 * self.shape.blocks * length + 2 * self.shape.width * self.shape.vocabulary * first.predicted
        return SECONDS_AROUND + self.train_rows * parse_selector(selector)[0].passes * each / FLOPS_PER_SECOND["cpu"]

    def seconds(self, condition: Condition, training: TrainingConfig) -> float:
        """Seconds of a run: three forward passes for each example that is trained on (two where only adapters are), and
        scoring.
        """
        if not condition.spec.sequences:
            return SECONDS_AROUND
        lengths = self.lengths.get(condition.tokens or str(condition), Lengths())
        passes = (2 if self.student.lora_rank else 3) + int(training.gradient_checkpointing)
        work = passes * self.example(lengths.tokens, lengths.predicted) * training.batch_size * training.steps
        # Scoring on test and dev costs about an epoch of forward passes; writing rationales a few times that.
        scoring = 4.0 if condition.spec.primary == "own" else 1.0
        share = self.test_items * scoring / max(1, training.steps * training.batch_size)
        return SECONDS_AROUND + work / FLOPS_PER_SECOND[training.device] * (1 + share)

    @property
    def adapters(self) -> Adapters | None:
        rank = self.student.lora_rank
        return memory.adapters(self.shape, rank, self.student.lora_targets) if rank else None

    def load(self, condition: Condition, training: TrainingConfig) -> Load:
        """What a run of a condition asks of its student at the worst moment: every row of a pass as long as the
        longest.
        """
        lengths = self.lengths.get(str(condition), Lengths())
        longest = max((one.longest for one in self.lengths.values()), default=0)
        whole = training.batch_size * max(1, lengths.sequences)
        rows = min(training.micro_batch or -(-whole // training.processes), whole)
        return Load(
            rows=rows,
            length=lengths.longest,
            predicted=rows * lengths.most_predicted,
            passes=-(-whole // (rows * training.processes)),
            precision=training.precision,
            dtype=self.student.dtype,
            device=training.device,
            checkpointing=training.gradient_checkpointing,
            adapters=self.adapters,
            trains=bool(lengths.sequences) and training.steps > 0,
            scored=lengths.longest or longest,
            choices=self.choices,
            written=self.rationale if condition.spec.primary == "own" else 0,
            plain=not any(chosen.entry.logits for chosen in condition.objectives),
        )

    def kept_bytes(self, training: TrainingConfig) -> float:
        """Bytes of the checkpoints that one run keeps, in fp32; of adapters where these alone are trained."""
        shares = {float(part) for part in training.checkpoints.split(",") if part.strip()} | {1.0}
        return 4.0 * len(shares) * (self.adapters.numbers if self.adapters else self.shape.parameters)

    def memory(self, training: TrainingConfig) -> RunMemory:
        """Of the run that takes most."""
        return max(
            (memory.estimate(self.shape, self.load(c, training)) for c in self.conditions),
            key=lambda estimate: estimate.peak,
        )


def measured(task: Task, run: RunConfig, spec: StudySpec, checks: list[str]) -> Costs:
    """What a study costs in one replicate; what deserves a look is added to `checks`. Raises what `training_rows`
    raises.
    """
    conditions = tuple(spec.parsed())
    by_source = {name: task.examples("train", name or None) for name in run.sources or ("",)}
    rows = training_rows(by_source, run, 1.0)
    first = next(iter(by_source.values()))
    if left_out := sum(example.id in run.left_out for example in first):
        checks.append(f"{plural(left_out, 'training row')} left out of every condition, as chosen.")
    if absent := len(run.left_out) - left_out:
        checks.append(f"left_out names {plural(absent, 'id')} that no training row has.")
    total = len(first) - left_out
    if len(rows) < total:
        lacks = ", ".join(
            f"{name} lacks {sum(not e.rationale for e in examples)}" for name, examples in by_source.items()
        )
        each = f" by every source ({lacks})" if len(by_source) > 1 else ""
        checks.append(
            f"{total - len(rows)} of {total} training rows have no rationale{each} and leave every condition "
            f"(missing_rationale={spec.missing_rationale})."
        )
    if alarm := same_place(task.examples("test")):
        checks.append(f"{alarm} Import the task anew with --shuffle-choices.")
    checks += [warning for name in run.sources if (warning := _other_answers(task, name, by_source[name]))]
    test = first_by_hash(task.examples("test", run.source or None), run.test_rows)
    known = is_built_in(spec.student.name) or here(spec.student) is not None
    encoder = encoder_of(task, run) if known else None
    shape = _shape(spec, encoder)
    measured_lengths: dict[str, Lengths] = {}
    too_long: list[str] = []
    too_long_rows: list[str] = []
    rationale = choices = 0
    positions = shape.positions if shape else 10**6
    limit = min(spec.student.max_length or positions, positions)
    # Selections are not made yet: every token counts the same, which gives the right lengths.
    later = {name: Selection(name) for condition in conditions for name in condition.selectors}
    corpora: dict[str, Corpus] = {}
    for condition in dict.fromkeys(
        [*conditions, *(parse(c.tokens) for c in conditions if c.tokens), *readers(conditions)]
    ):
        name = condition.reads(run.source)
        sample = [by_source[name if run.sources else ""][i] for i in rows[:: max(1, len(rows) // SAMPLE)]]
        counter = condition.objective_parameters("counterfactual") is not None
        sample = supplied(task, sample, condition, name)
        if counter and (lack := sum(not isinstance(example, Argued) for example in sample)):
            checks.append(
                f"{condition.label}: {lack} of {len(sample)} sampled rows have no rationale for a wrong answer; they"
                " train without."
            )
        if encoder is not None:
            corpus = (
                encoder.corpus(sample, later) if counter else corpora.setdefault(name, encoder.corpus(sample, later))
            )
            lengths, over = _lengths(encoder, corpus, condition, run, limit)
            _check_k(corpus, condition, checks)
            _check_unchanged(corpus, condition, run, checks)
            _check_target(encoder, sample, condition, checks)
            measured_lengths[str(condition)] = dataclasses.replace(lengths, longest=min(lengths.longest, limit))
            rationale = max(rationale, *map(len, corpus.passages), 0)
            choices = max(choices, *(sum(map(len, encoder.targets(example))) for example in sample))
            examples = [
                by_source[name if run.sources else ""][i] for i in training_rows(by_source, run, condition.fraction)
            ]
            over_rows, longest = _over_long(encoder, task, examples, condition, run, limit)
            if over or over_rows:
                outcome = (
                    "the run would stop: set student.truncate to question or rationale."
                    if spec.student.truncate == "refuse"
                    else f"the {spec.student.truncate} is cut."
                )
                number = max(len(over), len(over_rows))
                checks.append(
                    f"{condition.label}: {number:,} of {len(examples):,} training rows are longer than"
                    f" {limit} tokens (longest {max(longest, lengths.longest):,}); {outcome}"
                )
                # Which rationale a swapped row gets is not known before the rows are paired.
                swaps = any(step.name == "swap" for step in condition.steps)
                if over_rows and spec.student.truncate == "refuse" and not swaps:
                    too_long.append(checks[-1])
                    too_long_rows += over_rows
        seen = training_rows(by_source, run, condition.fraction)
        _check_partners([by_source[name if run.sources else ""][i] for i in seen], condition, run, encoder, checks)
    if encoder is not None:
        for split, asked_rows in (("test", test), ("dev", task.examples("dev"))):
            too_long += _long_questions(
                encoder, split, asked_rows, conditions, spec.student.truncate, positions, checks
            )
        examples = by_source[run.source if run.source in by_source else ""]
        sample = [examples[i] for i in rows[:: max(1, len(rows) // SAMPLE)]]
        checks += [
            f"{one.line()} Of {len(sample)} sampled rows; page Data and lint say more."
            for one in lint(encoder, sample)
            if one.grave
        ]
    if spec.budget == "tokens":
        longest_name = max((str(c) for c in conditions), key=lambda c: measured_lengths.get(c, Lengths()).tokens)
        conditions = tuple(
            (
                c
                if str(c) == longest_name or c.tokens or not c.spec.sequences
                else parse(str(dataclasses.replace(c, tokens=longest_name)))
            )
            for c in conditions
        )
    at = {
        one: len(training_rows(by_source, run, one))
        for one in sorted({c.fraction for c in conditions if c.fraction != 1}, reverse=True)
    }
    if few := [one for one, number in at.items() if number < spec.training.batch_size]:
        checks.append(
            f"{', '.join(f'{100 * one:g} %' for one in few)} of the rows are fewer than one batch of"
            f" {spec.training.batch_size}."
        )
    if spec.replicates < 3:
        checks.append("Fewer than three replicates: intervals over seeds are wide or cannot be given.")
    return Costs(
        conditions=conditions,
        lengths=measured_lengths,
        student=spec.student,
        shape=shape or UNKNOWN,
        known=shape is not None,
        train_rows=len(rows),
        rows_at=at,
        excluded_rows=total - len(rows),
        test_items=len(test),
        test_clusters=len({e.cluster or e.id for e in test}),
        rationale=rationale,
        choices=choices,
        too_long=tuple(too_long),
        too_long_rows=tuple(dict.fromkeys(too_long_rows)),
    )


def _shape(spec: StudySpec, encoder: Encoder | None) -> Shape | None:
    """The sizes of a study's student; None while they are not on this machine."""
    name = spec.student.name
    if is_built_in(name) and encoder is not None:
        return memory.of_built_in(STUDENTS.get(name), encoder.vocabulary_size)
    folder = here(spec.student)
    entry = entry_of(name)
    if folder is None and entry is not None:
        return memory.of_config(memory.PUBLISHED[entry.hub])
    return memory.of_folder(folder) if folder else None


def _other_answers(task: Task, source: str, examples: list[Example]) -> str:
    """A teacher that was not shown the label argues for its own answer, which may be another one: kept, and said."""
    view = read_view(source)
    if view.teacher_target or len(view.names) > 1:
        return ""
    labels = task.teacher_labels(view.names[0])
    other = sum(e.id in labels and labels[e.id] != e.answer for e in examples if e.rationale)
    return (
        f"{other} of {len(examples)} training rationales by {source} were written for another answer than the label."
        if other
        else ""
    )


def _lengths(
    encoder: Encoder, corpus: Corpus, condition: Condition, run: RunConfig, limit: int
) -> tuple[Lengths, list[str]]:
    """The lengths of a condition, uncut, and the ids of the examples that are over the limit."""
    if not condition.spec.sequences or not corpus.examples:
        return Lengths(), []
    encoded = [encoder.sequences(corpus, i, condition, run.seeds.transform) for i in range(len(corpus.examples))]
    every = [sequence for sequences in encoded for sequence in sequences]
    predicted = [int((sequence.loss > 0).sum()) for sequence in every]
    lengths = Lengths(
        tokens=sum(map(len, every)) / len(encoded), predicted=sum(predicted) / len(encoded),
        longest=max(map(len, every)), most_predicted=max(predicted), sequences=max(map(len, encoded)),
    )  # fmt: skip
    over = [
        example.id
        for example, sequences in zip(corpus.examples, encoded, strict=True)
        if any(len(sequence) > limit for sequence in sequences)
    ]
    return lengths, over


def _over_long(
    encoder: Encoder, task: Task, examples: Sequence[Example], condition: Condition, run: RunConfig, limit: int
) -> tuple[list[str], int]:
    """The ids of the training rows that are over the limit under a condition, and the tokens of the longest row read.

    Rows are read from the one with the most text down, `CHUNK` at a time, until a chunk stays well below the limit. A
    row whose text has no more bytes than the student reads tokens cannot be over it.
    """

    def size(example: Example) -> int:
        texts = (example.question, example.rationale or "", *(choice.text for choice in example.choices))
        return sum(len(text.encode()) for text in texts)

    by_size = sorted((e for e in examples if size(e) + TEMPLATE_BYTES > limit), key=size, reverse=True)
    over: list[str] = []
    longest = 0
    for start in range(0, len(by_size), CHUNK):
        chunk = supplied(task, by_size[start : start + CHUNK], condition, condition.reads(run.source))
        later = {name: Selection(name) for name in condition.selectors}
        lengths, over_here = _lengths(encoder, encoder.corpus(chunk, later), condition, run, limit)
        over, longest = over + over_here, max(longest, lengths.longest)
        if lengths.longest < CLEAR_OF_LIMIT * limit:
            break
    return over, longest


def _long_questions(
    encoder: Encoder,
    split: str,
    examples: Sequence[Example],
    conditions: Sequence[Condition],
    truncate: str,
    positions: int,
    checks: list[str],
) -> list[str]:
    """Why the questions of a split stop a launch: some are too long to be asked and are not to be cut. Said in
    `checks`, as is how many are cut.
    """
    modes = dict.fromkeys(condition.spec.primary for condition in conditions)
    rooms = {mode: encoder.answer_room(examples, mode, positions) for mode in modes}
    spans = PLACEMENTS.get("label_only")
    texts = [
        (e, sum(len(text.encode()) for text in (e.question, *(choice.text for choice in e.choices)))) for e in examples
    ]
    least = min(rooms.values(), default=positions)
    lengths = [len(encoder.prompt(e, spans.prompt("direct"))) for e, size in texts if size + TEMPLATE_BYTES > least]
    over = sum(length > least for length in lengths)
    if not over:
        return []
    cut = truncate == "question"
    outcome = "the question is cut at its start." if cut else "set student.truncate to question, or leave them out."
    checks.append(
        f"{over:,} of {len(examples):,} {split} questions leave no room for an answer in the {positions:,} tokens that"
        f" the student reads (longest {max(lengths):,}); {outcome}"
    )
    return [] if cut else [checks[-1]]


def _check_unchanged(corpus: Corpus, condition: Condition, run: RunConfig, checks: list[str]) -> None:
    """A transform that leaves most rationales as they are compares the intact arm with itself: said from a half on."""
    # Which rationale a swapped row gets is not known before the rows are paired, and key tokens before they are chosen.
    if not condition.steps or condition.selectors or any(step.name == "swap" for step in condition.steps):
        return
    passages = [(i, passage) for i, passage in enumerate(corpus.passages) if passage]
    same = sum(
        [t.id for t in condition.rewrite(passage, Draw.of(corpus, i, run.seeds.transform))] == [t.id for t in passage]
        for i, passage in passages
    )
    if passages and 2 * same >= len(passages):
        checks.append(
            f"{condition.label}: {same} of {len(passages)} sampled rationales are left as they are, so this arm is"
            " mostly the intact rationale and can show little."
        )


def _check_k(corpus: Corpus, condition: Condition, checks: list[str]) -> None:
    """Where k is as large as a rationale, keeping the key ones changes nothing: allowed in a sweep, and said."""
    for step in condition.steps:
        values = dict(step.parameters)
        if "selector" not in values or values["k"] < 1:
            continue
        passages = [passage for passage in corpus.passages if passage]
        short = sum(len(units(passage, str(values["unit"]))) <= values["k"] for passage in passages)
        if 2 * short > len(passages):
            checks.append(
                f"{condition.label}: {short} of {len(passages)} sampled rationales have no more than {values['k']:g}"
                f" {values['unit']}s, so all of them are selected."
            )


def _check_target(encoder: Encoder, examples: Sequence[Example], condition: Condition, checks: list[str]) -> None:
    """Where answers are the same tokens either way, a naive target is no other condition, and that is said."""
    texts = (
        {text for example in examples for text in encoder.template.target_texts(example)} if condition.naive else set()
    )
    if texts and all([t.id for t in encoder.apart(text)] == [t.id for t in encoder.read(text)] for text in texts):
        checks.append(
            f"{condition.label}: this tokenizer reads every sampled answer the same either way, so the student is that"
            " of the consistent one."
        )


def _check_partners(
    examples: list[Example], condition: Condition, run: RunConfig, encoder: Encoder | None, checks: list[str]
) -> None:
    for step in condition.steps:
        if step.name != "swap" or encoder is None:
            continue
        corpus = encoder.corpus(examples)
        rule = str(dict(step.parameters)["partner"])
        alone = sum(corpus.partner(i, rule, run.seeds.transform) is None for i in range(len(examples)))
        if alone:
            message = (
                "the run would stop"
                if alone > MOST_WITHOUT_PARTNER * len(examples)
                else "they train without a rationale"
            )
            checks.append(
                f"{condition.label}: {alone} of {len(examples)} rows have no partner to swap with; {message}."
            )
