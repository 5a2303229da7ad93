"""What scores the tokens of a rationale: one function and one decorator each. Higher is more key.

Selectors that ask for the label's gradient read a student that was given the rationale before the label; where the
label stands first, nothing of it can depend on the rationale, so a post-CoT student is never read that way. torch and
the optional libraries are imported inside the functions only: pages read this list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cotdistill.config import stable_seed
from cotdistill.errors import DataError, GrammarError, UsageError
from cotdistill.keytokens import texts
from cotdistill.rationales.passage import Passage
from cotdistill.rationales.placement import Placement
from cotdistill.registry import Registry
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.students.tokens import Encoded, Encoder
from cotdistill.tasks.example import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Scores = dict[str, tuple[float, ...]]
# Where in the student's training the alignment is read: early enough that labels are not memorised yet, late enough
# that it has learnt something.
INFLUENCE_AT = "0.25"


@dataclass(frozen=True)
class SelectInput:
    """What a selector may look at: training rows with rationales, and the student that it reads.

    passages: the rationales as tokens; sequences: the student's own training sequences of these rows; dev: dev
    questions; student(share): the student at a recorded checkpoint, in evaluation mode; counts (vocabulary,): how often
    each token stands in the training text; option: what was written behind the selector's name; marks: by example, the
    places that people marked; report(done, total).
    """

    encoder: Encoder
    examples: Sequence[Example]
    passages: Sequence[Passage]
    option: str = ""
    seed: int = 0
    placement: Placement | None = None
    metric: str = "sum"
    sequences: Sequence[Encoded] = ()
    dev: Sequence[Example] = ()
    student: Callable[[str], PreTrainedModel] | None = None
    counts: npt.NDArray[np.int64] | None = None
    marks: dict[str, frozenset[int]] | None = None
    report: Callable[[int, int], None] | None = None

    def model(self, share: str = "1") -> PreTrainedModel:
        assert self.student is not None, "this selector reads a student"
        return self.student(share)


Function = Callable[[SelectInput], Scores]


@dataclass(frozen=True, slots=True)
class Selector:
    """A registered selector. reads: the placement of the student that it reads ("" for none, "any" for one of any);
    option: what may stand behind its name after a colon ("" for nothing); passes: forward passes a row, for estimates;
    draws: whether it depends on the selector seed."""

    name: str
    help: str
    compute: Function
    reads: str = ""
    option: str = ""
    passes: float = 1.0
    draws: bool = False


SELECTORS: Registry[Selector] = Registry("selector")


def selector(
    name: str, help: str, *, reads: str = "", option: str = "", passes: float = 1.0, draws: bool = False
) -> Callable[[Function], Function]:
    """Register a function (SelectInput) -> scores by example, one number a token of the intact rationale."""

    def register(function: Function) -> Function:
        SELECTORS.register(Selector(name, help, function, reads, option, passes, draws))
        return function

    return register


def parse_selector(text: str) -> tuple[Selector, str]:
    """A selector as it is written in a condition, `name` or `name:option`; UnknownName with near matches, GrammarError
    for an option that does not belong there or is missing."""
    name, colon, option = text.strip().partition(":")
    entry = SELECTORS.get(name)
    if option and not entry.option:
        raise GrammarError(
            f"The selector {name} takes nothing behind its name, but {option!r} was given.", f"Write {name}"
        )
    if (colon and not option) or (not option and entry.option and not entry.option.startswith("[")):
        raise GrammarError(
            f"The selector {name} needs {entry.option} behind a colon.", f"For example {name}:{entry.option}"
        )
    return entry, option


def _attributed(inputs: SelectInput, method: str) -> Scores:
    """Attribution of the right answer against the others to the rationale alone, for a student that was given it before
    the label.
    """
    from cotdistill.saliency.attribution import attribute

    assert inputs.placement is not None and inputs.counts is not None
    settings = AttributionSettings(method=method, target="contrast", moves="rationale")
    attributed = attribute(
        inputs.model(),
        inputs.encoder,
        inputs.examples,
        inputs.placement,
        settings,
        inputs.counts,
        metric=inputs.metric,
        report=inputs.report,
    )
    scores: Scores = {}
    for one, passage in zip(attributed, inputs.passages, strict=True):
        row = np.zeros(len(passage))
        columns = one.reading.columns("rationale")
        row[one.reading.origin[columns]] = np.nan_to_num(one.scores[columns])
        scores[one.reading.id] = tuple(row.tolist())
    return scores


@selector(
    "integrated_gradients",
    "what the token adds to the right answer against the others (pre-CoT student)",
    reads="pre_cot",
    passes=110,
)
def integrated_gradients(inputs: SelectInput) -> Scores:
    return _attributed(inputs, "integrated_gradients")


@selector("input_x_gradient", "a first-order guess of the same (pre-CoT student)", reads="pre_cot", passes=4)
def input_x_gradient(inputs: SelectInput) -> Scores:
    return _attributed(inputs, "input_x_gradient")


@selector(
    "saliency",
    "how much the answer changes with the token, without direction (pre-CoT student)",
    reads="pre_cot",
    passes=4,
)
def saliency(inputs: SelectInput) -> Scores:
    return _attributed(inputs, "saliency")


@selector(
    "occlusion",
    "what the right answer loses when the token is taken away (pre-CoT student)",
    reads="pre_cot",
    passes=45,
)
def occlusion(inputs: SelectInput) -> Scores:
    return _attributed(inputs, "occlusion")


@selector(
    "influence",
    "whether a training step on the token lowers the label loss of its kind of question (post-CoT student), at a"
    " quarter of its steps",
    reads="post_cot",
    option=f"[SHARE, default {INFLUENCE_AT}]",
    passes=120,
)
def influence(inputs: SelectInput) -> Scores:
    """Matched minus random, as cosines: the raw products grow with the token's own loss. The own question stands in
    where no dev question matches, and matched ones stand alone where every dev question matches."""
    from cotdistill.saliency.influence import Aligner

    assert inputs.placement is not None
    aligner = Aligner(
        inputs.model(inputs.option or INFLUENCE_AT), inputs.encoder, inputs.placement, inputs.dev, metric=inputs.metric
    )
    scores: Scores = {}
    for done, (example, passage, sequence) in enumerate(
        zip(inputs.examples, inputs.passages, inputs.sequences, strict=True)
    ):
        if inputs.report is not None:
            inputs.report(done, len(inputs.examples))
        aligned = aligner.align(example, sequence)
        same_question, matched, other = aligned.cosine
        value = same_question if not aligned.matched else matched if np.isnan(other).all() else matched - other
        row = np.zeros(len(passage))
        row[aligned.origin] = np.nan_to_num(value)
        scores[example.id] = tuple(row.tolist())
    return scores


@selector(
    "contrastive",
    "log-probability of the token given the right answer minus given a wrong one (post-CoT student; after SCOTT)",
    reads="post_cot",
    passes=6,
)
def contrastive(inputs: SelectInput) -> Scores:
    """SCOTT (Wang et al. 2023, arXiv 2305.01879) decodes by this contrast; here it scores what the teacher wrote. Mean
    over the wrong choices.
    """
    from cotdistill.saliency.contrast import contrasted

    assert inputs.placement is not None
    return contrasted(inputs.model(), inputs.encoder, inputs.examples, inputs.passages, inputs.report)


@selector(
    "similarity",
    "cosine of the word's input embedding to those of question and right answer (the student's own)",
    reads="any",
    passes=0.1,
)
def similarity(inputs: SelectInput) -> Scores:
    from cotdistill.students.loading import input_table

    table = input_table(inputs.model()).detach().float().cpu().numpy().astype(float)

    def vector(ids: Sequence[int]) -> npt.NDArray[np.float64]:
        mean: npt.NDArray[np.float64] = table[list(ids)].mean(0)
        return mean

    return texts.similarity(
        inputs.examples, inputs.passages, lambda text: vector([t.id for t in inputs.encoder.read(text)]), by_ids=vector
    )


@selector("word2vec", "the same with word2vec vectors trained on the task's own text (needs gensim)", passes=0.5)
def word2vec(inputs: SelectInput) -> Scores:
    return texts.by_vectors(inputs.examples, inputs.passages, texts.trained_vectors(inputs.examples))


@selector(
    "vectors", "the same with word vectors from a file in word2vec or GloVe text format", option="FILE", passes=0.2
)
def vectors(inputs: SelectInput) -> Scores:
    return texts.by_vectors(
        inputs.examples, inputs.passages, texts.read_vectors(inputs.option, texts.vocabulary(inputs.examples))
    )


@selector(
    "sentence_transformer", "the same with a sentence-transformers model (optional)", option="NAME_OR_FOLDER", passes=20
)
def sentence_transformer(inputs: SelectInput) -> Scores:
    return texts.similarity(inputs.examples, inputs.passages, texts.sentence_vectors(inputs.option))


@selector("tf_idf", "frequent in this rationale, rare in the others", passes=0.1)
def tf_idf(inputs: SelectInput) -> Scores:
    return texts.tf_idf(inputs.examples, inputs.passages)


@selector(
    "pmi", "pointwise mutual information of the word with the answer's text, over the training rationales", passes=0.1
)
def pmi(inputs: SelectInput) -> Scores:
    return texts.pmi(inputs.examples, inputs.passages)


@selector("random", "uniform: what any selector must beat", passes=0.1, draws=True)
def random(inputs: SelectInput) -> Scores:
    """One draw a word, shared out evenly over its tokens, so that words of many tokens are not favoured."""
    scores: Scores = {}
    for example, passage in zip(inputs.examples, inputs.passages, strict=True):
        rng = np.random.default_rng(stable_seed("random selector", inputs.seed, example.id))
        scores[example.id] = texts.shared_out(passage, lambda word, rng=rng: float(rng.random()))  # type: ignore[misc]
    return scores


@selector("human", "tokens that people marked", option="ANNOTATIONS")
def human(inputs: SelectInput) -> Scores:
    """1 for marked tokens, 0 for others, for the examples that somebody has marked."""
    if not inputs.marks:
        raise UsageError(
            f"Nobody has marked anything in the annotation set {inputs.option!r} of this task.",
            "Mark examples on page Key tokens.",
        )
    scores: Scores = {}
    for example, passage in zip(inputs.examples, inputs.passages, strict=True):
        if example.id in inputs.marks:
            marked = inputs.marks[example.id]
            if marked and max(marked) >= len(passage):
                raise DataError(f"The marks of {example.id!r} were made on another rationale.", "Mark it anew.")
            scores[example.id] = tuple(1.0 if place in marked else 0.0 for place in range(len(passage)))
    if not scores:
        raise UsageError(
            f"The annotation set {inputs.option!r} marks none of the training rows.",
            "Mark examples of the training split.",
        )
    return scores
