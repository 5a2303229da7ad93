"""What a student answers when the rationale that it reads first is perturbed: the given one and its own, test by test,
share by share.

The modes are asked as a run's own scoring asks them (`evaluation.score`), whole, so they are the same numbers to the
bit. Perturbed prompts are scored once each, however many tests arrive at them; what has been scored can be saved and
taken up again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from cotdistill.rationales.passage import Passage, units
from cotdistill.rationales.perturbations import CONTROL, PERTURBATIONS, PerturbationRows, replaced
from cotdistill.rationales.placement import Placement
from cotdistill.rationales.transforms import mentions
from cotdistill.students.reader import Forward
from cotdistill.students.scoring.evaluation import (
    Answered,
    Prediction,
    answers_after,
    asked,
    predicted,
    rationale_prompt,
)
from cotdistill.students.scoring.generation import WrittenText
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

RATIONALES = ("given", "own")
INTACT = "intact"
# A prompt's answer: the summed log-likelihood of each choice, by example and prompt.
Known = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class PerturbedAnswer:
    """One example after one test at one share: what the student answered, and what after as many random tokens (None:
    no control, it is the control itself or the intact rationale). tokens: in the intact rationale; touched: see
    `perturbations.Perturbed`."""

    rationale: str
    test: str
    share: float
    tokens: int
    touched: int
    prediction: Prediction
    control: Prediction | None


@dataclass
class Saved:
    """What is worth keeping while a student is asked: its own rationales, and every prompt's answer. Plain values, for
    a resume file.
    """

    own_texts: list[WrittenText] | None = None
    sums: Known = field(default_factory=dict)
    #: Written answers, by the same keys; empty where answers are chosen.
    answers: dict[str, WrittenText] = field(default_factory=dict)


@dataclass(frozen=True)
class Intact:
    """A mode with a rationale in it: the rationales as tokens, the prompts as they were asked, the predictions."""

    passages: list[Passage]
    prompts: list[list[int]]
    predictions: list[Prediction]


class StudentUnderTest:
    """A trained student that answers some examples, in any mode and after any test. limit: the most tokens of a
    rationale of its own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        examples: Sequence[Example],
        placement: Placement,
        *,
        metric: str,
        limit: int,
        saved: Saved,
    ) -> None:
        model.eval()  # type: ignore[no-untyped-call]
        self.model, self.encoder, self.examples, self.placement, self.metric, self.limit = (
            model,
            encoder,
            list(examples),
            placement,
            metric,
            limit,
        )
        self.reader = Forward(model)
        self.saved = saved

    def direct(self) -> list[Prediction]:
        prompts, _ = asked(self.reader, self.encoder, self.examples, self.placement, "direct", self.limit)
        return self._mode(prompts, "direct")

    def given_rationale(self) -> Intact:
        """After each example's own rationale; an example without one is asked directly."""
        prompts, _ = asked(self.reader, self.encoder, self.examples, self.placement, "given", self.limit)
        return Intact(
            [self.encoder.read(e.rationale or "") for e in self.examples], prompts, self._mode(prompts, "given")
        )

    def own_rationale(self) -> Intact:
        """After the rationale that the student writes itself, greedily."""
        if self.saved.own_texts is None:
            prompts, written = asked(self.reader, self.encoder, self.examples, self.placement, "own", self.limit)
            self.saved.own_texts = written or []
        else:
            room = self.encoder.answer_room(self.examples, "own", self.reader.positions)
            starts = [self.encoder.prompt(e, self.placement.prompt("own"), room=room) for e in self.examples]
            prompts = [
                [*start, *w.ids, *self.encoder.label_cue] for start, w in zip(starts, self.saved.own_texts, strict=True)
            ]
        passages = [self.encoder.passage(w.ids) for w in self.saved.own_texts]
        return Intact(passages, prompts, self._mode(prompts, "own", self.saved.own_texts))

    def _mode(
        self, prompts: Sequence[Sequence[int]], mode: str, written: Sequence[WrittenText] | None = None
    ) -> list[Prediction]:
        """A mode is scored whole, as a run scores it: other neighbours in a batch could change the last bit."""
        keys = [f"{mode} {_key(i, prompt)}" for i, prompt in enumerate(prompts)]
        if any(key not in self.saved.sums for key in keys):
            self._keep(keys, answers_after(self.reader, self.encoder, self.examples, prompts))
        for i, prompt in enumerate(prompts):
            self.saved.sums.setdefault(_key(i, prompt), self.saved.sums[keys[i]])
            if keys[i] in self.saved.answers:
                self.saved.answers.setdefault(_key(i, prompt), self.saved.answers[keys[i]])
        texts: Sequence[WrittenText | None] = written or [None] * len(prompts)
        return [self._predicted(e, key, mode, w) for e, key, w in zip(self.examples, keys, texts, strict=True)]

    def answers(self, prompts: Sequence[Sequence[int]], mode: str) -> list[Prediction]:
        """One prediction an example; prompts that were met before are not scored again."""
        keys = [_key(i, prompt) for i, prompt in enumerate(prompts)]
        new = [i for i, key in enumerate(keys) if key not in self.saved.sums]
        answers = answers_after(self.reader, self.encoder, [self.examples[i] for i in new], [prompts[i] for i in new])
        self._keep([keys[i] for i in new], answers)
        return [self._predicted(e, key, mode) for e, key in zip(self.examples, keys, strict=True)]

    def _keep(self, keys: Sequence[str], answers: Sequence[Answered]) -> None:
        self.saved.sums |= {key: answer.sums for key, answer in zip(keys, answers, strict=True)}
        self.saved.answers |= {
            key: answer.text for key, answer in zip(keys, answers, strict=True) if answer.text is not None
        }

    def _predicted(self, example: Example, key: str, mode: str, written: WrittenText | None = None) -> Prediction:
        return predicted(
            self.encoder, example, self.saved.sums[key], mode, metric=self.metric, written=written,
            answer=self.saved.answers.get(key),
        )  # fmt: skip

    def rows(
        self,
        intact: Intact,
        unigrams: npt.NDArray[np.int64],
        types: Sequence[str],
        seed: int,
        paraphrases: Sequence[Passage] = (),
    ) -> PerturbationRows:
        """The rationales of a mode as what is perturbed; partners of a swap are drawn among them."""
        examples = [
            replace(e, rationale=" ".join(t.text for t in p) or None)
            for e, p in zip(self.examples, intact.passages, strict=True)
        ]
        return PerturbationRows(
            self.encoder.corpus(examples, passages=intact.passages), unigrams, tuple(types), seed, tuple(paraphrases)
        )

    def test(
        self, intact: Intact, rows: PerturbationRows, name: str, share: float, rationale: str
    ) -> list[PerturbedAnswer]:
        """Every example after a test at a share of its rationale, beside as many random tokens. What a test leaves as
        it is keeps its answer.
        """
        entry = PERTURBATIONS.get(name)
        perturbed = [entry.apply(rows, i, share) for i in range(len(self.examples))]
        predictions = self.answers([self._prompt(intact, i, p.passage) for i, p in enumerate(perturbed)], rationale)
        controls: list[Prediction] | list[None] = [None] * len(perturbed)
        if name != CONTROL:
            controls = self.answers(
                [self._prompt(intact, i, replaced(rows, i, p.touched)) for i, p in enumerate(perturbed)], rationale
            )
        return [
            PerturbedAnswer(rationale, name, share, len(intact.passages[i]), p.touched, predictions[i], controls[i])
            for i, p in enumerate(perturbed)
        ]

    def _prompt(self, intact: Intact, index: int, passage: Passage) -> list[int]:
        ids = [token.id for token in passage]
        if ids == [token.id for token in intact.passages[index]]:
            return intact.prompts[index]
        return rationale_prompt(self.encoder, self.examples[index], self.placement, ids, self.reader.positions)


def unperturbed(intact: Intact, rationale: str) -> list[PerturbedAnswer]:
    """What every curve begins with."""
    return [
        PerturbedAnswer(rationale, INTACT, 0.0, len(p), 0, prediction, None)
        for p, prediction in zip(intact.passages, intact.predictions, strict=True)
    ]


def leakage(intact: Intact, examples: Sequence[Example]) -> float:
    """The share of rationales that name the right answer's text; 0 where there is none."""
    explained = [(e, p) for e, p in zip(examples, intact.passages, strict=True) if p]
    return (
        sum(bool(mentions(units(p, "word"), e.answer_text)) for e, p in explained) / len(explained)
        if explained
        else 0.0
    )


def every_test(
    student: StudentUnderTest,
    tests: Sequence[str],
    shares: Sequence[float],
    unigrams: npt.NDArray[np.int64],
    types: Sequence[str],
    seed: int,
    report: Callable[[int, int], None] | None = None,
    paraphrases: Sequence[Passage] = (),
) -> tuple[dict[str, list[Prediction]], dict[str, Intact], list[PerturbedAnswer]]:
    """The three modes' predictions, what the student read in them, and every answer. report(done, total) after each
    point of a curve. paraphrases: of the given rationales; of their own, nobody has any."""
    points = [(name, share) for name in tests for share in (shares if PERTURBATIONS.get(name).graded else (1.0,))]
    total, done = 3 + len(RATIONALES) * len(points), 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if report is not None:
            report(done, total)

    tell(0)
    modes = {"direct": student.direct()}
    tell(1)
    read: dict[str, Intact] = {}
    answers: list[PerturbedAnswer] = []
    for rationale in RATIONALES:
        intact = read[rationale] = student.given_rationale() if rationale == "given" else student.own_rationale()
        modes[rationale] = intact.predictions
        rows = student.rows(intact, unigrams, types, seed, paraphrases if rationale == "given" else ())
        answers += unperturbed(intact, rationale)
        tell(1)
        for name, share in points:
            answers += student.test(intact, rows, name, share, rationale)
            tell(1)
    return modes, read, answers


def _key(index: int, prompt: Sequence[int]) -> str:
    return f"{index} {hashlib.blake2b(np.array(prompt, np.int64).tobytes(), digest_size=12).hexdigest()}"
