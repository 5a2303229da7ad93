"""One example as a student reads it, token by token, with the words and sentences the tokens belong to: what
attributions are attached to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cotdistill.errors import SequenceTooLong, UnknownName
from cotdistill.rationales.passage import Passage, Token
from cotdistill.rationales.placement import PROMPT, SEGMENTS, Placement
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.example import Example

METRICS = ("sum", "per_byte")

# Tokens with the name of the span they stand in.
Flat = list[tuple[str, Token]]


@dataclass(frozen=True)
class EncodedExample:
    """A sequence of n tokens in the order of training, with the intact rationale and the right label.

    All arrays are (n,): ids int32; segments int8, index into SEGMENTS; words and sentences int32, rising over the whole
    sequence; origin int32, place in the intact rationale, -1 elsewhere. pieces: the text of each token with its leading
    space; where several tokens spell one character, the first shows it and the others are empty. choices: target ids of
    each choice; weights: what each choice's log-likelihood is multiplied by to score it (1, or 1 / bytes). label_at:
    column of the first label token, -1 without one. left_out: rationale tokens cut off because the student reads no
    more.
    """

    id: str
    cluster: str
    placement: str
    ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int8]
    words: npt.NDArray[np.int32]
    sentences: npt.NDArray[np.int32]
    origin: npt.NDArray[np.int32]
    pieces: tuple[str, ...]
    word_texts: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]
    choice_texts: tuple[str, ...]
    choice_labels: tuple[str, ...]
    weights: tuple[float, ...]
    gold: int
    label_at: int
    left_out: int = 0
    written: bool = False  # whether answers are written: the choices are golds, and there is nothing to contrast

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self, *segments: str) -> npt.NDArray[np.int64]:
        """The columns of some segments, in order."""
        return np.flatnonzero(np.isin(self.segments, [SEGMENTS.index(name) for name in segments]))

    @property
    def label_reads_rationale(self) -> bool:
        """Whether the rationale stands before the label, so that the label can depend on it."""
        rationale = self.columns("rationale")
        return bool(len(rationale)) and 0 <= rationale[0] < self.label_at


def read_example(
    encoder: Encoder,
    example: Example,
    placement: Placement,
    *,
    metric: str = "sum",
    limit: int = 1_000_000,
    sequence: str = "label",
) -> EncodedExample:
    """The example as a student of this placement reads it.

    sequence: which one of a placement that trains on two (multitask): the one with "label" or with "rationale". limit:
    the longest sequence that the student reads; a longer rationale is cut at its end, and SequenceTooLong is raised
    where even that does not help.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    spans = _spans(placement, sequence)
    rationale: Passage = encoder.read(example.rationale or "") if "rationale" in spans else ()
    texts = encoder.template.target_texts(example)
    choices = tuple(tuple(ids) for ids in encoder.targets(example))
    # Room for the longest choice, whichever of them is asked for.
    spare = max(map(len, choices)) - len(choices[example.gold])
    whole = len(_flat(encoder, example, spans, rationale)) + spare
    over = max(0, whole - limit)
    if over and over >= len(rationale):
        raise SequenceTooLong(
            f"Example {example.id!r} has {whole} tokens; the student reads {limit}.",
            "Shorten the question, or choose a student that reads more.",
        )
    kept = rationale[: len(rationale) - over]
    flat = _flat(encoder, example, spans, kept)
    words, sentences, word_texts = _numbered(flat)
    return EncodedExample(
        id=example.id,
        cluster=example.cluster or example.id,
        placement=placement.name,
        ids=np.array([token.id for _, token in flat], np.int32),
        segments=np.array([SEGMENTS.index(segment) for segment, _ in flat], np.int8),
        words=words,
        sentences=sentences,
        origin=np.array([token.origin if segment == "rationale" else -1 for segment, token in flat], np.int32),
        pieces=pieces(encoder, [token.id for _, token in flat]),
        word_texts=word_texts,
        choices=choices,
        choice_texts=tuple(texts),
        choice_labels=tuple(choice.label for choice in example.choices),
        weights=tuple(1.0 if metric == "sum" else 1.0 / len(text.encode()) for text in texts),
        gold=example.gold,
        label_at=next((i for i, (segment, _) in enumerate(flat) if segment == "label"), -1),
        left_out=over,
        written=example.is_written,
    )


def _spans(placement: Placement, sequence: str) -> Sequence[str]:
    if not placement.sequences:
        # The undistilled student is asked as a label-only student would be.
        return (*PROMPT, "label_cue", "label")
    # Of mixed orders, the label is read where it comes first, and the rationale where that does.
    ordered = placement.sequences if sequence == "label" else placement.sequences[::-1]
    return next((spans for spans in ordered if sequence in spans), placement.sequences[0])


def _flat(encoder: Encoder, example: Example, spans: Sequence[str], rationale: Passage) -> Flat:
    if not rationale:
        # As in training: an empty rationale takes its cue and end with it.
        spans = [span for span in spans if span not in ("rationale_cue", "rationale", "end")]
    label = encoder.target(encoder.template.target_texts(example)[example.gold])
    return [(part.segment, token) for part in encoder.parts(example, spans, label, rationale) for token in part.tokens]


def _numbered(flat: Flat) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], tuple[str, ...]]:
    """Word and sentence numbers over the whole sequence (a new span begins a new word and a new sentence), and each
    word's text.
    """
    words: list[int] = []
    sentences: list[int] = []
    texts: list[str] = []
    before: tuple[str, int, int] | None = None
    for segment, token in flat:
        if before is None or (segment, token.word) != before[:2]:
            texts.append(token.text)
        if before is None or (segment, token.sentence) != (before[0], before[2]):
            sentences.append(sentences[-1] + 1 if sentences else 0)
        else:
            sentences.append(sentences[-1])
        words.append(len(texts) - 1)
        before = (segment, token.word, token.sentence)
    return np.array(words, np.int32), np.array(sentences, np.int32), tuple(texts)


def pieces(encoder: Encoder, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token. A byte-level tokenizer may spell one character with several tokens: the first shows it,
    the others are empty.
    """
    texts: list[str] = []
    pending: list[int] = []

    def settle() -> None:
        # What decodes to something else together than apart was one character, U+FFFD itself included.
        if len(pending) > 1:
            texts[-len(pending) :] = [
                encoder.tokenizer.decode(pending, skip_special_tokens=False),
                *[""] * (len(pending) - 1),
            ]
        pending.clear()

    for id in ids:
        text = encoder.piece(id)
        if "\ufffd" not in text:
            settle()
            texts.append(text)
            continue
        texts.append(text)
        pending.append(id)
        if "\ufffd" not in encoder.tokenizer.decode(pending, skip_special_tokens=False):
            settle()
    settle()
    return tuple(texts)
